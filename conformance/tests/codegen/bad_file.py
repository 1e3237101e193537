"""
Bad files: one mistake each, made in the fixture project, with the words it must be told in.

A file holds `check`, the id of the check that finds the mistake; `why` it is one; `edit`, what to
change in the fixture project; and `expect`, all that the generator then prints, source line,
caret and hint included. A line of `expect` that ends in `…` leaves its end open, for words that
are a library's and not ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from codegen.descriptions.problem import render
from conformance.tests.codegen.harness import HERE, edited, problems_of

FOLDER = HERE / "bad"
OPEN_END = "…"


@dataclass(frozen=True)
class BadFile:
    """One mistake and how it is told."""

    path: Path
    check: str
    why: str
    edit: tuple[dict[str, Any], ...]
    expect: str

    def texts(self, root: Path) -> dict[str, str]:
        """Return the files of a project as they are with the mistake in them."""
        texts: dict[str, str] = {}
        for edit in self.edit:
            name = edit["file"]
            if "new_file" in edit:
                texts[name] = edit["new_file"]
                continue
            text = texts.get(name, (root / name).read_text(encoding="utf-8"))
            for change in edit.get("replace", ()):
                old = change["old"]
                assert text.count(old) == 1, f"{self.path.name}: {text.count(old)} times: {old}"
                text = text.replace(old, change["new"])
            texts[name] = text + edit.get("append", "")
        return texts

    def told(self, root: Path) -> tuple[list[str], str]:
        """Return the ids of the checks that find something, and what is printed."""
        texts = self.texts(root)
        with edited(root, texts):
            # Only these look at the specs for their own sake, which is slow.
            documents = self.check in ("no-such-reference", "not-openapi", "wire-unproved")
            problems = problems_of(root, documents=documents)
            return [problem.check for problem in problems], render(problems, root)

    def expects(self, printed: str) -> bool:
        """Tell whether these are the expected words."""
        lines, expected = printed.splitlines(), self.expect.splitlines()
        return len(lines) == len(expected) and all(
            line.startswith(words.removesuffix(OPEN_END))
            if words.endswith(OPEN_END)
            else line == words
            for line, words in zip(lines, expected, strict=True)
        )


@cache
def read_bad(path: Path) -> BadFile:
    """Read one bad file."""
    data = YAML(typ="safe", pure=True).load(path)
    return BadFile(
        path, data["check"], data["why"], tuple(data["edit"]), data["expect"].removesuffix("\n")
    )


def bad_files() -> list[Path]:
    """Return the bad files in the order of their names."""
    return sorted(FOLDER.glob("*.yaml"))
