"""
YAML as nodes with positions, read by libyaml where that gives the same as YAML 1.2.

The reader in Python takes fourteen times as long, which was a third of a run of the generator. It
has the last word: it reads what libyaml refuses, and so says what is wrong with a file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Protocol, cast

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.resolver import implicit_resolvers


class Mark(Protocol):
    """A place in a file: line and column from zero."""

    line: int
    column: int


class Node(Protocol):
    """
    What both readers' nodes have.

    `id` is `scalar`, `sequence` or `mapping`; `value` is its text, nodes, or pairs of nodes. Nodes
    of the reader in Python also have an `anchor`, a name or None.
    """

    id: str
    tag: object
    value: Any
    start_mark: Mark


ANCHOR = re.compile(r"(?:^|[\s\[{,:-])[&*]", re.MULTILINE)
"""Where an anchor or an alias may be, or a text that has such a character."""

DIRECTIVE = re.compile("^%", re.MULTILINE)
"""Where a file may say which YAML it is."""

if yaml.__with_libyaml__:

    class Libyaml(yaml.CBaseLoader):  # type: ignore[misc]  # the library has no types
        """Makes nodes of a text; which words are numbers, booleans and null is YAML 1.2."""

    for versions, tag, words, firsts in implicit_resolvers:
        if (1, 2) in versions:
            Libyaml.add_implicit_resolver(tag, words, firsts)


def compose(path: Path, *, kind: str = "safe") -> Node | None:
    """
    Return the root of a file, or None if it holds nothing.

    `kind` is that of the reader in Python. Raises ruamel's `MarkedYAMLError` or `YAMLStreamError`
    if the file is no YAML, and `UnicodeDecodeError` if it is not UTF-8.
    """
    text = path.read_bytes().decode("utf-8")
    if yaml.__with_libyaml__ and DIRECTIVE.search(text) is None:
        try:
            if ANCHOR.search(text) is None or not _has_anchors(text):
                return cast("Node | None", Libyaml(text).get_single_node())
        except yaml.YAMLError:
            pass
    return in_python(path, kind=kind)


def _has_anchors(text: str) -> bool:
    """Tell whether a text has anchors or aliases, which libyaml's nodes don't show."""
    return any(getattr(event, "anchor", None) for event in yaml.parse(text, yaml.CBaseLoader))


def in_python(path: Path, *, kind: str = "safe") -> Node | None:
    """Return and raise the same as `compose`, without libyaml."""
    return cast("Node | None", YAML(typ=kind, pure=True).compose(path))
