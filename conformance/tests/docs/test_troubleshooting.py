"""The symptoms that the page quotes are what the gateway says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/troubleshooting.md").read_text("utf-8")
SYMPTOMS = re.findall(r"^\| (.+?) \|", PAGE, re.MULTILINE)
QUOTED = [words for symptom in SYMPTOMS for words in re.findall(r'"([^"]+)"', symptom)]
SOURCES = "\n".join(
    path.read_text("utf-8")
    for folder in ("gateway", "specs")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".py", ".yaml"}
) + (ROOT / "conformance/demo.py").read_text("utf-8")


def test_there_are_quotes() -> None:
    """Otherwise nothing below would run."""
    assert len(QUOTED) >= 5


@pytest.mark.parametrize("words", QUOTED)
def test_a_quoted_symptom_is_said_somewhere(words: str) -> None:
    """Whoever searches the page for the words of an error finds it."""
    assert words in SOURCES
