"""Express's manners: headers, indentation, unknown paths, preflights, tokens, idle sockets."""

import asyncio
import socket
from typing import Any

import httpx
import pytest

from conformance.standin import StandIn
from conformance.tests.standin.support import PLAIN, ask, speak_to


async def test_json_has_the_headers_of_express(client: httpx.AsyncClient) -> None:
    """
    Type with charset, length, weak tag, keep-alive of five seconds
    (docs/facts/lmstudio.md#headers).
    """
    answer = await client.get("/v1/models")
    assert "Express" == answer.headers["x-powered-by"]
    assert "application/json; charset=utf-8" == answer.headers["content-type"]
    assert str(len(answer.content)) == answer.headers["content-length"]
    assert answer.headers["etag"].startswith(f'W/"{len(answer.content):x}-')
    assert "timeout=5" == answer.headers["keep-alive"]
    assert "server" not in answer.headers
    assert "access-control-allow-origin" not in answer.headers


async def test_an_unknown_path_is_a_200_with_a_bare_text(client: httpx.AsyncClient) -> None:
    """The body is compact and of the recorded length, on POST, GET and other methods alike."""
    answer = await client.post("/chat/completions", json={})
    assert (200, 67) == (answer.status_code, len(answer.content))
    assert {"error": "Unexpected endpoint or method. (POST /chat/completions)"} == answer.json()
    for method, path in [("GET", "/"), ("DELETE", "/v1/models"), ("GET", "/api/v1/models/x")]:
        answer = await client.request(method, path)
        expected = {"error": f"Unexpected endpoint or method. ({method} {path})"}
        assert (200, expected) == (answer.status_code, answer.json())


async def test_indentation_differs_by_route(client: httpx.AsyncClient) -> None:
    """Two for success, four for errors of the chat route, two for the native ones."""
    assert '{\n  "data": [' in (await client.get("/v1/models")).text
    bad = ask(PLAIN, reasoning_effort="off")
    assert (await client.post("/v1/chat/completions", json=bad)).text.startswith(
        '{\n    "error": {'
    )
    native = await client.post("/api/v1/models/load", json={"model": "no"})
    assert native.text.startswith('{\n  "error": {')


async def test_the_greeting(client: httpx.AsyncClient) -> None:
    """Seventeen bytes by which tools know the server."""
    assert b'{"lmstudio":true}' == (await client.get("/lmstudio-greeting")).content


async def test_lists_put_data_before_object(client: httpx.AsyncClient) -> None:
    """The order of keys is the recorded one."""
    for path in ("/v1/models", "/api/v0/models"):
        assert ["data", "object"] == list((await client.get(path)).json())


async def test_head_is_get_without_a_body(client: httpx.AsyncClient) -> None:
    """The length is told, the body left out."""
    whole, head = await client.get("/v1/models"), await client.head("/v1/models")
    assert (whole.headers["content-length"], b"") == (head.headers["content-length"], head.content)


async def test_a_preflight_is_misread_unless_cors_is_on(client: httpx.AsyncClient) -> None:
    """Off, it is an unknown endpoint or a chat without messages; on, headers come everywhere."""
    assert "(OPTIONS /v1/models)" in (await client.options("/v1/models")).text
    misread = await client.options("/v1/chat/completions")
    assert (400, {"error": "'messages' field is required"}) == (misread.status_code, misread.json())
    async with StandIn(cors=True) as standin, speak_to(standin) as open_client:
        for answer in (
            await open_client.options("/v1/models"),
            await open_client.get("/v1/models"),
        ):
            assert "*" == answer.headers["access-control-allow-origin"]


async def test_a_token_is_asked_for_everywhere() -> None:
    """Without, malformed and right; the messages route also takes x-api-key."""
    async with StandIn(token="sk-lm-abcdefgh:secret") as standin, speak_to(standin) as client:
        missing = await client.get("/v1/models")
        assert (401, "invalid_api_key") == (missing.status_code, missing.json()["error"]["code"])
        assert missing.json()["error"]["message"].startswith("An LM Studio API token is required")
        wrong = await client.get("/api/v1/models", headers={"authorization": "Bearer lm-studio"})
        assert (401, "invalid_request") == (wrong.status_code, wrong.json()["error"]["type"])
        right = {"authorization": "Bearer sk-lm-abcdefgh:secret"}
        assert 200 == (await client.get("/api/v1/models", headers=right)).status_code
        assert 200 == (await client.get("/lmstudio-greeting")).status_code
        body = {"model": PLAIN, "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
        key = {"x-api-key": "sk-lm-abcdefgh:secret"}
        assert 200 == (await client.post("/v1/messages", json=body, headers=key)).status_code


async def test_small_writes_are_not_held_back(standin: StandIn, client: httpx.AsyncClient) -> None:
    """The sockets of callers send at once, else each answer would wait for an acknowledgement."""
    await client.get("/v1/models")
    connections: list[Any] = list(standin.server.server_state.connections)
    ours = [one.transport.get_extra_info("socket") for one in connections]
    assert [1] == [one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for one in ours]


async def test_an_idle_socket_is_closed() -> None:
    """After the keep-alive time the server ends the connection."""
    async with StandIn(keep_alive_s=1) as standin:
        reader, writer = await asyncio.open_connection("127.0.0.1", standin.port)
        writer.write(b"GET /lmstudio-greeting HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"200 OK" in await reader.readline()
        rest = await asyncio.wait_for(reader.read(), 10)
        assert rest.endswith(b'{"lmstudio":true}')
        writer.close()


@pytest.mark.parametrize(
    ("version", "there"),
    [
        ("0.4", ["/v1/models", "/api/v0/models", "/api/v1/models"]),
        ("0.3", ["/v1/models", "/api/v0/models"]),
        ("openai", ["/v1/models"]),
    ],
)
async def test_host_versions_have_their_routes(version: str, there: list[str]) -> None:
    """An older LM Studio knows no /api/v1, another server only /v1 and answers 404."""
    async with StandIn(host_version=version) as standin, speak_to(standin) as client:
        found = []
        for path in ("/v1/models", "/api/v0/models", "/api/v1/models"):
            answer = await client.get(path)
            assert (
                404 if version == "openai" and path != "/v1/models" else 200
            ) == answer.status_code
            if "error" not in answer.json():
                found.append(path)
        assert there == found
        express = (await client.get("/v1/models")).headers.get("x-powered-by")
        assert (None if version == "openai" else "Express") == express
