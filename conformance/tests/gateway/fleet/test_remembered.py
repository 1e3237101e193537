"""Answers with a memory go back to the host that gave them (gateway.passthrough.remembered)."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from conformance.runner.runner import make_gateway
from conformance.standin import StandIn
from conformance.standin.catalogue import GRADED, PLAIN
from conformance.tests.gateway.fleet.fleets import Fleet, open_fleet
from conformance.tests.gateway.support import serve, speak_to
from gateway.fleet.sessions import Sessions
from gateway.store.sqlite import SqliteStore
from gateway.store.sqlite_board import SqliteBoard

BOTH: dict[str, Any] = {"models": (PLAIN,)}
RESPONSES, NATIVE, JOBS = "/v1/responses", "/api/v1/chat", "/api/v1/models/download"
HOST = "x-olgate-host"
PATHS = pytest.mark.parametrize("path", [RESPONSES, NATIVE])
STREAMED = pytest.mark.parametrize("is_streamed", [False, True])


def asking(previous: str | None = None, **more: Any) -> dict[str, Any]:
    """Return a request for an answer, which goes on from another one."""
    body = {"model": PLAIN.key, "input": "Name a river.", **more}
    return body if previous is None else {**body, "previous_response_id": previous}


def id_of(answer: httpx.Response) -> str:
    """Return the identifier in an answer, whole or streamed."""
    assert 200 == answer.status_code, answer.text
    _, _, rest = answer.text.partition('"resp_')
    return "resp_" + rest.partition('"')[0]


async def first(fleet: Fleet, path: str, host: str, **more: Any) -> str:
    """Have a host give an answer, and return its identifier."""
    return id_of(await fleet.post(path, asking(**more), **{HOST: host}))


@asynccontextmanager
async def another_gateway(fleet: Fleet, settings: Mapping[str, Any]) -> AsyncIterator[Fleet]:
    """Run one more gateway in front of the same hosts, which it calls by other names."""
    hosts = {f"other-{name}": {"url": one.url} for name, one in fleet.standins.items()}
    app = make_gateway("http://127.0.0.1:1", {**settings, "hosts": hosts})
    async with serve(app) as url, speak_to(url) as client:
        await client.get("/health")
        yield Fleet(fleet.standins, client, url)


async def written(path: Path, sessions: Iterable[str]) -> None:
    """Wait until a store knows all of these; it is told in the background."""
    store = SqliteStore(str(path))
    try:
        for session in sessions:
            while await store.board.session(session) is None:
                pass
    finally:
        await store.aclose()


@PATHS
@STREAMED
async def test_a_request_goes_on_where_the_answer_was_given(path: str, is_streamed: bool) -> None:
    """However it was given, and on either host; a long talk stays there."""
    async with open_fleet(BOTH, BOTH) as fleet:
        for host in ("a", "b"):
            previous = await first(fleet, path, host, stream=is_streamed)
            for _ in range(3):
                answer = await fleet.post(path, asking(previous, stream=is_streamed))
                assert host == answer.headers[HOST]
                previous = id_of(answer)


async def test_the_last_event_may_lack_its_blank_line() -> None:
    """What it gives is known all the same."""
    event = {"type": "response.completed", "response": {"id": "resp_cut", "model": PLAIN.key}}
    text = f"data: {msgspec.json.encode(event).decode()}\n"
    headers = {"content-type": "text/event-stream"}
    async with open_fleet(BOTH, BOTH) as fleet:
        for host in ("a", "b"):
            cut = {"answer": {"chunks": [[0, text]], "headers": headers}, "times": 1}
            fleet.script(host, {"match": {"path": RESPONSES}, **cut})
            assert "resp_cut" == await first(fleet, RESPONSES, host, stream=True)
            answer = await fleet.post(RESPONSES, asking("resp_cut"))
            assert (400, host) == (answer.status_code, answer.headers[HOST])


@pytest.mark.parametrize(
    ("method", "rest"), [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")]
)
async def test_an_answer_is_read_and_deleted_where_it_was_given(method: str, rest: str) -> None:
    """And what else there is below its path."""
    async with open_fleet(BOTH, BOTH) as fleet:
        for host in ("a", "b"):
            path = f"{RESPONSES}/{await first(fleet, RESPONSES, host)}{rest}"
            known = {"answer": {"chunks": [[0, f'{{"of": "{host}"}}']]}}
            fleet.script(host, {"match": {"path": path}, **known})
            answer = await fleet.client.request(method, path)
            assert (200, {"of": host}) == (answer.status_code, answer.json())


async def test_a_download_is_asked_for_where_it_runs() -> None:
    """The other host does not know the job."""
    async with open_fleet(BOTH, BOTH) as fleet:
        for host in ("a", "b"):
            begun = await fleet.post(JOBS, {"model": f"acme/new-{host}"}, **{HOST: host})
            job = begun.json()["job_id"]
            answer = await fleet.client.get(f"{JOBS}/status/{job}")
            assert (200, job) == (answer.status_code, answer.json()["job_id"])


@PATHS
async def test_an_identifier_that_nobody_knows(path: str) -> None:
    """The host that placement chooses says so itself."""
    async with open_fleet(BOTH, BOTH) as fleet:
        answer = await fleet.post(path, asking("resp_unheard"))
        assert (400, True) == (answer.status_code, "resp_unheard"[5:] in answer.text)
        assert answer.headers[HOST] in ("a", "b")


async def test_an_identifier_that_is_forgotten() -> None:
    """With no time to remember, each request is placed as if it were the first."""
    async with open_fleet(BOTH, BOTH, settings={"fleet": {"session_s": 0}}) as fleet:
        served = {
            (await fleet.post(RESPONSES, asking(await first(fleet, RESPONSES, host)))).headers[HOST]
            for host in ("a", "b")
        }
        assert 1 == len(served)


@pytest.mark.parametrize("odd", [7, None, "", ["resp_1"], {"id": "resp_1"}])
async def test_what_is_no_identifier(odd: Any) -> None:
    """It is the host's to refuse or to ignore."""
    async with open_fleet(BOTH, BOTH) as fleet:
        answer = await fleet.post(RESPONSES, {**asking(), "previous_response_id": odd})
        assert answer.status_code in (200, 400)


@PATHS
async def test_the_clients_own_pin_counts_more(path: str) -> None:
    """The other host does not know the answer, and says so."""
    async with open_fleet(BOTH, BOTH) as fleet:
        previous = await first(fleet, path, "a")
        answer = await fleet.post(path, asking(previous), **{HOST: "b"})
        assert (400, "b") == (answer.status_code, answer.headers[HOST])


@PATHS
@pytest.mark.parametrize("is_known", [False, True])
async def test_a_host_that_is_away_is_named(path: str, is_known: bool) -> None:
    """Another host has the model, and would not know what the request goes on from."""
    async with open_fleet(BOTH, BOTH, settings={"models": {"catalogue_ttl_s": 1000}}) as fleet:
        previous = await first(fleet, path, "b")
        await fleet.standins["b"].stop()
        if is_known:
            await fleet.post(path, asking(), **{HOST: "b"})
        before = len(fleet.asked("a", path))
        answer = await fleet.post(path, asking(previous))
        assert 503 == answer.status_code, answer.text
        assert f"only the host b knows '{previous}'" in answer.json()["error"]["message"]
        assert fleet.standins["b"].url in answer.json()["error"]["message"]
        assert before == len(fleet.asked("a", path))

        dead = fleet.standins["b"]
        async with StandIn(msgspec.structs.replace(dead.options, port=dead.port)):
            # It is asked again at once, and has nothing in its memory.
            answer = await fleet.post(path, asking(previous))
            assert (400, "b") == (answer.status_code, answer.headers[HOST])


async def test_an_answer_of_a_host_that_is_away_is_not_looked_for_elsewhere() -> None:
    """Whether that it is away is known or not."""
    async with open_fleet(BOTH, BOTH, settings={"models": {"catalogue_ttl_s": 1000}}) as fleet:
        path = f"{RESPONSES}/{await first(fleet, RESPONSES, 'b')}"
        await fleet.standins["b"].stop()
        for _ in range(2):
            answer = await fleet.client.get(path)
            assert (503, True) == (answer.status_code, "only the host b" in answer.text)
        assert [] == fleet.asked("a", path)


async def test_a_busy_host_keeps_the_request() -> None:
    """Its 503 would move any other request."""
    busy = {"answer": {"status": 503, "chunks": [[0, '{"error": {"message": "no room"}}']]}}
    async with open_fleet(BOTH, BOTH) as fleet:
        previous = await first(fleet, RESPONSES, "b")
        before = len(fleet.asked("a", RESPONSES))
        fleet.script("b", {"match": {"path": RESPONSES}, **busy})
        answer = await fleet.post(RESPONSES, asking(previous))
        assert (503, True) == (answer.status_code, "no room" in answer.text)
        assert before == len(fleet.asked("a", RESPONSES))


async def test_a_model_that_only_another_host_has() -> None:
    """The error says what is where."""
    async with open_fleet(BOTH, {"models": (GRADED,)}) as fleet:
        previous = await first(fleet, RESPONSES, "a")
        body = {**asking(previous), "model": GRADED.key}
        answer = await fleet.post(RESPONSES, body)
        assert 404 == answer.status_code
        message = answer.json()["error"]["message"]
        assert f"only the host a knows '{previous}'" in message
        assert GRADED.key in message


@PATHS
async def test_another_gateway_of_the_store_knows(path: str, tmp_path: Path) -> None:
    """By the host's address: it may call the host by another name."""
    settings = {"store": {"path": str(tmp_path / "store.db")}}
    async with open_fleet(BOTH, BOTH, settings=settings) as fleet:
        previous = {host: await first(fleet, path, host) for host in ("a", "b")}
        await written(tmp_path / "store.db", previous.values())
        async with another_gateway(fleet, settings) as other:
            for host, session in previous.items():
                answer = await other.post(path, asking(session))
                assert (200, f"other-{host}") == (answer.status_code, answer.headers[HOST])


async def test_a_gateway_knows_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had not written yet, which is all here, is written at its end."""
    is_ending = asyncio.Event()
    put, close = SqliteBoard.put_session, Sessions.aclose

    async def put_late(self: SqliteBoard, session: str, host: str, lasts_s: float) -> None:
        await is_ending.wait()
        await put(self, session, host, lasts_s)

    async def note_end(self: Sessions) -> None:
        is_ending.set()
        await close(self)

    monkeypatch.setattr(SqliteBoard, "put_session", put_late)
    monkeypatch.setattr(Sessions, "aclose", note_end)
    settings = {"store": {"path": str(tmp_path / "store.db")}}
    async with open_fleet(BOTH, BOTH) as fleet:
        async with another_gateway(fleet, settings) as one:
            previous = {host: await first(one, RESPONSES, f"other-{host}") for host in ("a", "b")}
        async with another_gateway(fleet, settings) as again:
            for host, session in previous.items():
                answer = await again.post(RESPONSES, asking(session))
                assert (200, f"other-{host}") == (answer.status_code, answer.headers[HOST])
