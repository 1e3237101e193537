"""LM Studio's own APIs under schemathesis: the stand-in's answers, and what is passed through."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import pytest

from conformance.runner.runner import Bench
from conformance.schemas.ollama import Account, find_too_few
from conformance.schemas.targets import HOSTS
from conformance.schemas.upstream import APIS, KNOWN, Api, Host, known_of, operations, run_upstream
from conformance.suite.known import read_known_failing

REACH = {
    "create_chat_completion": ("/v1/chat/completions", 250),
    "create_completion": ("/v1/completions", 100),
    "create_embeddings": ("/v1/embeddings", 30),
}


class Run(NamedTuple):
    """One operation, asked of one host."""

    host: Host
    api: Api
    operation: str


STANDIN = [Run("standin", api, operation) for api in APIS for operation in operations(api)]
FIXTURES = [Run("fixtures", run.api, run.operation) for run in STANDIN]
PASSED = [Run("gateway", "openai", operation) for operation in operations("openai")]


class Done(NamedTuple):
    """What a run came to, and the paths that reached the stand-in in it."""

    account: Account
    paths: list[str]


@pytest.fixture(scope="module")
def do(gateway_bench: Bench, names: dict[str, list[str]]) -> Callable[[Run], Done]:
    """Return what makes a run; each is made once."""

    @cache
    def make(run: Run) -> Done:
        pair = gateway_bench.submit(partial(gateway_bench.pair_for, {}, HOSTS[run.host]))
        gateway_bench.submit(pair.control.reset)
        url = pair.gateway_url if run.host == "gateway" else pair.control.url
        account = run_upstream(url, run.api, run.operation, names)
        return Done(account, [one.path for one in gateway_bench.submit(pair.control.seen)])

    return make


@pytest.mark.parametrize("run", STANDIN, ids=[run.operation for run in STANDIN])
def test_the_stand_in_answers_as_described(do: Callable[[Run], Done], run: Run) -> None:
    """The stand-in gives no answer that the descriptions of LM Studio do not have."""
    account = do(run).account

    assert account.cases > 0
    report = account.report(known_of("standin", run.operation))
    assert not report, f"\n{report}"


@pytest.mark.parametrize("run", FIXTURES, ids=[run.operation for run in FIXTURES])
def test_what_is_recorded_is_as_described(do: Callable[[Run], Done], run: Run) -> None:
    """With fixtures to answer from, too, but for those of a host in trouble."""
    account = do(run).account

    assert account.cases > 0
    report = account.report(known_of("fixtures", run.operation))
    assert not report, f"\n{report}"


@pytest.mark.parametrize("run", PASSED, ids=[run.operation for run in PASSED])
def test_what_is_passed_through_is_as_described(do: Callable[[Run], Done], run: Run) -> None:
    """Through the gateway the answers are still those, and the calls do reach LM Studio."""
    account, paths = do(run)

    report = account.report(known_of("gateway", run.operation))
    assert not report, f"\n{report}"
    if run.operation in REACH:
        path, least = REACH[run.operation]
        assert find_too_few(paths, path, least) is None


def test_no_manner_is_listed_that_is_not_found(do: Callable[[Run], Done]) -> None:
    """What LM Studio no longer does, or the gateway now mends, is taken out of the list."""
    found = [
        f"{run.host} {finding.name}"
        for run in (*STANDIN, *FIXTURES, *PASSED)
        for finding in do(run).account.findings
    ]
    stale = read_known_failing(KNOWN).unmatched(found)

    assert [] == [f"{entry.place}: {entry.pattern}" for entry in stale]
