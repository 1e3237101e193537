"""
Fixtures: what LM Studio answers, chunk by chunk, and the ways to send it again.

This module has the type, its loader and the three replays. Cases choose their fixtures.
A fixture keeps chunk boundaries and times, because a streaming gateway must get exactly those right
(docs/facts/lmstudio.md#sse). Texts and ids are our own; only the shapes are LM Studio's.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from conformance.suite.source import Document, SourceProblem, read_yaml, schema_problems

HERE = Path(__file__).parent
FOLDER = HERE.parent / "fixtures"

Replay = Literal["recorded", "bytes", "whole"]
REPLAYS: tuple[Replay, ...] = ("recorded", "bytes", "whole")

Chunk = tuple[int, bytes]
"""Milliseconds since the request began, and the bytes sent then."""


@dataclass(frozen=True)
class Fixture:
    """One exchange: the request it answers and the response head and chunks."""

    name: str
    provenance: dict[str, str]
    method: str
    path: str
    status: int
    headers: dict[str, str]
    chunks: tuple[Chunk, ...]

    @property
    def is_stream(self) -> bool:
        """Say whether the response is an event stream, whose chunk boundaries then matter."""
        kind = next((v for k, v in self.headers.items() if k.lower() == "content-type"), "")
        return kind.startswith("text/event-stream")

    @property
    def body(self) -> bytes:
        """Return all bytes of the response."""
        return b"".join(data for _, data in self.chunks)

    def replay(self, how: Replay, *, keep_times: bool = False) -> dict[str, Any]:
        """
        Return the stand-in's `answer`: status, headers and chunks, cut as `how` says.

        Times are zero unless `keep_times`; `bytes` and `whole` never have any.
        """
        match how:
            case "recorded":
                chunks = [(ms if keep_times else 0, data) for ms, data in self.chunks]
            case "bytes":
                chunks = cut_into(self.body, 1)
            case "whole":
                chunks = [(0, self.body)]
        return {
            "status": self.status,
            "headers": self.headers,
            "chunks": [[ms, encode(data)] for ms, data in chunks],
        }


def cut_into(body: bytes, size: int) -> list[Chunk]:
    """
    Cut a body into pieces of `size` bytes, all sent at once one after another.

    >>> cut_into(b"abc", 2)
    [(0, b'ab'), (0, b'c')]
    """
    return [(0, body[start : start + size]) for start in range(0, len(body), size)]


def encode(data: bytes) -> str | dict[str, str]:
    """
    Return bytes as the stand-in's control interface takes them: text, or base64 if not UTF-8.

    >>> encode(b"ok"), encode(b"\\xff")
    ('ok', {'base64': '/w=='})
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}


@cache
def load_schema() -> dict[str, Any]:
    """Return the JSON Schema of a fixture file."""
    schema: dict[str, Any] = json.loads((HERE / "fixture.schema.json").read_text("utf-8"))
    return schema


def read_fixture(path: Path, name: str) -> Fixture:
    """Read one file; raises `SourceProblem` that names every wrong place."""
    document = read_yaml(path)
    problems = list(schema_problems(document, (), document.value, load_schema()))
    if problems:
        raise SourceProblem(problems)
    value = document.value
    response = value["response"]
    return Fixture(
        name=name,
        provenance=value["provenance"],
        method=value["request"].get("method", "POST"),
        path=value["request"]["path"],
        status=response["status"],
        headers=response["headers"],
        chunks=tuple(
            _chunk(document, number, item) for number, item in enumerate(response["chunks"])
        ),
    )


def _chunk(document: Document, number: int, item: list[Any]) -> Chunk:
    ms, data = item
    if isinstance(data, str):
        return ms, data.encode("utf-8")
    try:
        return ms, base64.b64decode(data["base64"], validate=True)
    except ValueError:
        place = document.at(("response", "chunks", number))
        raise SourceProblem([f"{place}: this is not base64"]) from None


@cache
def load_fixture(name: str, folder: Path = FOLDER) -> Fixture:
    """Load a fixture by its name, `lmstudio-<version>/<words>`; raises `KeyError` when unknown."""
    path = folder / f"{name}.yaml"
    if not path.is_file():
        raise KeyError(name)
    return read_fixture(path, name)


def list_fixtures(folder: Path = FOLDER) -> list[str]:
    """Return the names of all fixtures, sorted."""
    return sorted(
        path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")
    )
