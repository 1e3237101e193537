"""The page of traps names only proofs that there are."""

from __future__ import annotations

import re
from pathlib import Path

from conformance.suite.case import load_cases

ROOT = Path(__file__).parents[3]
ROW = re.compile(r"^\| (\d+) \| [^|]+ \| ([^|]+) \|$", re.MULTILINE)


def proofs() -> dict[int, tuple[str, list[str]]]:
    """Return the last column of each row, and the names in it."""
    page = (ROOT / "docs" / "traps.md").read_text()
    return {int(row[1]): (row[2], re.findall(r"`([^`]+)`", row[2])) for row in ROW.finditer(page)}


def test_every_trap_has_a_line() -> None:
    """There are 45, in order, and each has a proof or a reason."""
    rows = proofs()

    assert list(range(1, 46)) == list(rows)
    assert [] == [
        number for number, (text, names) in rows.items() if not names and "none: " not in text
    ]


def test_every_proof_is_there() -> None:
    """A case or a test that is renamed has to be renamed here."""
    tests = {
        name
        for path in (ROOT / "conformance" / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    known = {case.name for case in load_cases()} | tests
    named = {name for _, names in proofs().values() for name in names if name != "/v1"}

    assert set() == named - known
