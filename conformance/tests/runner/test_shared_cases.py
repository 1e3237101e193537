"""The shared black-box cases, by the rules of our own; absent material is one skip."""

from __future__ import annotations

import pytest

from conformance.runner.runner import Bench
from conformance.runner.shared_cases import (
    KNOWN_FAILING,
    SharedCase,
    find_shared,
    judge_shared,
    load_shared_cases,
    missing_sentence,
    run_shared,
)
from conformance.suite.judge import Answer
from conformance.suite.known import read_known_failing

SHARED = find_shared()
CASES: list[SharedCase | None] = [*load_shared_cases(SHARED)] if SHARED else [None]
KNOWN = read_known_failing(KNOWN_FAILING)


@pytest.mark.parametrize("case", CASES, ids=[case.id if case else "absent" for case in CASES])
def test_shared_case(gateway_bench: Bench, case: SharedCase | None) -> None:
    """What the real server answers is what the gateway answers."""
    if case is None:
        pytest.skip(missing_sentence())
    problems = run_shared(gateway_bench, case)

    entry = KNOWN.find(case.id)
    if problems and entry:
        pytest.xfail(f"{entry.reason} ({entry.place})")
    report = "\n".join(f"  {problem}" for problem in problems)
    assert not problems, f"{case.why}\n{report}\n  python -m conformance shared '{case.id}'"
    assert entry is None, f"passes, but is listed at {entry.place}: take it out"


def test_known_failures_match_shared_cases() -> None:
    """An entry that matches no case is stale; without the material nothing can be said."""
    names = [case.id for case in CASES if case]
    unmatched = KNOWN.unmatched(names) if names else []

    assert [] == [f"{entry.place}: {entry.pattern}" for entry in unmatched]


RIGHT = Answer(404, (("Content-Type", "application/json"),), b'{"error":"model is required"}')
LINES = Answer(200, (), b'{"status":"pulling manifest"}\n{"error":"none"}\n')


@pytest.mark.parametrize(
    ("expect", "answer", "places"),
    [
        ({"status": 404, "error_equals": "model is required"}, RIGHT, []),
        ({"status": 404, "json_has": ["error"], "json_absent": ["done"]}, RIGHT, []),
        ({"status": 400}, RIGHT, ["status"]),
        ({"status": 404, "error_equals": "other"}, RIGHT, ["error"]),
        ({"status": 404, "json_has": ["done"]}, RIGHT, ["done"]),
        ({"status": 404, "json_absent": ["error"]}, RIGHT, ["error"]),
        ({"status": 404, "json_equals": {}}, RIGHT, ["error"]),
        (
            {"status": 404, "headers": {"content-type": "text/plain"}},
            RIGHT,
            ["header content-type"],
        ),
        ({"status": 404, "body_empty": True}, RIGHT, ["body"]),
        ({"status": 404, "text_equals": "404 page not found"}, RIGHT, ["body"]),
        ({"status": 404, "surprise": 1}, RIGHT, ["expect.surprise"]),
        ({"status": 200, "ndjson_last_has": ["error"]}, LINES, []),
        ({"status": 200, "ndjson_last_has": ["done"]}, LINES, ["last line: done"]),
        ({"status": 200, "ndjson_first_subset": {"status": "x"}}, LINES, ["first line.status"]),
    ],
)
def test_the_adapter_can_fail(expect: dict[str, object], answer: Answer, places: list[str]) -> None:
    """Every kind of expectation is judged, and an unknown one is a problem."""
    assert places == [problem.path for problem in judge_shared(expect, answer)]
