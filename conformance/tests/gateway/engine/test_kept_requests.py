"""
Answers that depend on the request and the models: a kept one leaves what one of the plan leaves.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec
import pytest
import pytest_asyncio

import gateway
from conformance.tests.gateway.fleet.fleets import open_fleet
from conformance.tests.gateway.keyed import open_keyed
from conformance.tests.gateway.support import (
    COLD,
    LOADED,
    LOADED_EMBEDDER,
    LONG,
    Pair,
    caching,
    lines_of,
    open_pair,
    written,
)
from gateway.app import Process
from gateway.engine import kept
from gateway.engine.endpoint import Endpoint
from gateway.engine.kept import KeptAnswer, Shelf
from gateway.engine.run import Run
from gateway.observability.metrics import Metrics
from gateway.observability.record import Record
from gateway.observability.traffic import Ended
from gateway.plans.endpoints import ENDPOINTS
from gateway.runtime.outcome import Answer, Outcome
from gateway.settings.schema import Settings

SHOW = "/api/show"
PLANS = str(Path(str(gateway.__file__)).parent / "plans")
ASK = {"model": LOADED}
OF_ONE = {"id", "kept", "observer", "started_ns", "first_ns", "trace", "work"}
"""What differs from record to record, or is gone at its end; `first_ns` is of streams alone."""


@pytest_asyncio.fixture(loop_scope="session")
async def own() -> AsyncIterator[Pair]:
    """Run a pair whose names and models the test changes, with its list of models just seen."""
    async with open_pair(caching()) as running:
        await running.get("/api/tags")
        yield running


@contextmanager
def plans_entered() -> Iterator[list[str]]:
    """Note the functions of plans that are entered."""
    entered: list[str] = []

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PLANS):
            entered.append(frame.f_code.co_qualname)

    sys.setprofile(note)
    try:
        yield entered
    finally:
        sys.setprofile(None)


async def is_kept(pair: Pair, body: Any, **headers: str) -> bool:
    """Return whether a request is answered without its plan; it must be a success."""
    with plans_entered() as entered:
        answer = await pair.client.post(SHOW, json=body, headers=headers)
    assert 200 == answer.status_code, answer.text
    return not entered


@dataclass
class Line:
    """A connection on which requests are written as the test says."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, body: bytes, *, key: str = "", is_cut: bool = False) -> dict[str, str]:
        """Ask for a model, with head and body in one write or two; return headers and body."""
        head = f"POST {SHOW} HTTP/1.1\r\nhost: localhost\r\nuser-agent: line/1\r\n"
        head += f"authorization: Bearer {key}\r\n" if key else ""
        whole = f"{head}content-length: {len(body)}\r\n\r\n".encode()
        if is_cut:
            self.writer.write(whole)
            # The next write would otherwise be in the same read.
            await asyncio.sleep(0.02)
            whole = b""
        self.writer.write(whole + body)
        said = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        status, *lines = said.strip().split("\r\n")
        found = dict(line.split(": ", 1) for line in lines)
        text = await self.reader.readexactly(int(found["content-length"]))
        return {**found, "status": status, "body": text.decode()}


@contextmanager
def connected(line: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> Iterator[Line]:
    """Use a connection, and close it."""
    try:
        yield Line(*line)
    finally:
        line[1].close()


async def connect(pair: Pair) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection to a gateway."""
    place = urlsplit(pair.url)
    return await asyncio.open_connection(place.hostname, place.port)


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Note what the records of requests have at their end."""
    found: list[dict[str, Any]] = []
    real = Metrics.note_end

    def note_end(metrics: Metrics, record: Record, method: str, status: int | None) -> None:
        fields = {name: getattr(record, name) for name in Record.__slots__ if name not in OF_ONE}
        found.append({**fields, "method": method, "status": status, "has_grant": record.grant})
        real(metrics, record, method, status)

    monkeypatch.setattr(Metrics, "note_end", note_end)
    return found


def alike(items: list[dict[str, Any]], *differing: str) -> dict[str, Any]:
    """Return what all items are, but for some fields, which all of them have."""
    assert all(set(differing) <= set(item) for item in items), items
    first, *others = ({k: v for k, v in one.items() if k not in differing} for one in items)
    for other in others:
        assert first == other
    return first


async def test_a_kept_answer_leaves_what_the_plan_leaves(
    own: Pair, records: list[dict[str, Any]]
) -> None:
    """By plan, from kept bytes in a task, and without one: field by field."""
    traffic = own.app.inner._traffic  # type: ignore[attr-defined]  # the edge's
    body = json.dumps(ASK).encode()
    tasks = own.app.tasks
    with written(format="json") as said, connected(await connect(own)) as line:
        answers, ways = [], []
        for is_cut in (False, True, False):
            tasks.pop(SHOW, None)
            with plans_entered() as entered:
                answers.append(await line.ask(body, is_cut=is_cut))
            ways.append((bool(entered), SHOW in tasks))
    assert [(True, True), (False, True), (False, False)] == ways
    answer = alike(answers, "x-request-id")
    assert "HTTP/1.1 200 OK" == answer["status"]
    logged = alike(lines_of(said, path=SHOW), "id", "timestamp", "took_s")
    assert f"{LOADED}:latest" == logged["model"]
    record = alike([one for one in records if SHOW == one["route"]])
    assert (f"{LOADED}:latest", True) == (record["model"], record["is_model_known"])
    rows = [row._asdict() for row in traffic.last if SHOW == row.path]
    assert 3 == len(rows)
    assert set(Ended._fields) > set(alike(rows, "id", "ended_ns", "took_ns"))
    counted = [
        one
        for one in (await own.client.get("/metrics")).text.splitlines()
        if one.startswith("olgate_requests_total") and SHOW in one
    ]
    assert [True] == [one.endswith(" 3.0") for one in counted]


async def test_a_key_with_limits_is_counted_and_sees_its_own_models_only(
    records: list[dict[str, Any]],
) -> None:
    """What is kept for one key is not for another, and is counted as a request."""
    async with open_keyed(requests_per_minute=4) as pair:
        await pair.client.get("/api/tags", headers={"authorization": "Bearer none"})
        body = json.dumps(ASK).encode()
        with connected(await connect(pair)) as line:
            asked = [await line.ask(body, key="some") for _ in range(3)]
            other = await line.ask(body, key="none")
            asked += [await line.ask(body, key="some") for _ in range(2)]
    first, second, third, fourth, fifth = asked
    alike([first, second, third, fourth], "x-request-id")
    assert ("404", "429") == (other["status"].split()[1], fifth["status"].split()[1])
    served = [one for one in records if (SHOW, 200) == (one["route"], one["status"])]
    assert 4 == len(served)
    assert "some" == alike(served, "grant", "has_grant")["key"]
    assert all(one["has_grant"] is not None for one in served)


async def test_the_inspector_keeps_the_same() -> None:
    """Where exchanges are kept, an answer of the plan and a kept one look alike."""
    async with open_pair({**caching(), "inspect": {"requests": 3}}) as pair:
        await pair.get("/api/tags")
        assert not await is_kept(pair, ASK)
        assert await is_kept(pair, ASK)
        listed = (await pair.get("/olgate/inspect"))["exchanges"]
        shown = [one for one in listed if SHOW == one["path"]]
        found = [await pair.get(f"/olgate/inspect/{one['id']}") for one in shown]
    assert 2 == len(found)
    bodies = [[text for _, text in one["answer"].pop("chunks")] for one in found]
    assert bodies[0] == bodies[1]
    alike(found, "id", "at")


async def test_every_change_is_seen_at_once(own: Pair) -> None:
    """A name that is made and unmade, and a load."""
    second = {"model": "second"}
    copy = {"source": LOADED, "destination": "second"}
    assert not await is_kept(own, ASK)
    for _ in range(2):
        assert 404 == (await own.post(SHOW, second)).status_code
        assert 200 == (await own.post("/api/copy", copy)).status_code
        assert not await is_kept(own, second)
        assert await is_kept(own, second)
        assert not await is_kept(own, ASK)
        gone = await own.client.request("DELETE", "/api/delete", json=second)
        assert 200 == gone.status_code
    assert not await is_kept(own, ASK)
    assert await is_kept(own, ASK)
    body = {"model": COLD, "prompt": "", "stream": False}
    assert 200 == (await own.post("/api/generate", body)).status_code
    assert not await is_kept(own, ASK)


async def test_another_body_is_another_request(own: Pair) -> None:
    """Also if it means the same; an error is not kept, nor what is long."""
    for body in (ASK, {"name": LOADED}, {**ASK, "system": "Be brief."}, {"model": LOADED_EMBEDDER}):
        assert not await is_kept(own, body)
        assert await is_kept(own, body)
    short = (await own.post(SHOW, {**ASK, "system": "Be brief."})).json()
    assert ("Be brief.", True) == (short["system"], "SYSTEM Be brief." in short["modelfile"])
    long = {**ASK, "system": "x" * kept.MOST_ASKED}
    for _ in range(2):
        assert not await is_kept(own, long)
        assert 404 == (await own.post(SHOW, {"model": "none"})).status_code
        assert 400 == (await own.post(SHOW, {})).status_code


async def test_a_client_that_is_told_else_is_told_else(own: Pair) -> None:
    """Copilot is told the name that it has asked for."""
    told: dict[str, str] = {}
    for agent in ("GitHubCopilotChat/1", "curl/8", "GitHubCopilotChat/1", "curl/8"):
        headers = {"user-agent": agent}
        assert (agent in told) == await is_kept(own, ASK, **headers)
        info = (await own.client.post(SHOW, json=ASK, headers=headers)).json()["model_info"]
        assert told.setdefault(agent, info["general.basename"]) == info["general.basename"]
    assert LOADED == told["GitHubCopilotChat/1"]
    assert LOADED != told["curl/8"]


async def test_a_list_that_is_not_believed_keeps_nothing(pair: Pair) -> None:
    """Where the gateway asks for its list each time, the plan runs each time."""
    for _ in range(3):
        assert not await is_kept(pair, ASK)


async def test_of_several_hosts_the_plan_chooses() -> None:
    """Each of them has a list of its own."""
    async with open_fleet({}, {}, settings=caching()) as fleet:
        for _ in range(3):
            with plans_entered() as entered:
                answer = await fleet.post(SHOW, ASK)
            assert 200 == answer.status_code
            assert entered
            assert answer.headers["x-olgate-host"] in fleet.standins


def test_a_shelf_is_bounded() -> None:
    """In number and in bytes, and what is on it is of one thing."""
    shelf, of = Shelf(), object()
    for number in range(kept.MOST_KEPT + 1):
        shelf.keep(number, of, KeptAnswer(b"", b""))
    assert [kept.MOST_KEPT] == list(shelf.answers)
    shelf.keep("large", of, KeptAnswer(b"", b"x" * (kept.MOST_BYTES - 1)), 1)
    assert 2 == len(shelf.answers)
    shelf.keep("one byte more", of, KeptAnswer(b"", b"x"))
    assert ["one byte more"] == list(shelf.answers)
    shelf.keep("larger", of, KeptAnswer(b"", b"x" * kept.MOST_BYTES), 1)
    assert ["one byte more"] == list(shelf.answers)
    shelf.keep("of another", object(), KeptAnswer(b"", b""))
    assert ["of another"] == list(shelf.answers)
    shelf.keep("of nothing", None, KeptAnswer(b"", b""))
    assert ["of another"] == list(shelf.answers)


async def test_what_is_made_while_the_models_change_is_not_kept(own: Pair) -> None:
    """Nor what is kept by other settings."""
    settings = msgspec.convert(
        {"upstream": {"url": own.standin.url}, "models": {"catalogue_ttl_s": LONG}}, Settings
    )
    process = Process(settings)
    catalogue, answers = process.fleet.first.catalogue, process.relay.kept
    show = next(each for each in ENDPOINTS if each.keeps == "request")
    assert answers.keeper(show, None, b"{}", "") is None, "no list was seen yet"
    await catalogue.listed()
    made = KeptAnswer(b"text/plain", b"kept")
    keep = answers.keeper(show, None, b"{}", "")
    assert keep is not None
    catalogue.update_made()
    keep(made)
    assert answers.find(show, None, b"{}") is None
    keep = answers.keeper(show, None, b"{}", "")
    assert keep is not None
    keep(made)
    assert made == answers.find(show, None, b"{}")
    process.relay.use(settings)
    assert answers.find(show, None, b"{}") is None
    await process.aclose()


async def test_what_is_made_by_other_settings_is_not_kept(own: Pair) -> None:
    """A plan may still run when others are in force."""
    settings = msgspec.convert({"upstream": {"url": own.standin.url}}, Settings)
    process = Process(settings)
    others = [msgspec.structs.replace(settings)]

    async def plan(_: None, _run: Run) -> Outcome:
        if others:
            process.relay.use(others.pop())
        return Answer("said")

    endpoint = Endpoint("GET", "/said", plan, None, keeps="settings")
    for is_found in (False, True):
        await process.relay.serve(endpoint, [b""], "", cast("Any", Taking()))
        assert is_found == (process.relay.kept.find(endpoint) is not None)
    await process.aclose()


class Taking:
    """A client that takes an answer."""

    pinned = grant = None

    async def answer(self, status: int, _content_type: bytes, body: bytes) -> None:
        """Take it."""
        assert (200, b"said") == (status, body)

    def stop_waiting(self) -> None:
        """Wait for nothing."""
