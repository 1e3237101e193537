"""
The table of faults and invariants: printed, and written into docs/fleet.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from conformance.cluster.checker import INVARIANTS, Finding
from conformance.runner.processes import ROOT
from conformance.standin.history import Event

PAGE = ROOT / "docs" / "fleet.md"
BEGIN = "<!-- cluster: begin; nox -s cluster -- --write -->"
END = "<!-- cluster: end -->"
MOST_SHOWN = 10


@dataclass(frozen=True)
class Row:
    """What happened during one fault. `tried` and `broken` are by invariant, in their order."""

    store: str
    name: str
    whole: int
    errors: int
    loads: int
    tried: tuple[int, ...]
    broken: tuple[int, ...]
    violations: tuple[str, ...]


def row_of(
    store: str,
    name: str,
    since: float,
    until: float,
    events: Sequence[Event],
    findings: Sequence[Finding],
    problem: str,
) -> Row:
    """Return what happened from one time to another; `problem` is of the run itself."""

    def count(*whats: str, how: tuple[str, ...] = ()) -> int:
        return sum(
            since <= event.at < until and event.what in whats and (not how or event.how in how)
            for event in events
        )

    found = [
        [one.text for one in finding.violations if since <= one.at < until] for finding in findings
    ]
    return Row(
        store,
        name,
        count("answered", how=("whole",)),
        count("answered", how=("error", "broken")),
        count("load begun"),
        tuple(sum(since <= at < until for at in finding.tried) for finding in findings),
        tuple(len(texts) for texts in found),
        tuple(text for texts in found for text in texts) + ((problem,) if problem else ()),
    )


def table(rows: Sequence[Row]) -> list[str]:
    """Return the table as lines of Markdown: how often each invariant was tried, or was broken."""
    head = ["store", "fault", "whole", "told an error", "loads", *INVARIANTS]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [
            f"{tried} tried" if not broken else f"**{broken} broken** of {tried}"
            for tried, broken in zip(row.tried, row.broken, strict=True)
        ]
        shown = [row.store, row.name, str(row.whole), str(row.errors), str(row.loads), *cells]
        lines.append("| " + " | ".join(shown) + " |")
    return lines


def print_rows(rows: Sequence[Row]) -> None:
    """Print the table, and below it what was broken."""
    print("\n".join(table(rows)))
    for row in rows:
        for text in row.violations[:MOST_SHOWN]:
            print(f"BROKEN: {row.store}, {row.name}: {text}")


def write_rows(rows: Sequence[Row]) -> None:
    """Write the table between its marks in docs/fleet.md. Raises ValueError without the marks."""
    text = PAGE.read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE} lacks {BEGIN} or {END}")
    PAGE.write_text(f"{before}{BEGIN}\n" + "\n".join(table(rows)) + f"\n{END}{after}", "utf-8")
