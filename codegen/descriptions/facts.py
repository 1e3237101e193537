"""
Citations of facts, and whether they lead somewhere.

A fact stands on a page of docs/facts/ below an anchor; docs/facts/README.md says how it is cited.
"""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = "docs/facts"
CITATION = re.compile(rf"{FOLDER}/([\w-]+)\.md#([\w-]+)")
_ANCHOR = re.compile(r'<a id="([^"]+)"></a>')


class Facts:
    """The pages of facts of the project at `root`, each read when something first cites it."""

    def __init__(self, root: Path) -> None:
        self._folder = root / FOLDER
        self._anchors: dict[str, tuple[str, ...]] = {}

    def pages(self) -> tuple[str, ...]:
        """Return the names of the pages, without folder and ending, in order."""
        return tuple(sorted(path.stem for path in self._folder.glob("*.md")))

    def anchors(self, page: str) -> tuple[str, ...]:
        """Return the anchors of a page in its order; a page that is not there has none."""
        if page not in self._anchors:
            path = self._folder / f"{page}.md"
            text = path.read_text(encoding="utf-8") if path.is_file() else ""
            self._anchors[page] = tuple(_ANCHOR.findall(text))
        return self._anchors[page]
