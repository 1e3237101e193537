"""The JSON Schema of the rule language: what editors complete and check as one types."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from codegen.descriptions.problem import Findings
from codegen.descriptions.source import plain
from codegen.rules.grammar import constructs, json_schema, with_tables
from conformance.tests.codegen.harness import FIXTURE, REPOSITORY, load_once

MAPPINGS = [
    pytest.param(root, path, id=f"{root.name}-{path.stem}")
    for root in (REPOSITORY, FIXTURE)
    for path in sorted((root / "specs" / "mappings").glob("*.yaml"))
]
VALIDATOR = Draft202012Validator(json_schema())


def rules_of(root: Path, path: Path) -> Any:
    """Return a mapping file's content."""
    return plain(load_once(path, root, Findings()))


def test_the_schema_is_one() -> None:
    """It is valid by its own dialect, and the committed file is this one."""
    committed = REPOSITORY / "specs" / "mappings" / "rules.schema.json"

    Draft202012Validator.check_schema(json_schema())
    assert json.loads(committed.read_text(encoding="utf-8")) == json_schema()


def test_the_tables_of_keys_are_those_of_the_language() -> None:
    """The page of the rules holds what the classes say, and each construct once."""
    page = (REPOSITORY / "docs" / "rules.md").read_text(encoding="utf-8")

    assert with_tables(page) == page
    titles = [f"### {construct.title}\n" for construct in constructs() if construct.name != "file"]
    assert [1] * len(titles) == [page.count(title) for title in titles]


@pytest.mark.parametrize(("root", "path"), MAPPINGS)
def test_every_mapping_file_is_valid(root: Path, path: Path) -> None:
    """What the generator takes, an editor takes."""
    assert [] == [error.message for error in VALIDATOR.iter_errors(rules_of(root, path))]


@pytest.mark.parametrize(
    "where",
    [
        ("plan", 1, "check"),
        ("plan", 0),
        ("answers", "load"),
        ("calls", "chat", "request"),
        ("calls", "chat", "request", "fields", "tools"),
        ("calls", "chat", "stream"),
        ("calls", "chat", "stream", "emit", 0),
        ("calls", "chat", "stream", "fold"),
        (),
    ],
    ids=lambda where: ".".join(map(str, where)) or "file",
)
def test_a_misspelt_verb_is_not_valid(where: tuple[str | int, ...]) -> None:
    """A key that the language does not know is refused wherever it stands."""
    rules = deepcopy(rules_of(REPOSITORY, REPOSITORY / "specs" / "mappings" / "chat.yaml"))
    place = rules
    for step in where:
        place = place[step]
    assert isinstance(place, dict)

    place["form"] = "stream"

    assert not VALIDATOR.is_valid(rules)
