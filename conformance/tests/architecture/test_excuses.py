"""A check that is switched off somewhere is so for a reason that stands beside it."""

import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
FOLDERS = ("codegen", "conformance", "gateway")
EXCUSE = re.compile(r"#\s*(noqa|type: ignore|pragma: no cover|nosec)(?P<rest>.*)")
RULES = re.compile(r":?\s*(\[[\w, -]+\]|[A-Z]+\d+(,\s*[A-Z]+\d+)*)?")


def has_reason(rest: str, above: str) -> bool:
    """Tell whether words follow the names of rules, or the line above is a comment."""
    words = RULES.sub("", rest, count=1).strip(" #-")
    return len(words) >= 3 or above.lstrip().startswith("#")


def excuses_without_reason(path: Path) -> Iterator[str]:
    """Yield the lines of a module that switch a check off and don't say why."""
    with path.open("rb") as file:
        tokens = [one for one in tokenize.tokenize(file.readline) if one.type == tokenize.COMMENT]
    lines = path.read_text(encoding="utf-8").splitlines()
    for token in tokens:
        number = token.start[0]
        found = EXCUSE.search(token.string)
        above = lines[number - 2] if number > 1 else ""
        if found is not None and not has_reason(found["rest"], above):
            yield f"{path.name}:{number}: {token.string}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_excuse_has_a_reason(folder: str) -> None:
    """It says what the checker can't know, on its line or on the one above."""
    modules = sorted((REPOSITORY / folder).rglob("*.py"))
    modules = [path for path in modules if "node_modules" not in path.parts]

    assert [] == [line for path in modules for line in excuses_without_reason(path)]


@pytest.mark.parametrize(
    ("text", "is_told"),
    [
        ("x = 1  # noqa", True),
        ("x = 1  # noqa: E501", True),
        ("x = 1  # type: ignore[arg-type, misc]", True),
        ("x = 1  # noqa: E501 - a row of a table", False),
        ("x = 1  # type: ignore[arg-type]  # JSON", False),
        ("# A row of a table.\nx = 1  # noqa: E501", False),
        ("x = '# noqa'", False),
    ],
)
def test_an_excuse_is_found(text: str, is_told: bool, tmp_path: Path) -> None:
    """The check itself finds one, and takes each form of a reason."""
    path = tmp_path / "module.py"
    path.write_text(f"{text}\n", encoding="utf-8")

    assert is_told is bool(list(excuses_without_reason(path)))
