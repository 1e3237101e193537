"""
Schemathesis over the descriptions of LM Studio's own APIs: for the stand-in, and what is passed on.

Callers choose the host. This module has the copies of the descriptions. `known_upstream.txt` has
the behaviour of LM Studio that no description can express.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from conformance.schemas.ollama import (
    PHASES,
    Account,
    Document,
    Mode,
    operation_ids,
    run_operation,
)
from conformance.suite.known import KnownFailing, read_known_failing
from conformance.suite.source import read_yaml
from conformance.suite.spec import SPEC

Api = Literal["openai", "lmstudio"]
Host = Literal["gateway", "standin", "fixtures"]
"""The server that is asked: the gateway, its stand-in, or a stand-in that answers from fixtures."""
APIS: tuple[Api, ...] = ("openai", "lmstudio")
KNOWN = Path(__file__).with_name("known_upstream.txt")

NAMES = {"acme/lantern-7b": "llm", "text-embedding-harbour-v1": "embedding"}
"""The models of the examples, and the kind that each stands for."""


@cache
def read_api(api: Api) -> Document:
    """
    Return a description as plain values; not to be changed, there is one for all.

    Components of the other description that it refers to stand in it under their own names.
    """
    document: Document = read_yaml(SPEC.with_name(f"{api}.yaml")).value
    schemas = document["components"]["schemas"]
    for file in {one.partition("#")[0] for one in _references(document)} - {""}:
        foreign = read_yaml(SPEC.with_name(file)).value["components"]["schemas"]
        waiting = [one for one in _references(document) if one.startswith(file)]
        while waiting:
            name = waiting.pop().rpartition("/")[2]
            if schemas.setdefault(name, foreign[name]) is not foreign[name]:
                raise ValueError(f"{api}.yaml and {file} both have {name}")
            waiting += [
                one for one in _references(foreign[name]) if one.rpartition("/")[2] not in schemas
            ]
        document = _at_home(document, file)
        schemas = document["components"]["schemas"]
    return document


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        yield from _references(item)


def _at_home(value: Any, file: str) -> Any:
    """Return a description in which what was in another file is in it."""
    match value:
        case dict():
            return {key: _at_home(item, file) for key, item in value.items()}
        case list():
            return [_at_home(item, file) for item in value]
        case str() if value.startswith(f"{file}#/"):
            return value.removeprefix(file)
        case _:
            return value


def copy_with_names(document: Document, names: Mapping[str, Sequence[str]]) -> Document:
    """Return the copy that is tested: every `model` and every model's id is one of the host's."""
    changed: Document = _renamed(copy.deepcopy(document), names)
    for path, item in changed["paths"].items():
        if path.endswith("/models/{id}"):
            (parameter,) = item["get"]["parameters"]
            parameter["schema"]["enum"] = [one for kind in names for one in names[kind]]
    for name, schema in changed["components"]["schemas"].items():
        model = schema.get("properties", {}).get("model")
        if model is not None and name.endswith("Request"):
            first = "embedding" if name.startswith("Embed") else "llm"
            model["enum"] = [*names[first], *(one for kind in names for one in names[kind])]
            model["enum"] = list(dict.fromkeys(model["enum"]))
    return changed


def _renamed(value: Any, names: Mapping[str, Sequence[str]]) -> Any:
    match value:
        case dict():
            return {key: _renamed(item, names) for key, item in value.items()}
        case list():
            return [_renamed(item, names) for item in value]
        case str() if value in NAMES:
            return names[NAMES[value]][0]
        case _:
            return value


def known_of(host: Host, operation: str) -> KnownFailing:
    """Return the entries for one operation of a host; their names begin with the host's."""
    entries = []
    for entry in read_known_failing(KNOWN).entries:
        words = entry.pattern.split()
        if words[0] in (host, "*") and words[1] in (operation, "*"):
            own = " ".join([operation, *words[2:]])
            entries.append(replace(entry, pattern=own))
    return KnownFailing(entries)


def operations(api: Api) -> list[str]:
    """Return the ids of an API's operations."""
    return operation_ids(read_api(api))


def run_upstream(
    url: str,
    api: Api,
    operation: str,
    names: Mapping[str, Sequence[str]],
    phases: Collection[str] = PHASES,
    mode: Mode = "all",
) -> Account:
    """Run one operation against an address."""
    return run_operation(url, copy_with_names(read_api(api), names), operation, phases, mode)
