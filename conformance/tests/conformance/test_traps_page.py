"""docs/traps.md names cases and tests that there are."""

import re
from pathlib import Path

from conformance.case import load_cases

ROOT = Path(__file__).parents[3]
TESTS = ROOT / "conformance" / "tests"
COUNT = 45


def rows() -> dict[int, str]:
    """Return the last cell of each row of the table, by its number."""
    text = (ROOT / "docs" / "traps.md").read_text("utf-8")
    found = re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]+) \|$", text, re.M)
    assert len(found) == len(dict(found)), "a number stands twice"
    return {int(number): shown for number, shown in found}


def is_there(name: str, cases: set[str]) -> bool:
    """Whether a name is that of a case, or of a test."""
    path, is_test, test = name.partition("::")
    if not is_test:
        return name in cases
    file = TESTS / path
    return file.is_file() and f"def {test}(" in file.read_text("utf-8")


def test_every_trap_has_a_row() -> None:
    """None is left out and none made up."""
    assert [*range(1, COUNT + 1)] == [*rows()]


def test_every_named_case_and_test_exists() -> None:
    """What was renamed or taken out is noticed here."""
    cases = {case.name for case in load_cases()}
    named = {name for shown in rows().values() for name in re.findall(r"`([^`]*[/:][^`]*)`", shown)}

    gone = {name for name in named if not name.startswith("/") and not is_there(name, cases)}
    assert set() == gone


def test_a_row_names_what_shows_it_or_says_why_nothing_does() -> None:
    """A row without either would be a claim."""
    bare = {
        number
        for number, shown in rows().items()
        if not re.search(r"`[^`]+/[^`]+`", shown) and not shown.startswith("Not shown: ")
    }
    assert set() == bare


def test_a_name_that_is_nobodys_is_noticed() -> None:
    """The check above can fail."""
    assert not is_there("chat/none/of-these", {"chat/stream/plain"})
    assert not is_there("gateway/test_values.py::test_none", set())
    assert is_there("conformance/test_traps_page.py::test_every_trap_has_a_row", set())
