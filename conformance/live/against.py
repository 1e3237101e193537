"""
`python -m conformance.live.against --upstream URL`: does a live LM Studio still answer in these
shapes?

The shape of an answer is which keys it has and of which JSON types; it is compared with all
fixtures of the same path, kind and outcome together. Values are never compared.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import click

from conformance.live.asking import Got, Unreachable, ask_all
from conformance.suite.fixture import Fixture, list_fixtures, load_fixture

Shape = dict[str, set[str]]
"""JSON types by path; items of a list have the path of the list and `.*`."""

TYPES = {dict: "object", list: "list", str: "text", bool: "boolean", int: "number", float: "number"}


def shape_of(values: Iterable[Any]) -> Shape:
    """
    Return the shape of several values together.

    >>> shape_of([{"a": 1}, {"a": None}]) == {"": {"object"}, ".a": {"number", "null"}}
    True
    """
    shape: Shape = {}

    def visit(value: Any, path: str) -> None:
        shape.setdefault(path, set()).add(TYPES.get(type(value), "null"))
        if isinstance(value, dict):
            for key, item in value.items():
                visit(item, f"{path}.{key}")
        elif isinstance(value, list):
            for item in value:
                visit(item, f"{path}.*")

    for value in values:
        visit(value, "")
    return shape


def read_values(body: bytes, is_stream: bool) -> list[Any]:
    """Return the JSON values of an answer, one per event of a stream; none when it has none."""
    texts = [body.decode("utf-8", "replace")]
    if is_stream:
        lines = texts[0].replace("\r", "\n").split("\n")
        texts = [line.removeprefix("data:").strip() for line in lines if line.startswith("data:")]
    values = []
    for text in texts:
        try:
            values.append(json.loads(text))
        except ValueError:
            continue
    return values


def key_of(path: str, is_stream: bool, status: int, values: list[Any]) -> tuple[str, bool, bool]:
    """Return what has to be the same for two answers to be compared."""
    told = any(isinstance(value, dict) and "error" in value for value in values)
    return path, is_stream, status < 400 and not told


def known_shapes(fixtures: Iterable[Fixture] | None = None) -> dict[tuple[str, bool, bool], Shape]:
    """Return the shapes of all fixtures; those whose answers are broken on purpose add nothing."""
    found: dict[tuple[str, bool, bool], list[Any]] = {}
    for one in fixtures or map(load_fixture, list_fixtures()):
        values = read_values(one.body, one.is_stream)
        found.setdefault(key_of(one.path, one.is_stream, one.status, values), []).extend(values)
    return {key: shape_of(values) for key, values in found.items()}


def differences(got: Got, known: dict[tuple[str, bool, bool], Shape]) -> Iterator[str]:
    """Yield what an answer has that no fixture of its kind has."""
    is_stream = got.headers.get("content-type", "").startswith("text/event-stream")
    values = read_values(got.body, is_stream)
    key = key_of(got.asked.path, is_stream, got.status, values)
    where = f"{got.asked.name} ({got.asked.method} {got.asked.path}, {got.status})"
    shape = known.get(key)
    if not values:
        yield f"{where}: no JSON in the answer: {got.body[:80]!r}"
    elif shape is None:
        how = ("a stream" if is_stream else "one body", "a success" if key[2] else "an error")
        yield f"{where}: no fixture is {how[0]} and {how[1]} on this path"
    else:
        for path, kinds in shape_of(values).items():
            if path not in shape:
                yield f"{where}: `{path[1:]}` stands in no fixture"
            elif kinds - shape[path]:
                new, old = sorted(kinds - shape[path]), sorted(shape[path])
                yield f"{where}: `{path[1:]}` is {' or '.join(new)}, in fixtures {' or '.join(old)}"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--upstream", "url", required=True, metavar="URL", help="address of LM Studio")
@click.option("--model", help="chat model to ask; by default one that is loaded")
@click.option("--embedding", help="embedding model to ask; by default one that is loaded")
def main(url: str, model: str | None, embedding: str | None) -> None:
    """Say what a live LM Studio answers otherwise than the fixtures; 1 when there is anything."""
    try:
        answers = asyncio.run(ask_all(url, os.environ.get("LM_API_TOKEN"), model, embedding))
    except Unreachable as error:
        click.echo(f"nothing compared: {error}; is LM Studio's server started?")
        sys.exit(2)
    known = known_shapes()
    found = [line for got in answers for line in differences(got, known)]
    for line in found:
        click.echo(line)
    click.echo(f"{len(answers)} answers, {len(found)} differences")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
