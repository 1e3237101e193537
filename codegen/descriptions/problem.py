"""
A problem in a spec or a mapping file, in a form that a person can act on.

This module has the data of a problem and prints it. It has no checks.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path


@dataclass(frozen=True, order=True)
class Position:
    """A place in a file: `line` and `column` count from one; `file` is relative to the project."""

    file: str
    line: int
    column: int
    included: Included | None = field(default=None, compare=False)
    """For what is taken from a group: which one, and where it is included."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"

    @property
    def from_group(self) -> str:
        """Return a note of the group that this stands in, "" for none, to follow other words."""
        return f" (group {self.included.group})" if self.included is not None else ""

    def within(self, group: str, at: Position) -> Position:
        """Return the same place, reached by including its group at another."""
        if self.included is None:
            return replace(self, included=Included(group, at))
        outer = self.included.at.within(group, at)
        return replace(self, included=Included(self.included.group, outer))


@dataclass(frozen=True)
class Included:
    """How a mapping comes to what stands in a group: the group's name, and where it names it."""

    group: str
    at: Position


@dataclass(frozen=True, order=True)
class Problem:
    """One finding: a stable check id, where it is, what is wrong, and what would mend it."""

    position: Position
    check: str
    message: str
    hint: str | None = None
    declared: Position | None = None
    about: str | None = field(default=None, compare=False)
    """The field that is undecided, or that a misspelt one was meant to be."""

    def headline(self) -> str:
        """Return the finding as one line, the way compilers print theirs."""
        return f"{self.position}: {self.check}: {self.message}"


class GenerationFailed(Exception):
    """The specs or rules have problems; nothing was written."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(problem.headline() for problem in self.problems))


@dataclass
class Findings:
    """Collects problems, so that one run reports all of them and not the first."""

    problems: list[Problem] = field(default_factory=list)

    def add(
        self,
        check: str,
        position: Position,
        message: str,
        *,
        hint: str | None = None,
        declared: Position | None = None,
        about: str | None = None,
    ) -> None:
        """Record a problem once, however many paths of the generator lead to it."""
        problem = Problem(position, check, message, hint, declared, about)
        if problem not in self.problems:
            self.problems.append(problem)

    def raise_if_any(self) -> None:
        """Raise `GenerationFailed` with everything found so far, less what only follows from it."""
        if self.problems:
            raise GenerationFailed(without_consequences(self.problems))


NAMED_IN_A_FILE = ("no-such-answer", "no-such-call", "no-such-report", "no-such-stream")
"""Checks of names whose entry is then unused as well, by the same mistake."""

MISSPELT = {
    "no-such-path": ("source-unmapped",),
    "stale-ignore": ("source-unmapped",),
    "no-such-target": ("target-uncovered", "target-undecided"),
}
"""What a misspelt field also leads to: the field that was meant is left undecided."""

UNNAMED = "inline-object"
"""The check of an object that has no type yet, with which no type can fit."""

LEAVES = tuple(
    f"unused-{kind}" for kind in ("component", "shape", "state", "step", "table", "transform")
)
"""What only rules use: told once no rule has a problem that would explain it."""


def without_consequences(problems: Iterable[Problem]) -> list[Problem]:
    """
    Leave out what would go away with another problem.

    A field is undecided because a rule that means it misspells it; an answer is unused because the
    step that means it does; a transform is unused because the rule that calls it does not compile.
    """
    found = list(problems)
    follows = {
        (check, problem.position.file, problem.about)
        for problem in found
        for check in MISSPELT.get(problem.check, ())
        if problem.about is not None
    }
    misnamed = {
        (problem.check.replace("no-such-", "unused-"), problem.position.file)
        for problem in found
        if problem.check in NAMED_IN_A_FILE
    }
    kept = [
        problem
        for problem in found
        if (problem.check, problem.position.file, problem.about) not in follows
        and (problem.check, problem.position.file) not in misnamed
    ]
    if any(problem.check == UNNAMED for problem in kept):
        kept = [problem for problem in kept if problem.check != "type-mismatch"]
    return [problem for problem in kept if problem.check not in LEAVES] or kept


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that a word was probably meant to be."""
    return next(iter(difflib.get_close_matches(word, list(candidates), n=1, cutoff=0.6)), None)


def did_you_mean(word: str, candidates: Iterable[str]) -> str | None:
    """
    Return a hint with the nearest candidate, or the list when it is short, else None.

    >>> did_you_mean("num_predicts", ["num_predict", "seed"])
    'did you mean `num_predict`?'
    """
    known = list(candidates)
    near = nearest(word, known)
    if near is not None:
        return f"did you mean `{near}`?"
    if known and len(known) <= 12:
        return "known here: " + ", ".join(f"`{name}`" for name in known)
    return None


def render(problems: Iterable[Problem], root: Path) -> str:
    """Print problems with the source line, a caret under the column, and the hint."""
    blocks = []
    for problem in problems:
        lines = [problem.headline()]
        text = _source_line(root, problem.position)
        if text is not None:
            gutter = f"{problem.position.line:5} | "
            lines.append(gutter + text)
            words = (problem.hint, _declared(problem), _included(problem.position))
            hints = [hint for hint in words if hint]
            caret = " " * 5 + " | " + " " * (problem.position.column - 1) + "^"
            lines.append(caret + (" " + "   ".join(hints) if hints else ""))
        blocks.append("\n".join(lines))
    return "\n".join(blocks)


def _declared(problem: Problem) -> str | None:
    return (
        f"declared at {problem.declared.file}:{problem.declared.line}" if problem.declared else None
    )


def _included(position: Position) -> str | None:
    found = position.included
    while found is not None and found.at.included is not None:
        found = found.at.included
    return f"included at {found.at.file}:{found.at.line}" if found is not None else None


def _source_line(root: Path, position: Position) -> str | None:
    try:
        return (root / position.file).read_text(encoding="utf-8").splitlines()[position.line - 1]
    except (OSError, IndexError):
        return None
