"""Nodes of YAML are the same, whether libyaml reads a file or the reader in Python."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml.error import MarkedYAMLError, YAMLStreamError

from codegen.descriptions.nodes import Node, compose, in_python
from conformance.tests.codegen.harness import REPOSITORY

FOLDERS = ("specs", "conformance/cases", "conformance/fixtures", "conformance/tests/codegen/bad")

WORDS = (
    *("on", "No", "true", "TRUE", "null", "~", "''", "2026-01-01", "1:30", "=", "!!str 1", "! 1"),
    *("0o17", "017", "0x1F", "1_000", "-1", "+1.5", "1e5", "1.e5", ".5", ".inf", "-.Inf", ".nan"),
    *("a:b", "a#b", "'it''s'", '"\\u2028\\x07"', "é😀", "[a, {b: c}]", "{a, b: }", "http://x?y"),
    *(
        "&a b",
        "!x &a b",
        "[&a b, *a]",
        "{&a b: *a}",
        "a & b * c",
        "'&a'",
        "|\n  x\n\n  y\n",
        ">-\n  &a",
    ),
)


def flat(node: Node | None) -> object:
    """Return all that our readers ask of a node, but for the place of what is left out."""
    if node is None:
        return None
    value: Any = node.value
    if node.id == "mapping":
        value = [(flat(key), flat(item)) for key, item in value]
    elif node.id == "sequence":
        value = [flat(item) for item in value]
    place = (node.start_mark.line, node.start_mark.column) if value else None
    return node.id, str(node.tag), value, place, getattr(node, "anchor", None)


@pytest.mark.parametrize("folder", FOLDERS)
def test_our_files_are_read_alike(folder: str) -> None:
    """Each file has the same words, kinds and places with both readers."""
    files = sorted((REPOSITORY / folder).rglob("*.yaml"))

    assert files
    assert [] == [path for path in files if flat(compose(path)) != flat(in_python(path))]


@pytest.mark.parametrize("word", WORDS)
def test_a_value_is_read_alike(tmp_path: Path, word: str) -> None:
    """What is a number, a boolean or null, and what is an anchor, does not hang on the reader."""
    path = tmp_path / "a.yaml"
    path.write_text(f"before: 1\nkey: {word}\n", "utf-8")

    assert flat(compose(path)) == flat(in_python(path))


@pytest.mark.parametrize("text", ["", "# nothing\n", "%YAML 1.1\n---\na: yes\n", "--- a\n"])
def test_a_whole_text_is_read_alike(tmp_path: Path, text: str) -> None:
    """A file of nothing, or one that says which YAML it is, is no other with libyaml."""
    path = tmp_path / "a.yaml"
    path.write_text(text, "utf-8")

    assert flat(compose(path)) == flat(in_python(path))


@pytest.mark.parametrize("text", ["a: [b", "a: b: c", "\ta: b", "a: 'b", "a: 1\n---\nb: 1\n", "*a"])
def test_what_is_wrong_is_told_by_the_reader_in_python(tmp_path: Path, text: str) -> None:
    """Its words and places stand in what users read."""
    path = tmp_path / "a.yaml"
    path.write_text(text, "utf-8")

    with pytest.raises((MarkedYAMLError, YAMLStreamError)) as told:
        compose(path)
    with pytest.raises((MarkedYAMLError, YAMLStreamError)) as expected:
        in_python(path)

    assert str(expected.value) == str(told.value)
