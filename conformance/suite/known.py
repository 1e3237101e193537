"""
Expected failures as data that must keep failing.

This module reads the list and matches names with it. The rules: a listed case still runs; if it
passes, the run fails, because the list is stale; a pattern that matches nothing is an error.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from conformance.suite.source import SourceProblem

FILE = Path(__file__).parents[1] / "cases" / "known_failing.txt"


@dataclass(frozen=True)
class Entry:
    """A pattern, and why what it matches fails."""

    pattern: str
    reason: str
    place: str


@dataclass
class KnownFailing:
    """The list; patterns match a name, or a name with `@replay`, with `*` and `?`."""

    entries: list[Entry] = field(default_factory=list)

    def find(self, name: str) -> Entry | None:
        """Return the entry that matches a run's name (`case@replay` or a plain name), or None."""
        plain = name.split("@", 1)[0]
        return next(
            (
                entry
                for entry in self.entries
                if fnmatch.fnmatchcase(name, entry.pattern)
                or fnmatch.fnmatchcase(plain, entry.pattern)
            ),
            None,
        )

    def unmatched(self, names: Iterable[str]) -> list[Entry]:
        """Return the entries that none of the names of all runs needs."""
        used = {entry.pattern for name in names if (entry := self.find(name))}
        return [entry for entry in self.entries if entry.pattern not in used]


def read_known_failing(path: Path = FILE) -> KnownFailing:
    """
    Read a list: `#` lines give the reason of the patterns right below them, a blank line ends both.

    Raises `SourceProblem` for a pattern without a reason or one that stands there twice.
    """
    if not path.is_file():
        return KnownFailing()
    known = KnownFailing()
    problems: list[str] = []
    reason: list[str] = []
    previous_is_pattern = False
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        text = line.strip()
        place = f"{path}:{number}:1"
        if not text:
            reason, previous_is_pattern = [], False
        elif text.startswith("#"):
            if previous_is_pattern:
                reason = []
            reason.append(text.lstrip("# "))
            previous_is_pattern = False
        else:
            if not reason:
                problems.append(f"{place}: `{text}` has no reason: write one above it, after #")
            if any(entry.pattern == text for entry in known.entries):
                problems.append(f"{place}: `{text}` stands here twice")
            known.entries.append(Entry(text, " ".join(reason), place))
            previous_is_pattern = True
    if problems:
        raise SourceProblem(problems)
    return known
