"""The meaning of faults for a fleet."""

from typing import get_args

import pytest

from gateway.faults import FaultId, UpstreamFailure
from gateway.fleet.verdicts import VERDICTS, verdict_on


def test_every_fault_has_a_verdict() -> None:
    """A new one can't be forgotten, and an old one has none that nothing asks for."""
    assert set(get_args(FaultId)) == set(VERDICTS)


def test_nothing_moves_that_may_run_on_its_host() -> None:
    """A generation never runs on two hosts at once; a host that lacks the route runs nothing."""
    moving = {fault for fault, verdict in VERDICTS.items() if verdict.may_move}
    assert {"connect", "dns", "tls", "write", "closed_before_headers", "unknown_endpoint"} == moving


@pytest.mark.parametrize(
    ("status", "against_host", "may_move"),
    [
        (400, None, False),
        (404, None, False),
        (429, "answer", True),
        (500, "answer", False),
        (503, "answer", True),
        (504, "answer", False),
    ],
)
def test_a_stated_error_is_judged_by_its_status(
    status: int, against_host: str | None, may_move: bool
) -> None:
    """A host that is busy took nothing, and one that refuses a request is well."""
    verdict = verdict_on(UpstreamFailure("words", status=status))
    assert (against_host, may_move) == verdict


def test_a_busy_status_counts_against_a_host_with_any_fault() -> None:
    """Also where the fault alone says nothing."""
    failure = UpstreamFailure("words", status=503, fault="unknown_endpoint")
    assert ("answer", True) == verdict_on(failure)


@pytest.mark.parametrize(
    ("words", "may_move"),
    [
        ("File Not Found", True),
        ("Not Found", True),
        ("404 page not found", True),
        ("Cannot POST /v1/messages", True),
        ("Unexpected endpoint or method. (POST /v1/messages)", True),
        ("Method Not Allowed", True),
        ("The model `a` does not exist.", False),
        ("model 'a' not found", False),
        ("Response with id 'r' not found.", False),
    ],
)
def test_a_route_that_a_host_lacks_says_nothing_of_the_host(words: str, may_move: bool) -> None:
    """Another host may have it; what is missing by name is missing."""
    assert (None, may_move) == verdict_on(UpstreamFailure(words, status=404))
