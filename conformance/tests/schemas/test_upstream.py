"""LM Studio's own APIs under schemathesis: the stand-in's answers, and what is passed through."""

from __future__ import annotations

import pytest

from conformance.runner import Bench
from conformance.schemas_upstream import APIS, Api, known_of, operations, run_upstream

STANDIN = [(api, operation) for api in APIS for operation in operations(api)]
PASSED = [("openai", operation) for operation in operations("openai")]
REACH = {
    "create_chat_completion": ("/v1/chat/completions", 30),
    "create_completion": ("/v1/completions", 20),
    "create_embeddings": ("/v1/embeddings", 5),
}


@pytest.mark.parametrize(("api", "operation"), STANDIN, ids=[name for _, name in STANDIN])
def test_the_stand_in_answers_as_described(
    gateway_bench: Bench, names: dict[str, list[str]], api: Api, operation: str
) -> None:
    """The stand-in gives no answer that the descriptions of LM Studio do not have."""
    control = gateway_bench.submit(gateway_bench.pair_for).control
    gateway_bench.submit(control.reset)

    account = run_upstream(control.url, api, operation, names)

    assert account.cases > 0
    report = account.report(known_of("standin", operation))
    assert not report, f"\n{report}"


@pytest.mark.parametrize(("api", "operation"), PASSED, ids=[name for _, name in PASSED])
def test_what_is_passed_through_is_as_described(
    gateway_bench: Bench, names: dict[str, list[str]], api: Api, operation: str
) -> None:
    """Through the gateway the answers are still those, and the calls do reach LM Studio."""
    pair = gateway_bench.submit(gateway_bench.pair_for)
    gateway_bench.submit(pair.control.reset)

    account = run_upstream(pair.gateway_url, api, operation, names, mode="positive")

    report = account.report(known_of("gateway", operation))
    assert not report, f"\n{report}"
    if operation in REACH:
        path, least = REACH[operation]
        seen = gateway_bench.submit(pair.control.seen)
        assert least <= sum(one.path == path for one in seen)
