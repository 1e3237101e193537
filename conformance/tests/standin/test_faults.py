"""Every fault of the closed list, as a caller meets it, streamed and in one piece."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from ruamel.yaml import YAML

import conformance
from conformance.standin import StandIn
from conformance.standin.faults import FAULTS
from conformance.tests.standin.support import (
    EMBEDDING,
    PLAIN,
    WEATHER,
    ask,
    deltas_of,
    read_events,
    speak_to,
)

TABLE = Path(conformance.__file__ or "").parent / "faults" / "faults.yaml"
QUICK = httpx.Timeout(5, read=0.2)


def read_table() -> dict[str, dict[str, str]]:
    """Return the rows of faults.yaml by id."""
    rows = YAML(typ="safe", pure=True).load(TABLE.read_text("utf-8"))["faults"]
    return {row["id"]: row for row in rows}


async def post(client: httpx.AsyncClient, fault: str, *, streamed: bool) -> httpx.Response:
    """Chat with the model of a fault."""
    body = ask(f"fault-{fault}", stream=streamed, tools=[WEATHER])
    return await client.post("/v1/chat/completions", json=body, timeout=QUICK)


async def read_cut(client: httpx.AsyncClient, body: dict[str, Any], path: str) -> tuple[bytes, str]:
    """Read an answer until it breaks; return what came and the name of the break."""
    came = b""
    try:
        async with client.stream("POST", path, json=body, timeout=QUICK) as answer:
            async for part in answer.aiter_raw():
                came += part
    except httpx.HTTPError as error:
        return came, type(error).__name__
    return came, ""


def test_the_table_and_the_stand_in_know_the_same_faults() -> None:
    """Same ids in the same order, the same way, and every row says what it must."""
    rows = read_table()
    assert list(FAULTS) == list(rows)
    assert {name: fault.way for name, fault in FAULTS.items()} == {
        name: row["way"] for name, row in rows.items()
    }
    for row in rows.values():
        needed = {"how"} if row["way"] == "elsewhere" else {"streamed", "one_shot"}
        assert {"id", "meaning", "way", "stage"} | needed == set(row)
        assert row["stage"] in ("first", "late", "whole")


@pytest.mark.parametrize("fault", [n for n, f in FAULTS.items() if f.way == "elsewhere"])
async def test_what_a_server_cannot_do_it_says(client: httpx.AsyncClient, fault: str) -> None:
    """A refusal that tells how to bring the fault about."""
    answer = await post(client, fault, streamed=True)
    error = answer.json()["error"]
    assert (400, "not_by_the_stand_in") == (answer.status_code, error["code"])
    assert FAULTS[fault].hint in error["message"]


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("first_byte_timeout", httpx.ReadTimeout),
        ("silence_timeout", httpx.ReadTimeout),
        ("closed_before_headers", httpx.RemoteProtocolError),
        ("closed_mid_stream", httpx.RemoteProtocolError),
        ("bad_http", httpx.RemoteProtocolError),
        ("write", httpx.ReadError),
    ],
)
async def test_faults_of_the_connection(
    client: httpx.AsyncClient, fault: str, error: type[Exception], streamed: bool
) -> None:
    """They break the call itself."""
    with pytest.raises(error):
        await post(client, fault, streamed=streamed)


@pytest.mark.parametrize("fault", ["silence_timeout", "closed_mid_stream"])
async def test_faults_within_an_answer_come_after_some_of_it(
    client: httpx.AsyncClient, fault: str
) -> None:
    """Two proper events of a stream, half of a whole body."""
    path = "/v1/chat/completions"
    came, broken = await read_cut(client, ask(f"fault-{fault}", stream=True), path)
    assert 2 == len(deltas_of(read_events(came.decode())))
    assert broken
    came, broken = await read_cut(client, ask(f"fault-{fault}"), path)
    assert came.startswith(b'{\n  "id"')
    assert broken


async def test_a_large_upload_is_cut_while_it_is_written(standin: StandIn) -> None:
    """The connection is reset before the body is through, and the log knows the fault."""
    body = ask("fault-write", "x" * 20_000_000)
    async with speak_to(standin) as client:
        with pytest.raises((httpx.WriteError, httpx.ReadError)):
            await client.post("/v1/chat/completions", json=body)
    assert "write" == standin.seen[-1].fault
    assert len(standin.seen[-1].raw) < 20_000_000


@pytest.mark.parametrize("streamed", [True, False])
async def test_faults_of_the_content(client: httpx.AsyncClient, streamed: bool) -> None:
    """Well transported, and wrong inside."""
    page = await post(client, "not_sse", streamed=streamed)
    assert (200, "text/html; charset=utf-8") == (page.status_code, page.headers["content-type"])
    unknown = await post(client, "unknown_endpoint", streamed=streamed)
    text = "Unexpected endpoint or method. (POST /v1/chat/completions)"
    assert (200, {"error": text}) == (unknown.status_code, unknown.json())
    empty = await post(client, "empty", streamed=streamed)
    kind = "text/event-stream" if streamed else "application/json; charset=utf-8"
    assert (200, b"", kind) == (empty.status_code, empty.content, empty.headers["content-type"])
    broken = await post(client, "not_json", streamed=streamed)
    assert 200 == broken.status_code
    data = broken.text.removeprefix("data: ") if streamed else broken.text
    assert data.startswith("{")
    with pytest.raises(json.JSONDecodeError):
        json.loads(data)


async def test_an_error_behind_a_good_status(client: httpx.AsyncClient) -> None:
    """An error event without the mark, or a body that is an error."""
    events = read_events((await post(client, "upstream_error_200", streamed=True)).text)
    assert ["error"] == [name for name, _ in events]
    assert events[0][1]["error"]["message"] == events[0][1]["message"]
    answer = await post(client, "upstream_error_200", streamed=False)
    assert (200, ["error"]) == (answer.status_code, list(answer.json()))


@pytest.mark.parametrize("streamed", [True, False])
async def test_faults_within_good_answers(client: httpx.AsyncClient, streamed: bool) -> None:
    """Another model of the catalogue answers; arguments are no JSON."""
    other = await post(client, "wrong_model", streamed=streamed)
    told = read_events(other.text)[0][1] if streamed else other.json()
    assert PLAIN == told["model"]
    called = await post(client, "bad_tool_arguments", streamed=streamed)
    if streamed:
        calls = [d["tool_calls"][0] for d in deltas_of(read_events(called.text)) if d]
    else:
        calls = called.json()["choices"][0]["message"]["tool_calls"]
    assert "get_weather" == calls[0]["function"]["name"]
    with pytest.raises(json.JSONDecodeError):
        json.loads("".join(call["function"]["arguments"] for call in calls))


async def test_embeddings_have_their_faults_too(client: httpx.AsyncClient) -> None:
    """By a language model's name or one of its own; another model's name is a real one."""
    for name in ("fault-closed_mid_stream", "text-embedding-fault-closed_mid_stream"):
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post("/v1/embeddings", json={"model": name, "input": "x"})
    body = {"model": "text-embedding-fault-wrong_model", "input": "x"}
    assert EMBEDDING == (await client.post("/v1/embeddings", json=body)).json()["model"]


async def test_fault_models_are_listed_on_demand(client: httpx.AsyncClient) -> None:
    """Listed they are loaded, can be loaded again, and change no rule of names."""
    assert "fault-" not in (await client.get("/api/v1/models")).text
    async with StandIn(fault_models=True) as standin, speak_to(standin) as listed:
        rows = {row["key"]: row for row in (await listed.get("/api/v1/models")).json()["models"]}
        acted = {f"fault-{name}" for name, fault in FAULTS.items() if fault.way != "elsewhere"}
        assert acted == {key for key in rows if key.startswith("fault-")}
        row = rows["fault-empty"]
        assert ["fault-empty"] == [one["id"] for one in row["loaded_instances"]]
        load = await listed.post("/api/v1/models/load", json={"model": "fault-empty"})
        assert "fault-empty" == load.json()["instance_id"]
        assert (
            PLAIN
            == (await listed.post("/v1/chat/completions", json=ask("no-such"))).json()["model"]
        )
