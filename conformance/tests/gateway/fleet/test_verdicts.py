"""The meaning of faults for a fleet."""

from typing import get_args

import pytest

from gateway.faults import FaultId, UpstreamFailure
from gateway.fleet.verdicts import VERDICTS, verdict_on


def test_every_fault_has_a_verdict() -> None:
    """A new one can't be forgotten, and an old one has none that nothing asks for."""
    assert set(get_args(FaultId)) == set(VERDICTS)


def test_nothing_moves_that_may_run_on_its_host() -> None:
    """A generation never runs on two hosts at once."""
    moving = {fault for fault, verdict in VERDICTS.items() if verdict.may_move}
    assert {"connect", "dns", "tls", "write", "closed_before_headers"} == moving


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
    assert ("answer", False) == verdict_on(failure)
