"""
The recipes of CONTRIBUTING.md, read as patches and applied to a copy of the project.

A recipe begins with `<!-- recipe: TITLE -->`, or with `TITLE, at most N changed lines`.
Its blocks are fenced as `diff file=PATH`, or for a new file as `diff file=PATH new`.
In a block, `+` adds a line, `-` removes one, and a space marks a line that must be there; `@@`
means that lines are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_RECIPE = re.compile(r"<!-- recipe: (?P<title>.+?)(?:, at most (?P<most>\d+) changed lines)? -->")
_FENCE = re.compile(r"(?P<indent> *)```diff file=(?P<path>\S+)(?P<new> new)?")


class BadRecipe(Exception):
    """A recipe that cannot be read or applied; says which one, which file and why."""


@dataclass
class Patch:
    """The changes of one file."""

    path: str
    is_new: bool
    hunks: list[list[str]]
    """Lines with their mark as first character."""

    @property
    def changed_lines(self) -> int:
        """Return how many lines are added or removed; empty ones do not count."""
        return sum(
            line[0] in "+-" and line[1:].strip() != "" for hunk in self.hunks for line in hunk
        )

    def apply(self, root: Path) -> None:
        """Change the file below a folder. Raises BadRecipe when it does not look as expected."""
        file = root / self.path
        if file.exists() == self.is_new:
            raise BadRecipe(f"{self.path}: {'exists already' if self.is_new else 'does not exist'}")
        lines = [] if self.is_new else file.read_text("utf-8").splitlines()
        start = 0
        for hunk in self.hunks:
            before = [line[1:] for line in hunk if line[0] != "+"]
            after = [line[1:] for line in hunk if line[0] != "-"]
            at = _find(lines, before, start)
            if at is None:
                raise BadRecipe(f"{self.path}: these lines are not there:\n" + "\n".join(before))
            lines[at : at + len(before)] = after
            start = at + len(after)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines) + "\n", "utf-8")


@dataclass
class Recipe:
    """One recipe: its patches in order, and how many lines it may change."""

    title: str
    most: int | None
    patches: list[Patch] = field(default_factory=list)

    @property
    def changed_lines(self) -> int:
        """Return how many lines all patches change together."""
        return sum(patch.changed_lines for patch in self.patches)


def read_recipes(text: str) -> list[Recipe]:
    """Return the recipes of a page. Raises BadRecipe for a block that belongs to none."""
    recipes: list[Recipe] = []
    lines = iter(text.splitlines())
    for line in lines:
        if (found := _RECIPE.fullmatch(line.strip())) is not None:
            recipes.append(Recipe(found["title"], int(found["most"]) if found["most"] else None))
        elif (fence := _FENCE.fullmatch(line)) is not None:
            if not recipes:
                raise BadRecipe(f"{fence['path']}: the block stands before the first recipe")
            hunks = _hunks(lines, fence["indent"], fence["path"])
            recipes[-1].patches.append(Patch(fence["path"], fence["new"] is not None, hunks))
    return recipes


def _hunks(lines: Iterator[str], indent: str, path: str) -> list[list[str]]:
    hunks: list[list[str]] = [[]]
    for line in lines:
        text = line.removeprefix(indent)
        if text == "```":
            return hunks
        if text == "@@":
            hunks.append([])
        elif text[:1] in {"+", "-", " "}:
            hunks[-1].append(text)
        else:
            raise BadRecipe(f"{path}: a line begins with none of `+`, `-`, space: {text!r}")
    raise BadRecipe(f"{path}: the block has no end")


def _find(lines: list[str], wanted: list[str], start: int) -> int | None:
    places = range(start, len(lines) - len(wanted) + 1)
    return next((at for at in places if lines[at : at + len(wanted)] == wanted), None)
