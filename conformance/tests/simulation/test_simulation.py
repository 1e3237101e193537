"""The simulation: it is deterministic, loses no request, and orders the policies as expected."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from conformance.simulation import report
from conformance.simulation.policies import OURS, POLICIES
from conformance.simulation.simulating import Result, simulate
from conformance.simulation.workload import Plan, conversations

PLAN = Plan(12, models=3, groups=16, requests=900)
BLIND = ("random", "round robin", "least requests")


@cache
def ran(policy: str) -> Result:
    """Return the result of one policy; two hosts die on the way."""
    return simulate(PLAN, policy, 7, dying=2)


def shown(result: Result) -> object:
    """Return what does not depend on the machine."""
    return result.first_tokens, result.cached_tokens, result.loads, result.moved, result.failed


@pytest.mark.parametrize("policy", POLICIES)
def test_a_seed_gives_one_result(policy: str) -> None:
    """Two runs are the same, and another seed is another run."""
    again = simulate(PLAN, policy, 7, dying=2)
    other = simulate(PLAN, policy, 8, dying=2)
    assert shown(ran(policy)) == shown(again)
    assert shown(ran(policy)) != shown(other)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_request_ends(policy: str) -> None:
    """It is answered, or its host died after the first token; nothing is lost."""
    result = ran(policy)
    asked = sum(len(talk.turns) for talk in conversations(PLAN, 7))
    assert asked == len(result.first_tokens) + result.failed


@pytest.mark.parametrize("policy", [OURS, f"{OURS}, queue"])
def test_ours_finds_more_in_caches_and_loads_less(policy: str) -> None:
    """Against the policies that know nothing of models and beginnings, by far."""
    for other in BLIND:
        assert ran(policy).hits > 2 * ran(other).hits
        assert ran(policy).loads < ran(other).loads
        assert ran(policy).first_token(0.5) < ran(other).first_token(0.5)
        assert ran(policy).first_token(0.99) < ran(other).first_token(0.99)


def test_ours_queues_less_than_sessions_alone() -> None:
    """About as much is found in caches, with fewer loads and without long queues."""
    assert ran(OURS).hits > 0.9 * ran("session only").hits
    assert ran(OURS).loads < ran("session only").loads
    assert ran(OURS).first_token(0.99) < ran("session only").first_token(0.99)


def test_the_page_has_the_table_of_every_policy() -> None:
    """The docs were written by a run of these policies."""
    page = report.PAGE.read_text("utf-8")
    inside = page.partition(report.BEGIN)[2].partition(report.END)[0]
    for policy in POLICIES:
        assert f"| {policy} " in inside


def test_writing_keeps_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is between the marks is replaced."""
    page = tmp_path / "fleet.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n", "utf-8")
    monkeypatch.setattr(report, "PAGE", page)
    monkeypatch.setattr(report, "PICTURE", tmp_path / "fleet.svg")
    report.write([ran(OURS)])

    text = page.read_text("utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "<svg" in (tmp_path / "fleet.svg").read_text("utf-8")
