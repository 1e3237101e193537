"""Kept exchanges: what they hold and never hold, who sees them, and cases made of them."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from conformance.runner.runner import Bench
from conformance.suite.case import check_cases, read_cases, select
from conformance.tests.gateway.cli.test_doctor import run
from conformance.tests.gateway.support import CHAT, COLD, LOADED, LOADED_EMBEDDER, Pair, open_pair
from gateway.explain.exporting import as_case, case_text
from gateway.explain.problems import NotExplained
from gateway.observability.inspector import Inspector, KeptCall, Pieces
from gateway.server.inspecting import Inspections, make_inspector
from gateway.server.routes import INSPECT
from gateway.settings.live import LiveSettings
from gateway.settings.schema import InspectSettings, ListenSettings, Settings

KEEPING = {"inspect": {"requests": 3}}
ASK = {"model": LOADED, "messages": [{"role": "user", "content": "hi"}]}


async def kept(pair: Pair) -> dict[str, Any]:
    """Return the newest exchange as the gateway shows it."""
    listed = (await pair.get(INSPECT))["exchanges"]
    found: dict[str, Any] = await pair.get(f"{INSPECT}/{listed[0]['id']}")
    return found


async def test_nothing_is_kept_unless_a_setting_says_so(pair: Pair) -> None:
    """There is no such route then, and no inspector."""
    await pair.post("/api/chat", ASK)

    assert 404 == (await pair.client.get(INSPECT)).status_code
    assert None is make_inspector(LiveSettings(Settings()))


async def test_both_sides_of_an_exchange_are_kept() -> None:
    """What the client sent and got, and what LM Studio was asked and said."""
    async with open_pair(KEEPING) as pair:
        answer = await pair.post("/api/chat", ASK)
        found = await kept(pair)
        (seen,) = pair.bodies(CHAT)

    assert answer.headers["x-request-id"] == found["id"]
    assert ASK == found["client"]["request"]
    assert answer.text == "".join(text for _, text in found["answer"]["chunks"])
    call = found["upstream"]["calls"][-1]
    assert (CHAT, seen, 200) == (call["path"], call["request"], call["response"]["status"])
    assert call["response"]["chunks"][-1][1].endswith("data: [DONE]\n\n")


async def test_what_is_passed_on_is_kept_too() -> None:
    """As it came, and as it went on."""
    async with open_pair(KEEPING) as pair:
        answer = await pair.post(CHAT, {**ASK, "model": f"{LOADED}:latest"})
        found = await kept(pair)

    assert f"{LOADED}:latest" == found["client"]["request"]["model"]
    assert LOADED == found["upstream"]["calls"][-1]["request"]["model"]
    assert answer.text == "".join(text for _, text in found["answer"]["chunks"])


async def test_the_last_ones_are_kept() -> None:
    """So many as the setting says, the newest first; the gateway's own routes are none."""
    async with open_pair(KEEPING) as pair:
        for number in range(5):
            await pair.post("/api/show", {"model": f"none-{number}"})
        await pair.get("/health")
        listed = (await pair.get(INSPECT))["exchanges"]
        bodies = [(await pair.get(f"{INSPECT}/{one['id']}"))["client"]["request"] for one in listed]
        gone = await pair.client.get(f"{INSPECT}/nothing")

    assert [{"model": f"none-{number}"} for number in (4, 3, 2)] == bodies
    assert 404 == gone.status_code
    assert "the last 3 are (inspect.requests)" in gone.text


async def test_no_key_and_no_token_is_kept() -> None:
    """Not from headers, a query, a body, or the settings."""
    settings = {**KEEPING, "upstream": {"token": "a-token-of-lm-studio"}}
    words = "my key is sk-abcdefghijklmnop and a-token-of-lm-studio"
    async with open_pair(settings) as pair:
        await pair.client.post(
            "/api/chat?key=query-secret",
            json={**ASK, "messages": [{"role": "user", "content": words}]},
            headers={
                "authorization": "Bearer header-secret-1",
                "x-api-key": "header-secret-2",
                "cookie": "header-secret-3",
            },
        )
        shown = (await pair.client.get(f"{INSPECT}/{(await kept(pair))['id']}")).text

    for secret in ("secret", "a-token-of-lm-studio", "sk-abcdef"):
        assert secret not in shown.replace("(secret)", "")
    assert "my key is (token) and (secret)" in shown


async def test_images_are_sizes() -> None:
    """Those of Ollama's messages, and data URLs of others."""
    picture = base64.b64encode(b"\x89PNG" + bytes(3000)).decode()
    url = f"data:image/png;base64,{picture}"
    async with open_pair(KEEPING) as pair:
        await pair.post(
            "/api/chat", {**ASK, "messages": [{"role": "user", "content": "?", "images": ["aGk="]}]}
        )
        first = await kept(pair)
        parts = [{"type": "image_url", "image_url": {"url": url}}]
        await pair.post(CHAT, {**ASK, "messages": [{"role": "user", "content": parts}]})
        second = await kept(pair)

    assert ["(image, 2 bytes)"] == first["client"]["request"]["messages"][0]["images"]
    assert picture not in json.dumps(second)
    assert "(image, 3,004 bytes)" in json.dumps(second)


async def test_a_body_is_kept_up_to_a_limit() -> None:
    """A longer request is left out, and said to be."""
    async with open_pair({"inspect": {"requests": 1, "body_bytes": 100}}) as pair:
        await pair.post("/api/chat", {**ASK, "format": "", "options": {"stop": ["x" * 200]}})
        found = await kept(pair)

    assert "request" not in found["client"]
    assert "more than inspect.body_bytes" in found["client"]["left_out"]
    assert "more than inspect.body_bytes" in found["answer"]["left_out"]
    assert 100 >= sum(len(text) for _, text in found["answer"]["chunks"])
    with pytest.raises(NotExplained, match=r"raise inspect\.body_bytes"):
        as_case(found, "chat/too-long")


def answered(
    address: str, keys: tuple[str, ...] = (), headers: list[tuple[bytes, bytes]] | None = None
) -> int:
    """Return the status that a caller of this address gets."""
    settings = Settings(listen=ListenSettings(keys=keys), inspect=InspectSettings(requests=1))
    live = LiveSettings(settings)
    scope = {"client": (address, 1), "headers": headers or [], "path": INSPECT}
    return Inspections(Inspector(1, 1, ()), live).answer(scope, "")[0]


def test_only_this_machine_sees_them_without_keys() -> None:
    """With keys whoever has passed the check of keys; a web page never."""
    assert 200 == answered("127.0.0.1")
    assert 403 == answered("192.0.2.7")
    assert 200 == answered("192.0.2.7", ("k" * 20,))
    assert 403 == answered("127.0.0.1", (), [(b"origin", b"http://localhost")])


async def test_with_keys_one_is_wanted() -> None:
    """By the gate that all routes have; an origin that is not allowed is refused as elsewhere."""
    settings = {**KEEPING, "listen": {"keys": ["a-key-that-is-long"]}}
    async with open_pair(settings) as pair:
        without = await pair.client.get(INSPECT)
        bearer = {"authorization": "Bearer a-key-that-is-long"}
        with_one = await pair.client.get(INSPECT, headers=bearer)
        foreign = await pair.client.get(INSPECT, headers={**bearer, "origin": "http://evil.test"})

    assert (401, 200, 403) == (without.status_code, with_one.status_code, foreign.status_code)


ASKED: list[tuple[str, str, Any]] = [
    ("POST", "/api/chat", ASK),
    ("POST", "/api/chat", {**ASK, "stream": False}),
    ("POST", "/api/generate", {"model": LOADED, "prompt": "hi"}),
    ("POST", "/api/chat", {**ASK, "model": COLD, "options": {"num_ctx": 2048}}),
    ("POST", "/api/embed", {"model": LOADED_EMBEDDER, "input": ["a", "b"]}),
    ("POST", "/api/chat", {**ASK, "model": "nobody-has-it"}),
    (
        "POST",
        "/api/chat",
        {**ASK, "messages": [{"role": "user", "content": "", "images": ["aGk="]}]},
    ),
    ("POST", CHAT, ASK),
    ("POST", CHAT, {**ASK, "stream": True}),
    ("GET", "/api/version", None),
]


@pytest.mark.parametrize(("method", "path", "body"), ASKED)
async def test_an_exchange_is_a_case_that_passes(
    tmp_path: Path, method: str, path: str, body: Any
) -> None:
    """The file is read as any other of the suite, and the gateway that was asked satisfies it."""
    async with open_pair(KEEPING) as pair:
        await pair.client.request(method, path, json=body)
        models = await pair.get("/api/v1/models")
        (exchange,) = [
            await pair.get(f"{INSPECT}/{one['id']}")
            for one in (await pair.get(INSPECT))["exchanges"]
            if (method, path) == (one["method"], one["path"])
        ]
    file = tmp_path / "report.yaml"
    file.write_text(case_text(as_case(exchange, "inspected/a-report", models)), "utf-8")
    cases = read_cases(file)

    assert [] == list(check_cases(cases))
    assert [] == judged(file)


def judged(file: Path) -> list[str]:
    """Return what is wrong in the runs of a file's cases."""
    with Bench() as bench:
        return [str(one) for run in select(read_cases(file), ()) for one in bench.run(run)]


async def test_a_case_notices_another_answer(tmp_path: Path) -> None:
    """Whoever corrects what is expected has a case that fails until the gateway is mended."""
    async with open_pair(KEEPING) as pair:
        await pair.post("/api/chat", {**ASK, "stream": False})
        exchange = await kept(pair)
    case = as_case(exchange, "inspected/a-report")
    case["expect"]["json"]["message"]["content"] = "something else"
    file = tmp_path / "report.yaml"
    file.write_text(case_text(case), "utf-8")

    (problem,) = judged(file)
    assert "message.content" in problem


async def test_the_command_lists_shows_and_exports() -> None:
    """What it asks for itself is not kept."""
    async with open_pair(KEEPING) as pair:
        port = ("--port", pair.url.rpartition(":")[2])
        await pair.post("/api/chat", ASK)
        code, said, _ = await run("inspect", *port)
        assert 0 == code
        (row,) = said.splitlines()[1:]
        assert "POST /api/chat" in row
        code, said, _ = await run("inspect", "last", *port)
        assert (0, ASK) == (code, json.loads(said)["client"]["request"])
        code, said, _ = await run("inspect", "last", *port, "--case", "--name", "chat/mine")
        assert (0, "chat/mine") == (code, json.loads(said)["case"])
        code, _, complained = await run("inspect", "nothing", *port)
        assert 1 == code
        assert "no exchange nothing is kept" in complained


async def test_the_command_says_how_to_keep_them(pair: Pair) -> None:
    """Where nothing is kept."""
    code, _, complained = await run("inspect", "--port", pair.url.rpartition(":")[2])

    assert 1 == code
    assert "set inspect.requests" in complained


def test_a_piece_costs_two_functions_more() -> None:
    """On, a piece of an answer is noted and passed on; nothing of it is read."""
    call = KeptCall("POST", b"/", "host", Pieces(100, 0), 100)
    sink: Callable[[bytes], None] = lambda data: None  # noqa: E731 - a call costs as little
    watched = call.through(sink)
    entered = 0

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal entered
        entered += event == "call"

    sys.setprofile(note)
    try:
        watched(b"x")
    finally:
        sys.setprofile(None)

    assert 3 == entered
    watched(b"y" * 1000)
    assert (1001, [b"x"]) == (call.received.size, [data for _, data in call.received.parts])
