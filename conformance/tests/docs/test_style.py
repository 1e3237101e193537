"""Hand-written texts follow the rules of STYLE.md that a program can check."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
GENERATED = ("gateway/plans/", "gateway/calls/", "gateway/types/")
APART = ("conformance/tests/codegen/project/", "conformance/tests/codegen/bad/")
PHRASES = {
    r"\bof ours\b": "say the gateway's, own, or our",
    r"\blives? here\b|\bHere lives?\b|\bMay (?:not )?live\b": "rule 8",
    r"\bNot here:": "rule 8",
    r"\bno business of\b|'s (?:own )?business\b": "rule 8",
    r"\b[Bb]y a fault of\b": "say internal error",
    r"\b(?:simply|just) (?:works|do|use|run)\b": "rule 10",
}


def written(*patterns: str) -> list[Path]:
    """Return the hand-written files that fit, but for those that are rewritten."""
    left_out = (*GENERATED, *APART)
    return [
        path
        for pattern in patterns
        for path in sorted(ROOT.glob(pattern))
        if not path.relative_to(ROOT).as_posix().startswith(left_out)
    ]


TEXTS = written("gateway/**/*.py", "codegen/**/*.py", "conformance/**/*.py", "*.md", "docs/**/*.md")


def test_there_are_files() -> None:
    """Otherwise the tests below would pass."""
    assert {"lifecycle.py", "glossary.md"} <= {path.name for path in TEXTS}


@pytest.mark.parametrize("phrase", PHRASES)
def test_a_phrase_is_not_used(phrase: str) -> None:
    """STYLE.md quotes such phrases as examples, and this file has to name them."""
    found = [
        f"{path.relative_to(ROOT)}: {match[0]!r}: {PHRASES[phrase]}"
        for path in TEXTS
        if path.name not in {"STYLE.md", Path(__file__).name}
        for match in re.finditer(phrase, path.read_text("utf-8"))
    ]

    assert [] == found


def test_every_decision_has_a_number_of_its_own_which_its_heading_repeats() -> None:
    pages = sorted(ROOT.glob("docs/decisions/[0-9]*.md"))
    numbers = [int(page.name[:4]) for page in pages]
    headings = [page.read_text("utf-8").split(".", 1)[0] for page in pages]
    assert numbers == list(range(1, len(pages) + 1))
    assert headings == [f"# {number}" for number in numbers]
