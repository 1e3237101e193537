"""
The site of the documents: `nox -s docs` builds it into build/site, and any warning is an error.

The pages are the Markdown files as they stand in the repository, README.md included. What the
repository's host shows in a way of its own is put into Sphinx's words while a page is read.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

project = "olgate"
author = "the olgate authors"
project_copyright = "the olgate authors"

root_doc = "docs/site/index"
include_patterns = ["*.md", "docs/*.md", "docs/**/*.md", "conformance/*/README.md"]

extensions = ["myst_parser"]
myst_heading_anchors = 4
myst_enable_extensions = ["attrs_block"]

html_theme = "furo"
html_title = "olgate"
html_show_sphinx = False
html_show_sourcelink = False

_ANCHOR = re.compile(r'^ *<a id="([\w-]+)"></a>\n+(?=#)', re.MULTILINE)
_LINK = re.compile(r"\[([^\]\n]+)\]\(([\w./-]*)(?:#([\w-]+))?\)")
_DIAGRAM = re.compile(r"^```mermaid$", re.MULTILINE)


def read_page(_app: object, page: str, source: list[str]) -> None:
    """Give a page the words of Sphinx for anchors, links, and diagrams."""
    path = ROOT / f"{page}.md"
    text = _LINK.sub(lambda link: _link(path, link), source[0])
    text = _ANCHOR.sub(lambda anchor: f"{{#{_label(path, anchor[1])}}}\n", text)
    # The diagrams are readable as text, and drawing them would load a script from elsewhere.
    source[0] = _DIAGRAM.sub("```text", text)


def _link(path: Path, link: re.Match[str]) -> str:
    """Return a link as the site has it. A folder has no page, so only its name is left."""
    words, place, anchor = link.groups()
    target = (path.parent / place).resolve() if place else path
    if target.is_dir():
        return str(words)
    if anchor and anchor in _anchors(target):
        return f"[{words}]({place}#{_label(target, anchor)})"
    return link[0]


def _label(path: Path, anchor: str) -> str:
    """Return an anchor's name on the site, where each is one for all pages."""
    return f"{path.stem.lower()}-{anchor}"


@cache
def _anchors(path: Path) -> frozenset[str]:
    """Return the anchors that a page states by name."""
    text = path.read_text("utf-8") if path.suffix == ".md" and path.exists() else ""
    return frozenset(_ANCHOR.findall(text))


def setup(app: Any) -> None:
    """Have each page read by `read_page`."""
    app.connect("source-read", read_page)
