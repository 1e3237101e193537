"""
Cases: one behaviour each, as data.

This module has the types, the loader and the checks of the case files. `conformance.runner.runner`
runs a case, and `conformance.suite.judge` judges an answer.
"""

from __future__ import annotations

import base64
import fnmatch
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

from conformance.suite.fixture import REPLAYS, load_fixture
from conformance.suite.source import Document, SourceProblem, read_yaml, schema_problems

HERE = Path(__file__).parent
FOLDER = HERE.parent / "cases"

Replay = Literal["recorded", "bytes", "whole", "one_shot"]


class RawBytes(Struct, frozen=True):
    """A body that is not text."""

    base64: str


class ClientRequest(Struct, frozen=True, omit_defaults=True):
    """What the client sends; at most one of `request` (as JSON) and `raw_body`."""

    method: str | None = None
    path: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    request: Any = UNSET
    raw_body: str | RawBytes | UnsetType = UNSET
    status: int = 200

    @property
    def body(self) -> bytes | None:
        """Return the bytes to send, or None when there is no body."""
        if self.raw_body is not UNSET:
            raw = self.raw_body
            return raw.encode() if isinstance(raw, str) else base64.b64decode(raw.base64)
        return None if self.request is UNSET else msgspec.json.encode(self.request)


class SeenRequest(Struct, frozen=True):
    """A request that must have reached the stand-in."""

    method: str
    path: str
    headers: dict[str, Any] = field(default_factory=dict)
    body: dict[str, Any] | UnsetType = UNSET


class Upstream(Struct, frozen=True):
    """What LM Studio does in this case, and what must have reached it."""

    fixture: str | None = None
    script: list[dict[str, Any]] = field(default_factory=list)
    models: list[dict[str, Any]] = field(default_factory=list)
    expect_request: dict[str, Any] | UnsetType = UNSET
    expect_requests: list[SeenRequest] = field(default_factory=list)
    count_requests: dict[str, int] = field(default_factory=dict)
    no_requests_to: list[str] = field(default_factory=list)

    @property
    def fixtures(self) -> list[str]:
        """Return the names of the fixtures that take part."""
        named = [self.fixture] if self.fixture else []
        return named + [rule["fixture"] for rule in self.script if "fixture" in rule]


class Count(Struct, frozen=True):
    """How many lines there must be."""

    exactly: int | None = None
    at_least: int | None = None


class Frames(Struct, frozen=True):
    """What the lines of a stream must hold."""

    first: dict[str, Any] | None = None
    last: dict[str, Any] | None = None
    count: Count = Count()
    each_has: list[str] = field(default_factory=list)
    each_lacks: list[str] = field(default_factory=list)
    joined: dict[Literal["content", "thinking", "response"], str] = field(default_factory=dict)
    lines: list[Any] | None = None


class Expect(Struct, frozen=True):
    """What the client must have got."""

    status: int = 200
    content_type: str | None = None
    headers: dict[str, Any] = field(default_factory=dict)
    json: Any = UNSET
    json_subset: dict[str, Any] | UnsetType = UNSET
    json_contains: dict[str, list[Any]] = field(default_factory=dict)
    json_has: list[str] = field(default_factory=list)
    json_absent: list[str] = field(default_factory=list)
    error: str | None = None
    text: str | None = None
    bytes_of: str | None = None
    body_empty: bool = False
    frames: Frames | None = None
    each_frame: str | None = None
    tolerate: list[str] = field(default_factory=list)

    @property
    def wants_json(self) -> bool:
        """Say whether the body is expected to be one JSON value."""
        return (
            self.json is not UNSET
            or self.json_subset is not UNSET
            or bool(self.json_contains or self.json_has or self.json_absent)
            or self.error is not None
        )


class Case(Struct, frozen=True, rename={"name": "case", "replays": "replay"}):
    """One behaviour: what the client sends, what LM Studio does, what both must see."""

    name: str
    why: str
    client: ClientRequest
    expect: Expect
    settings: dict[str, Any] = field(default_factory=dict)
    host: dict[str, Any] = field(default_factory=dict)
    own_pair: bool = False
    before: list[ClientRequest] = field(default_factory=list)
    upstream: Upstream = Upstream()
    replays: list[Replay] = field(default_factory=list)
    place: str = ""

    @property
    def needs_standin(self) -> bool:
        """Say whether the case means nothing unless the gateway calls a stand-in."""
        return self.upstream != Upstream() or bool(self.settings or self.host)

    def path_of(self, request: ClientRequest) -> str:
        """Return the path asked for, the case's own by default."""
        return request.path or "/api/" + self.name.split("/", 1)[0]

    @property
    def path(self) -> str:
        """Return the path of the request that is judged."""
        return self.path_of(self.client)

    @property
    def method(self) -> str:
        """Return the method of the request that is judged."""
        return method_of(self.client)

    @property
    def runs(self) -> list[Replay]:
        """Return the ways this case is run, the derived ones included."""
        if self.replays:
            return self.replays
        if not any(load_fixture(name).is_stream for name in self.upstream.fixtures):
            return ["recorded"]
        return [*REPLAYS, "one_shot"] if self.folds else [*REPLAYS]

    @property
    def folds(self) -> bool:
        """Say whether the one-shot answer to the same request can be derived from the frames."""
        frames = self.expect.frames
        return (
            self.path in {"/api/chat", "/api/generate"}
            and isinstance(self.client.request, dict)
            and "stream" not in self.client.request
            and frames is not None
            and frames.last is not None
            and frames.last.get("done") is True
        )


@dataclass(frozen=True)
class Run:
    """A case in one of its ways."""

    case: Case
    replay: Replay

    @property
    def name(self) -> str:
        """Return the run's name: the case's, `@` and the replay."""
        return f"{self.case.name}@{self.replay}"


def method_of(request: ClientRequest) -> str:
    """Return the method to send: as stated, else POST with a body and GET without."""
    return request.method or ("GET" if request.body is None else "POST")


@cache
def load_schema() -> dict[str, Any]:
    """Return the JSON Schema of case files."""
    schema: dict[str, Any] = json.loads((HERE / "case.schema.json").read_text("utf-8"))
    return schema


def read_cases(path: Path) -> list[Case]:
    """Read one file; raises `SourceProblem` that names every wrong place."""
    document = read_yaml(path)
    value = document.value
    entries = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
    if not entries:
        raise SourceProblem([f"{path}:1:1: no case stands here"])
    problems: list[str] = []
    cases = []
    for number, entry in entries:
        keys: tuple[str | int, ...] = () if number is None else (number,)
        found = list(schema_problems(document, keys, entry, _case_schema()))
        problems += found
        if not found:
            cases.append(_convert(entry, document, keys))
    if problems:
        raise SourceProblem(problems)
    return cases


@cache
def _case_schema() -> dict[str, Any]:
    schema = load_schema()
    return {"$ref": "#/$defs/Case", "$defs": schema["$defs"]}


def _convert(entry: Any, document: Document, keys: tuple[str | int, ...]) -> Case:
    case = msgspec.convert(entry, Case)
    return msgspec.structs.replace(case, place=document.at(keys))


def load_cases(folder: Path = FOLDER) -> list[Case]:
    """Read every case file below a folder; raises `SourceProblem` with the problems of all."""
    cases: list[Case] = []
    problems: list[str] = []
    for path in sorted(folder.rglob("*.yaml")):
        try:
            cases += read_cases(path)
        except SourceProblem as error:
            problems += error.problems
    if problems:
        raise SourceProblem(problems)
    return cases


def check_cases(cases: Iterable[Case], folder: Path = FOLDER) -> Iterator[str]:
    """
    Check what a schema can't say; yields one line per problem.

    Names are unique and begin with the file's folder, fixtures exist, something is expected, every
    replay and derived default makes sense.
    """
    places: dict[str, str] = {}
    for case in cases:
        for problem in _case_problems(case, folder):
            yield f"{case.place}: {case.name}: {problem}"
        if case.name in places:
            yield f"{case.place}: {case.name}: the name is taken at {places[case.name]}"
        places[case.name] = case.place


def _case_problems(case: Case, folder: Path) -> Iterator[str]:
    home = Path(case.place.rsplit(":", 2)[0])
    if folder in home.parents and home.parent != folder:
        first = home.relative_to(folder).parts[0]
        if case.name.split("/", 1)[0] != first:
            yield f"stands in folder `{first}`, so its name must begin with `{first}/`"
    missing = [name for name in case.upstream.fixtures if not _fixture_exists(name)]
    for name in missing:
        yield f"there is no fixture `{name}` in conformance/fixtures"
    expect = case.expect
    if expect.bytes_of and not _fixture_exists(expect.bytes_of):
        yield f"there is no fixture `{expect.bytes_of}` in conformance/fixtures"
    bodies = [
        expect.wants_json,
        expect.frames is not None,
        expect.text is not None,
        expect.bytes_of is not None,
        expect.body_empty,
    ]
    if sum(bodies) > 1:
        yield "expects more than one kind of body"
    if not any(bodies) and not expect.headers and case.upstream == Upstream():
        yield "expects nothing of the body, the headers or the upstream: it could hardly fail"
    if case.replays and not case.upstream.fixtures and case.replays != ["recorded"]:
        yield "states replays but replays no fixture"
    if "one_shot" in case.replays and not case.folds:
        yield "`one_shot` needs frames whose last has `done: true`, and no `stream` in the request"
    if expect.each_frame and expect.frames is None:
        yield "`each_frame` stands without `frames`"


def _fixture_exists(name: str) -> bool:
    try:
        load_fixture(name)
    except KeyError:
        return False
    return True


def select(cases: Iterable[Case], patterns: Iterable[str]) -> list[Run]:
    """
    Return the runs whose name, with or without `@replay`, matches one of the patterns.

    No pattern selects all; a pattern without wildcards also selects what lies below it.
    """
    runs = [Run(case, replay) for case in cases for replay in case.runs]
    wanted = list(patterns)
    if not wanted:
        return runs
    return [run for run in runs if any(run_matches(run, pattern) for pattern in wanted)]


def run_matches(run: Run, pattern: str) -> bool:
    """Say whether a pattern selects a run."""
    return (
        fnmatch.fnmatchcase(run.case.name, pattern)
        or fnmatch.fnmatchcase(run.name, pattern)
        or run.case.name.startswith(pattern.rstrip("/") + "/")
    )
