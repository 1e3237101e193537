"""
Rows that never apply, because an earlier row takes every failure that they would.

The compiler reports rows after one that takes a whole status or fault
(`codegen/compiler/errors.py`). This module reports rows after one that also asks for a code or a
message.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from codegen.descriptions.problem import Findings
from codegen.rules.model import ErrorRow, MappingFile, RecoverRow


def check_rows(file: MappingFile, findings: Findings) -> None:
    """Report rows that a row before them makes useless."""
    _check_reached(file.errors, findings)
    _check_reached(file.recover, findings)


def _check_reached(rows: Sequence[ErrorRow | RecoverRow], findings: Findings) -> None:
    told: set[int] = set()
    for before, after in combinations(rows, 2):
        asks_for_words = before.code is not None or before.message is not None
        if asks_for_words and id(after) not in told and _takes(before, after):
            told.add(id(after))
            findings.add(
                "row-unreachable",
                after.position,
                f"the row of line {before.position.line} takes all of it",
            )


def _takes(before: ErrorRow | RecoverRow, after: ErrorRow | RecoverRow) -> bool:
    """Tell whether every failure that the later row takes is taken by the earlier one."""
    if before.code is not None and before.code != after.code:
        return False
    words = before.message
    if words is not None and words.lower() not in (after.message or "").lower():
        return False
    if isinstance(before, RecoverRow) or isinstance(after, RecoverRow):
        return True
    faults = {name for name, _ in before.faults}
    if faults and not (after.faults and {name for name, _ in after.faults} <= faults):
        return False
    if not before.statuses:
        return not after.otherwise
    return bool(after.statuses) and all(
        status in before.statuses or f"{status[0]}xx" in before.statuses
        for status in after.statuses
    )
