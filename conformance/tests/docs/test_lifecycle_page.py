"""docs/lifecycle.md and the code speak of the same states."""

import ast
import re
from pathlib import Path
from typing import get_args

from gateway.lifecycle.state import Change, State

PROJECT = Path(__file__).parents[3]
PAGE = PROJECT / "docs" / "lifecycle.md"
ROOM = PROJECT / "gateway" / "lifecycle"


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


def test_the_page_names_every_module() -> None:
    """And none that is not there."""
    named = set(re.findall(r"\(`(\w+)\.py`\)", PAGE.read_text("utf-8")))
    assert {path.stem for path in ROOM.glob("*.py")} - {"__init__"} == named


def log_lines_of_the_code() -> set[tuple[str, str, tuple[str, ...]]]:
    """Return the event, the level and the fields of every log line of the room."""
    found = set()
    for path in ROOM.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Attribute(attr="_log"), attr=level),
                    args=[ast.Constant(value=str() as event)],
                    keywords=fields,
                ):
                    found.add((event, level, tuple(str(field.arg) for field in fields)))
    return found


def test_the_page_has_every_log_line_with_its_fields() -> None:
    """And none that the code does not write."""
    rows = re.findall(r"^\| `([^`]+)` \| (\w+) \| (`[^|]+`) \|", PAGE.read_text("utf-8"), re.M)
    page = {(event, level, tuple(re.findall(r"`(\w+)`", fields))) for event, level, fields in rows}
    code = log_lines_of_the_code()
    assert len(code) > 10
    assert code == page


def test_every_log_line_of_the_room_is_found() -> None:
    """One that is written in another way would be missed by the comparison."""
    text = "".join(path.read_text("utf-8") for path in ROOM.glob("*.py"))
    assert text.count("self._log.") == len(re.findall(r"self\._log\.\w+\(\s*\"", text))
