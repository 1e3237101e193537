"""Every operation of specs/ollama.yaml under schemathesis, in front of a stand-in that is well."""

from __future__ import annotations

import pytest

from conformance.runner.runner import Bench
from conformance.schemas.ollama import (
    Mode,
    copy_for,
    find_too_few,
    operation_ids,
    read_document,
    run_operation,
)
from conformance.schemas.targets import KNOWN as KNOWN_FILE
from conformance.suite.known import KnownFailing, read_known_failing

SPEC = read_document()
KNOWN = read_known_failing(KNOWN_FILE)
MOST_CASES = 1500

# How many requests must reach which path of LM Studio; about two thirds of what does.
REACH = {
    "check_models": ("/api/v1/models", 1),
    "list_models": ("/api/v1/models", 1),
    "list_running": ("/api/v1/models", 1),
    "show_model": ("/api/v1/models", 20),
    "generate": ("/v1/chat/completions", 70),
    "chat": ("/v1/chat/completions", 280),
    "embed": ("/v1/embeddings", 60),
    "embeddings": ("/v1/embeddings", 50),
}
ONE_SHOT = ("generate", "chat")
RUNS = [(operation, True) for operation in operation_ids(SPEC)] + [
    (operation, False) for operation in ONE_SHOT
]


def known_of(operation: str) -> KnownFailing:
    """Return the known failures of one operation."""
    entries = [entry for entry in KNOWN.entries if entry.pattern.split()[0] == operation]
    return KnownFailing(entries)


@pytest.mark.parametrize(
    ("operation", "streamed"),
    RUNS,
    ids=[operation if streamed else f"{operation}-one-shot" for operation, streamed in RUNS],
)
def test_answers_are_as_declared(
    gateway_bench: Bench, names: dict[str, list[str]], operation: str, streamed: bool
) -> None:
    """Whatever is sent, each answer is one that the spec declares, and enough goes upstream."""
    pair = gateway_bench.submit(gateway_bench.pair_for)
    control = pair.control
    gateway_bench.submit(control.reset)

    document = copy_for(SPEC, names, streamed=streamed)
    # What is refused is refused alike, so one-shot answers are asked for with valid requests only.
    mode: Mode = "all" if streamed else "positive"
    account = run_operation(pair.gateway_url, document, operation, mode=mode)
    paths = [request.path for request in gateway_bench.submit(control.seen)]

    known = known_of(operation) if streamed else KnownFailing()
    report = account.report(known)
    assert not report, f"\n{report}"
    stale = known.unmatched(finding.name for finding in account.findings)
    assert [] == [f"{entry.place}: {entry.pattern}" for entry in stale]
    assert 0 < account.cases <= MOST_CASES
    if operation in REACH:
        path, least = REACH[operation]
        assert find_too_few(paths, path, least) is None


def test_known_failures_name_operations() -> None:
    """An entry for an operation that is not there would never be looked at."""
    operations = {operation for operation, _ in RUNS}

    assert [] == [
        entry.place for entry in KNOWN.entries if entry.pattern.split()[0] not in operations
    ]
