"""The checker finds each violation in a history made by hand, and none in a good one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from conformance.cluster.checker import INVARIANTS, check
from conformance.standin.history import Event, History, read_history

GOOD = """
started host=h1 | started host=h2
named gateway=g1 by=a | named gateway=g2 by=b
load begun host=h1 model=hand | loaded host=h1 model=hand instance=hand
asked gateway=g1 ask=1
load begun host=h1 by=a model=m | loaded host=h1 by=a model=m instance=m
begun host=h1 by=a instance=m ask=1 | ended host=h1 by=a instance=m ask=1 how=finished
answered ask=1 by=a how=whole
alias made gateway=g1 model=x how=done
aliases listed gateway=g2 how=settled names=x
alias deleted gateway=g1 model=x how=done
aliases listed gateway=g1
asked gateway=g1 ask=2 | begun host=h1 by=a instance=m ask=2
killed host=h1 | answered ask=2 by=a how=error
started host=h1 | healed host=h1
unloaded host=h2 by=a model=n instance=n2
"""


def history(text: str) -> list[Event]:
    """Read events, one after the other: `what key=value …`, between lines and bars."""
    events = []
    for at, line in enumerate(part for row in text.split("\n") for part in row.split("|")):
        words = line.split()
        if not words:
            continue
        fields = dict(word.split("=") for word in words if "=" in word)
        part = fields.pop("host", "") or fields.pop("gateway", "")
        names = tuple(name for name in fields.pop("names", "").split(",") if name)
        what = " ".join(word for word in words if "=" not in word)
        events.append(Event(at=at, what=what, part=part, names=names, **fields))
    return events


def broken(events: Iterable[Event]) -> list[str]:
    """Return the invariants that a history breaks."""
    return [one.invariant for one in check(list(events)) if one.violations]


def test_a_good_history_breaks_nothing() -> None:
    """Although there is something of everything in it, a killed host too."""
    loads = "load begun host=h2 by=a model=n | loaded host=h2 by=a model=n instance=n2\n"

    found = check(history(loads + GOOD.replace("started host=h2", "")))

    assert [] == [each for one in found for each in one.violations]
    assert all(one.tried for one in found)


VIOLATIONS = [
    ("loaded once", "load begun host=h by=a model=m | load begun host=h by=b model=m"),
    (
        "loaded once",
        "load begun host=h by=a model=m | loaded host=h by=a model=m instance=m"
        "| load begun host=h by=b model=m",
    ),
    (
        "no unload under an answer",
        "loaded host=h by=a model=m instance=m | begun host=h by=b instance=m ask=1"
        "| unloaded host=h by=a model=m instance=m | ended host=h instance=m ask=1",
    ),
    (
        "only own instances unloaded",
        "loaded host=h model=m instance=m | unloaded host=h by=a model=m instance=m",
    ),
    (
        "generated once",
        "begun host=h1 by=a instance=m ask=1 | begun host=h2 by=a instance=m ask=1",
    ),
    (
        "generated once",
        "begun host=h1 by=a instance=m ask=1 | ended host=h1 instance=m ask=1 how=finished"
        "| begun host=h2 by=b instance=m ask=1",
    ),
    ("whole, or an error with a reason", "asked gateway=g ask=1"),
    ("whole, or an error with a reason", "asked ask=1 | answered ask=1 how=silent"),
    ("whole, or an error with a reason", "asked ask=1 | answered ask=1 how=hung"),
    ("whole, or an error with a reason", "asked gateway=g ask=1 | answered ask=1 how=error"),
    (
        "whole, or an error with a reason",
        "killed gateway=g2 | asked gateway=g1 ask=1 | answered ask=1 how=error",
    ),
    (
        "whole, or an error with a reason",
        "fault host=h2 | asked gateway=g ask=1 | begun host=h1 by=a instance=m ask=1"
        "| ended host=h1 instance=m ask=1 how=failed | answered ask=1 how=broken",
    ),
    (
        "whole, or an error with a reason",
        "killed gateway=g | healed gateway=g | asked gateway=g ask=1| answered ask=1 how=error",
    ),
    (
        "no alias lost or back",
        "alias made gateway=g1 model=x how=done | aliases listed gateway=g1",
    ),
    (
        "no alias lost or back",
        "alias made gateway=g1 model=x how=done | aliases listed gateway=g2 how=settled",
    ),
    (
        "no alias lost or back",
        "alias made gateway=g1 model=x how=done | alias deleted gateway=g1 model=x how=done"
        "| aliases listed gateway=g2 how=settled names=x",
    ),
]
"""Each invariant, and a history that breaks it."""


@pytest.mark.parametrize(("invariant", "text"), VIOLATIONS)
def test_each_violation_is_found(invariant: str, text: str) -> None:
    """By the invariant that it breaks, and by no other."""
    assert [invariant] == broken(history(text))


def test_all_invariants_are_broken_above() -> None:
    """A new one has a history that breaks it."""
    assert set(INVARIANTS) == {invariant for invariant, _ in VIOLATIONS}


@pytest.mark.parametrize(
    "text",
    [
        "load begun host=h by=a model=m | load failed host=h by=a model=m"
        "| load begun host=h by=b model=m",
        "load begun host=h by=a model=m | started host=h | load begun host=h by=b model=m",
        "loaded host=h by=a model=m instance=m | begun host=h by=a instance=m ask=1"
        "| started host=h | unloaded host=h by=a model=m instance=m",
        "begun host=h1 by=a instance=m ask=1 | killed host=h1| begun host=h2 by=a instance=m ask=1",
        "begun host=h1 by=a instance=m ask=1 | ended host=h1 instance=m ask=1 how=failed"
        "| begun host=h2 by=a instance=m ask=1",
        "asked ask=1 | killed gateway=g | answered ask=1 how=broken",
        "alias made gateway=g1 model=x how=error | aliases listed gateway=g1",
        "alias made gateway=g1 model=x how=done | aliases listed gateway=g2",
    ],
)
def test_what_faults_excuse_is_no_violation(text: str) -> None:
    """A check that cries wolf would soon be switched off."""
    assert [] == broken(history(text))


def test_a_stand_in_and_its_successor_write_one_history(tmp_path: Path) -> None:
    """A host that is killed and started again appends to its file."""
    file = tmp_path / "host.jsonl"
    History(file, "h").note("loaded", model="m", instance="m")
    History(file, "h")

    assert ["started", "loaded", "started"] == [event.what for event in read_history(file)]
