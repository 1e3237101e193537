"""docs/lifecycle.md and the code speak of the same states."""

import re
from pathlib import Path
from typing import get_args

from gateway.lifecycle.state import Change, State

PAGE = Path(__file__).parents[3] / "docs" / "lifecycle.md"


def states_of_the_code() -> set[str]:
    """Return the words of the type."""
    return {*get_args(Change), *(word for part in get_args(State) for word in words(part))}


def words(part: object) -> tuple[str, ...]:
    """Return the words of one part of the type."""
    return (part,) if isinstance(part, str) else get_args(part)


def test_the_diagram_and_the_table_name_every_state() -> None:
    """And none that the code does not have."""
    text = PAGE.read_text("utf-8")
    diagram = set(re.findall(r"^    (\w+) --> ", text, re.M)) | set(re.findall(r" --> (\w+)", text))
    table = set(re.findall(r"^\| `(\w+)` \|", text, re.M))
    assert states_of_the_code() == diagram == table
