"""
Bytes passed through: what is changed, and above all what is not
(docs/facts/clients.md#passthrough-bytes).
"""

import asyncio
import base64
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from backports import zstd

from conformance.standin import StandIn
from conformance.tests.gateway.support import (
    CHAT,
    COLD,
    COMPLETIONS,
    EMBEDDINGS,
    LIST,
    LOADED,
    LOADED_EMBEDDER,
    UNLOAD,
    VARIED,
    Pair,
    chat,
    open_gateway,
    open_pair,
)
from gateway.upstream.sse import SseDecoder

MULTIPART = "multipart/form-data; boundary=x"
ODD = "/v1/some/route"
"""A path that the stand-in knows nothing of, so that it takes any body for it."""


async def send(pair: Pair, path: str, body: bytes, **headers: str) -> httpx.Response:
    """Post bytes as JSON, unless the headers say otherwise."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await pair.client.post(
        path, content=body, headers={"content-type": "application/json", **named}
    )


def play(text: str | bytes, path: str, **more: Any) -> dict[str, Any]:
    """Return a rule by which a path is answered with bytes."""
    data = text if isinstance(text, str) else {"base64": base64.b64encode(text).decode()}
    return {"match": {"path": path}, "answer": {"chunks": [[0, data]], **more}}


# -- answers -------------------------------------------------------------------------------------

BODIES = {
    "compact": b'{"b":1,"a":[1,2]}',
    "indented": b'{\n    "b": 1e3,\n    "a": "\\u00e9\\ud83d"\n}\n',
    "bytes that are no text": bytes(range(256)),
    "nothing": b"",
    "much": b"x" * 300_000,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH"])
async def test_an_answer_is_passed_on_byte_for_byte(pair: Pair, body: bytes, method: str) -> None:
    """Whatever it holds, for every method."""
    pair.script(play(body, ODD, headers={"Content-Type": "application/x-odd"}))
    answer = await pair.client.request(method, ODD)
    assert (200, body) == (answer.status_code, answer.content)
    assert "application/x-odd" == answer.headers["content-type"]
    assert [(method, ODD)] == [(one.method, one.path) for one in pair.standin.seen]


STREAMS = {
    "LM Studio's": 'data: {"id":"c-1"}\n\ndata: {"id":"c-2"}\n\ndata: [DONE]\n\n',
    "names and comments": ": hello\n\nevent: a.b\ndata: {}\n\nid: 7\ndata: x\n\ndata: [DONE]\n\n",
    "CRLF": 'data: {"id":"c-1"}\r\n\r\ndata: [DONE]\r\n\r\n',
    "no space": 'data:{"id":"c-1"}\n\ndata:[DONE]\n\n',
    "more than one byte": 'data: "\N{SLIGHTLY SMILING FACE} 東京 \\u00e9"\n\ndata: [DONE]\n\n',
    "a finish and no mark": 'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n',
    "a word error": 'data: {"text":"an \\"error\\" is no error"}\n\ndata: [DONE]\n\n',
    "a later error": 'data: {"id":"c-1"}\n\nevent: error\ndata: {"error":{"message":"No."}}\n\n',
}
STATED = 'event: error\ndata: {"error":{"message":"No."},"message":"No."}\n\n'
NO_STREAMS = {
    "no events at all": ("hello", 502, "ended without an event"),
    "nothing": ("", 502, "ended without an event"),
    "a broken event": ('data: {"id"\n\n', 502, "not with JSON"),
    "an error of LM Studio": (STATED, 502, "No."),
    "an error without a name": ('data: {"error":"No."}\n\n', 502, "No."),
}


@pytest.mark.parametrize("text", STREAMS.values(), ids=STREAMS.keys())
@pytest.mark.parametrize("cut", ["whole", "bytes"])
async def test_a_stream_is_passed_on_byte_for_byte(pair: Pair, text: str, cut: str) -> None:
    """Comments, names, line ends and errors included, however it is cut on its way."""
    data = text.encode()
    pieces = [data] if cut == "whole" else [data[n : n + 1] for n in range(len(data))]
    chunks = [[0, {"base64": base64.b64encode(piece).decode()}] for piece in pieces]
    headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
    pair.script({"match": {"path": CHAT}, "answer": {"chunks": chunks, "headers": headers}})
    answer = await pair.post(CHAT, chat(stream=True))
    assert (200, data) == (answer.status_code, answer.content)
    assert "text/event-stream" == answer.headers["content-type"]
    assert "no-cache" == answer.headers["cache-control"]


@pytest.mark.parametrize(("text", "status", "says"), NO_STREAMS.values(), ids=NO_STREAMS.keys())
async def test_a_stream_that_never_begins_is_refused(
    pair: Pair, text: str, status: int, says: str
) -> None:
    """Nothing was sent yet, so the client can have a status."""
    pair.script(play(text, CHAT, headers={"Content-Type": "text/event-stream"}))
    answer = await pair.post(CHAT, chat(stream=True))
    assert status == answer.status_code
    assert says in message_of(answer, "openai")


@pytest.mark.parametrize("rest", ["", 'data: {"id"'], ids=["between events", "within one"])
async def test_a_stream_without_an_end_gets_one(pair: Pair, rest: str) -> None:
    """LM Studio ended it well, and did not say that the answer is whole."""
    begun = 'data: {"id":"c-1"}\n\n' + rest
    pair.script(play(begun, CHAT, headers={"Content-Type": "text/event-stream"}))
    answer = await pair.post(CHAT, chat(stream=True))
    assert answer.text.startswith(begun)
    last = answer.text.rstrip().rpartition("\n\n")[2]
    assert "before its answer" in json.loads(last.removeprefix("data: "))["error"]["message"]


@pytest.mark.parametrize(
    ("path", "name", "keys"),
    [
        ("/v1/messages", "error", ["type", "error"]),
        ("/v1/responses", "error", ["type", "code", "message", "param"]),
        ("/api/v1/chat", "error", ["type", "error"]),
        ("/api/v0/chat/completions", "", ["error"]),
    ],
)
async def test_a_broken_stream_ends_in_the_callers_words(
    pair: Pair, path: str, name: str, keys: list[str]
) -> None:
    """Each API has its own event for an error."""
    begun = 'event: x\ndata: {"type":"x"}\n\n'
    headers = {"Content-Type": "text/event-stream"}
    pair.script(play(begun, path, headers=headers, end="close"))
    answer = await pair.post(path, {**chat(stream=True), "input": "Why?", "max_tokens": 9})
    last = SseDecoder().feed(answer.content)[-1]
    assert name == last.name
    assert keys == list(json.loads(last.data))


ERRORS = {
    "a bare text": '{"error":"No."}',
    "a title": '{"title":"No."}',
    "no JSON": "No.",
}


@pytest.mark.parametrize("body", ERRORS.values(), ids=ERRORS.keys())
@pytest.mark.parametrize(("path", "family"), [(CHAT, "openai"), ("/v1/messages", "anthropic")])
async def test_an_error_is_put_into_the_callers_words(
    pair: Pair, body: str, path: str, family: str
) -> None:
    """With its own status; one that is in them already stays as it is."""
    pair.script(play(body, path, status=422))
    answer = await pair.post(path, {**chat(), "max_tokens": 9})
    assert 422 == answer.status_code
    assert "No." in message_of(answer, family)


WHOLE = {
    "an error": ('{"error":{"message":"No."}}', 502, "No."),
    "an unknown route": ('{"error":"Unexpected endpoint or method. (POST /x)"}', 501, "lacks a"),
    "half of it": ('{"choices":[{"me', 502, "not with JSON"),
    "a page": ("<html><title>Sign in</title>", 502, "Sign in"),
    "nothing": ("", 502, "empty"),
}


@pytest.mark.parametrize(("text", "status", "says"), WHOLE.values(), ids=WHOLE.keys())
async def test_a_200_that_is_no_answer_is_refused(
    pair: Pair, text: str, status: int, says: str
) -> None:
    """A client would take it for a success (docs/facts/lmstudio.md#error-with-200)."""
    pair.script(play(text, CHAT))
    answer = await pair.post(CHAT, chat())
    assert status == answer.status_code
    assert says in message_of(answer, "openai")


async def test_an_error_under_200_is_cured_by_a_load(pair: Pair) -> None:
    """As the same words under 400 are."""
    pair.script({**play('{"error":"No models loaded."}', CHAT), "nth": 1})
    answer = await pair.post(CHAT, chat())
    assert 200 == answer.status_code
    assert 2 == len(pair.asked(CHAT))


async def test_another_models_answer_is_refused(pair: Pair) -> None:
    """Whole and streamed (docs/facts/lmstudio.md#substituted-model)."""
    for streamed in (True, False):
        pair.script({"match": {"path": CHAT}, "fault": "wrong_model", "times": 1})
        answer = await pair.post(CHAT, chat(stream=streamed))
        assert 502 == answer.status_code
        assert "answered by" in message_of(answer, "openai")
        await pair.reset()


def _raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


PACKERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "members": ("x-gzip", lambda body: gzip.compress(body[:9]) + gzip.compress(body[9:])),
    "padding": ("GZIP", lambda body: gzip.compress(body) + bytes(500)),
    "zlib": ("deflate", zlib.compress),
    "raw": ("deflate", _raw_deflate),
    "zstd": ("zstd", zstd.compress),
    "frames": ("identity, zstd", lambda body: zstd.compress(body[:9]) + zstd.compress(body[9:])),
}


@pytest.mark.parametrize(("encoding", "pack"), PACKERS.values(), ids=PACKERS.keys())
async def test_a_packed_body_is_unpacked(
    pair: Pair, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    """The model's name in it must be read; what goes on is plain."""
    packed = pack(json.dumps(chat()).encode())
    headers = {"content-type": "application/json", "content-encoding": encoding}
    answer = await pair.client.post(CHAT, content=packed, headers=headers)
    assert 200 == answer.status_code
    (sent,) = pair.asked(CHAT)
    assert chat()["messages"] == sent.body["messages"]
    assert "content-encoding" not in sent.headers


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("br", b"x", 415),
        ("gzip", b"{}", 400),
        ("gzip", gzip.compress(b"{}", mtime=0)[:-9], 400),
        ("gzip", gzip.compress(b" " * 2000, mtime=0), 413),
        ("gzip, zstd", b"{}", 415),
        ("deflate", zlib.compress(b"{}") * 2, 400),
        ("deflate", b"x", 400),
        ("zstd", b"{}", 400),
        ("zstd", zstd.compress(b"{}")[:-2], 400),
        ("zstd", zstd.compress(b" " * 2000), 413),
    ],
)
async def test_a_body_packed_otherwise_is_refused(encoding: str, body: bytes, status: int) -> None:
    """With what is wrong; a small body that grows without an end is no way around the limit."""
    async with open_pair({"limits": {"body_bytes": 1000}}) as pair:
        headers = {"content-type": "application/json", "content-encoding": encoding}
        answer = await pair.client.post(CHAT, content=body, headers=headers)
        assert status == answer.status_code
        message_of(answer, "openai")
        assert [] == pair.asked(CHAT)


async def test_an_event_is_passed_on_when_it_comes(pair: Pair) -> None:
    """Not when the next one does, nor when the stream ends."""
    pair.script({"match": {"path": CHAT}, "hold": "rest", "after": 1})
    async with pair.client.stream("POST", CHAT, json=chat(stream=True)) as answer:
        parts = answer.aiter_bytes()
        first = await anext(parts)
        assert first.startswith(b"data: {")
        pair.release("rest")
        rest = b"".join([part async for part in parts])
    assert rest.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("status", [201, 204, 301, 400, 404, 418, 429, 500, 503])
async def test_a_status_is_passed_on(pair: Pair, status: int) -> None:
    """With its body and its own headers; the gateway follows no redirect."""
    body = "" if status == 204 else '{"error": {"message": "As said."}}'
    headers = {"Content-Type": "application/json", "X-Odd": "yes", "Location": "/elsewhere"}
    pair.script(play(body, ODD, status=status, headers=headers))
    answer = await send(pair, ODD, b"{}")
    assert (status, body) == (answer.status_code, answer.text)
    assert ("yes", "/elsewhere") == (answer.headers["x-odd"], answer.headers["location"])
    assert 1 == len(pair.asked(ODD))


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_an_unknown_route_is_not_found(pair: Pair, method: str) -> None:
    """LM Studio answers 200 to any (docs/facts/lmstudio.md#unknown-path)."""
    answer = await pair.client.request(method, "/v1/never/heard")
    assert 404 == answer.status_code
    assert "LM Studio has no such route" in message_of(answer, "openai")
    answer = await pair.client.request(method, "/v1/messages/batches")
    assert 404 == answer.status_code
    assert "LM Studio has no such route" in message_of(answer, "anthropic")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b'  {\n "error" : "Unexpected endpoint or method. (GET /x)"}'),
        ("application/json", gzip.compress(b'{"error":"Unexpected endpoint or method."}', mtime=0)),
    ],
    ids=["indented", "packed"],
)
async def test_an_unknown_route_is_known_however_it_is_told(
    pair: Pair, kind: str, body: bytes
) -> None:
    """Byte for byte, with blanks, or packed by a proxy."""
    headers = {"Content-Type": kind}
    if body.startswith(b"\x1f"):
        headers["Content-Encoding"] = "gzip"
    chunks = [[0, {"base64": base64.b64encode(body[n : n + 1]).decode()}] for n in range(len(body))]
    pair.script({"match": {"path": ODD}, "answer": {"chunks": chunks, "headers": headers}})
    answer = await pair.client.get(ODD)
    assert 404 == answer.status_code
    assert "Unexpected endpoint" in message_of(answer, "openai")


@pytest.mark.parametrize(
    "body",
    [b'{"error":"Something else."}', b'{"error":null,"a":1}', b'{"errors":[]}', b"[1]", b"{"],
)
async def test_an_error_in_an_unknown_routes_success_is_passed_on(pair: Pair, body: bytes) -> None:
    """Only a route that is missing is known to be no success."""
    pair.script(play(body, ODD, headers={"Content-Type": "application/json"}))
    answer = await pair.client.get(ODD)
    assert (200, body) == (answer.status_code, answer.content)


async def test_an_error_keeps_the_time_to_try_again(pair: Pair) -> None:
    """Also where its body is written anew in the caller's dialect."""
    headers = {"Content-Type": "application/json", "Retry-After": "7", "X-Odd": "yes"}
    pair.script(play('{"error":"busy"}', CHAT, status=503, headers=headers))
    answer = await pair.post(CHAT, chat())
    assert (503, "7") == (answer.status_code, answer.headers["retry-after"])
    assert "x-odd" not in answer.headers


async def test_an_answer_cut_upstream_is_cut_here(pair: Pair) -> None:
    """It can't pass for whole: JSON is refused, a stream ends with an error in its own form."""
    pair.script(
        {"match": {"path": EMBEDDINGS}, "fault": "closed_mid_stream"},
        {"match": {"path": CHAT}, "fault": "closed_mid_stream"},
    )
    answer = await pair.post(EMBEDDINGS, {"model": LOADED_EMBEDDER, "input": "Why?"})
    assert 502 == answer.status_code
    answer = await pair.post(CHAT, chat(stream=True))
    last = answer.text.rstrip().rpartition("\n\n")[2]
    assert "closed the connection" in json.loads(last.removeprefix("data: "))["error"]["message"]
    assert "[DONE]" not in answer.text


# -- requests ------------------------------------------------------------------------------------

KEPT = [
    '"temperature":1e3',
    '"top_p":0.10',
    '"seed":12345678901234567890123',
    '"text":"\\u00e9 \\ud83d\\ude42 \\/ \\t"',
    '"raw":"\N{SLIGHTLY SMILING FACE} 東京"',
    '"nested":{"z":1.0,"a":{"y":-0,"b":[ 1 ,  2.50,"\\u003c"]}}',
    '"empty":{}',
    '"none":null',
    '"long":[1.00000000000000000000001]',
]


NESTED = '"a":' + "[" * 5000 + "]" * 5000


@pytest.mark.parametrize("place", [0, 4, len(KEPT)])
async def test_only_the_model_is_changed(pair: Pair, place: int) -> None:
    """Number texts, escapes and the order of keys are what they were, wherever the name stands."""
    members = [*KEPT]
    members.insert(place, f'"model":"{LOADED.upper()}:latest"')
    await send(pair, CHAT, ("{" + ",".join(members) + "}").encode())
    members[place] = f'"model":"{LOADED}"'
    (sent,) = pair.asked(CHAT)
    assert ("{" + ",".join(members) + "}").encode() == sent.raw


async def test_a_body_that_names_the_key_is_not_touched(pair: Pair) -> None:
    """Not even its spaces."""
    body = f'\n {{ "messages" : [ ] ,\t"model" : "{LOADED}", "n": 1e0 }} \n'.encode()
    await send(pair, CHAT, body)
    assert body == pair.asked(CHAT)[0].raw


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"7",
        b'"model"',
        b"{}",
        b'{"messages": []}',
        b'{"model": null}',
        b'{"model": 7}',
        b'{"model": ""}',
        b'{"model": ["tiny"]}',
        b"model=x",
        b"\xff\xfe",
    ],
)
async def test_a_body_without_a_name_is_passed_on(pair: Pair, body: bytes) -> None:
    """What to say of it is LM Studio's."""
    answer = await send(pair, ODD, body)
    assert 404 == answer.status_code
    (sent,) = pair.asked(ODD)
    assert body == sent.raw


@pytest.mark.parametrize(
    "spoiler",
    [r'"a":"cut \ud83d"', r'"\ud83d":1', r'"a":{"\"}":["]\\",{}]},"b":"\ude42"', NESTED],
    ids=["lone surrogate", "lone surrogate in a key", "brackets in strings", "deep"],
)
async def test_a_name_is_resolved_in_whatever_lm_studio_can_read(spoiler: str) -> None:
    """Else it would let any loaded model answer (docs/facts/lmstudio.md#substituted-model)."""
    name = f"{LOADED}:latest"
    body = f'{{"model":"{name}",{spoiler},"last":1e3}}'.encode()
    async with open_pair({"limits": {"json_depth": 1_000_000}}) as pair:
        await send(pair, ODD, body)
        (sent,) = pair.asked(ODD)
    assert body.replace(name.encode(), LOADED.encode()) == sent.raw


async def test_a_name_that_is_unknown_is_refused_in_whatever_can_be_read(pair: Pair) -> None:
    """The same for a name that no model has."""
    answer = await send(pair, CHAT, rb'{"model":"none","messages":[{"content":"cut \ud83d"}]}')
    assert 404 == answer.status_code
    assert [] == pair.asked(CHAT)


@pytest.mark.parametrize(
    "members",
    [
        r'"response_format":{"type":"json_object","x":"\ud83d"}',
        r'"tool_choice":{"type":"function","x":"\ud83d"}',
        r'"tool_choice":{"type":"function","function":{"name":"f"}},"tools":["\ud83d"]',
    ],
)
async def test_what_can_not_be_mended_is_passed_on(pair: Pair, members: str) -> None:
    """The gateway never answers with its own error."""
    await send(pair, CHAT, f'{{"model":"{LOADED}:latest",{members}}}'.encode())
    (sent,) = pair.asked(CHAT)
    assert f'{{"model":"{LOADED}",{members}}}'.encode() == sent.raw


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON; charset=utf-8", "text/plain", "", "x/y+json"]
)
async def test_a_json_body_is_known_by_any_usual_type(pair: Pair, kind: str) -> None:
    """Some clients send none, or the one of forms (docs/facts/clients.md#no-content-type)."""
    body = f'{{"model":"{LOADED}:latest"}}'.encode()
    headers = {"content-type": kind} if kind else {}
    await pair.client.post(ODD, content=body, headers=headers)
    (sent,) = pair.asked(ODD)
    assert {"model": LOADED} == sent.body
    assert kind == sent.headers.get("content-type", "")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, chat(f"{VARIED}:q8_0")),
        (COMPLETIONS, {"model": f"{VARIED}:q8_0", "prompt": "Why?"}),
        ("/v1/responses", {"model": f"{VARIED}:q8_0", "input": "Why?"}),
        ("/v1/messages", {**chat(f"{VARIED}:q8_0"), "max_tokens": 50}),
        ("/api/v0/chat/completions", chat(f"{VARIED}:q8_0")),
        ("/api/v1/chat", {"model": f"{VARIED}:q8_0", "input": "Why?"}),
    ],
)
async def test_every_route_takes_ollamas_names(pair: Pair, path: str, body: dict[str, Any]) -> None:
    """And loads what is not loaded before it passes the request on."""
    answer = await pair.post(path, body)
    assert 200 == answer.status_code, answer.text
    assert [f"{VARIED}@q8_0"] == [sent["model"] for sent in pair.bodies(path)]
    assert 1 == len(pair.asked("/api/v1/models/load"))


async def test_a_download_is_of_something_that_is_not_there(pair: Pair) -> None:
    """Its name is no model's yet, so it is not looked up."""
    answer = await pair.post("/api/v1/models/download", {"model": "harbor/new-thing-9b"})
    assert (200, "downloading") == (answer.status_code, answer.json()["status"])
    job = answer.json()["job_id"]
    status = await pair.client.get(f"/api/v1/models/download/status/{job}")
    assert 200 == status.status_code


async def test_a_body_that_is_no_json_is_streamed(pair: Pair) -> None:
    """It is passed on as it comes, by length or in chunks."""
    body = b"--x\r\n\r\n" + bytes(range(256)) * 40 + b"\r\n--x--\r\n"

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 1000):
            yield body[start : start + 1000]

    for content in (body, pieces()):
        answer = await pair.client.post(ODD, content=content, headers={"content-type": MULTIPART})
        assert 404 == answer.status_code
    first, second = pair.asked(ODD)
    assert body == first.raw == second.raw
    assert MULTIPART == first.headers["content-type"]
    assert str(len(body)) == first.headers["content-length"]
    assert "chunked" == second.headers["transfer-encoding"]


async def test_a_streamed_body_is_not_kept_back() -> None:
    """LM Studio has its beginning while the client still sends."""
    more = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        await more.wait()
        yield b"second"

    async with open_pair() as pair:
        headers = {"content-type": "application/octet-stream"}
        upload = asyncio.create_task(pair.client.post(ODD, content=pieces(), headers=headers))
        await pair.until_asked(ODD)
        more.set()
        assert 404 == (await upload).status_code
        assert b"firstsecond" == pair.asked(ODD)[0].raw


@pytest.mark.parametrize(
    "target",
    [
        "/v1/files?limit=2&a=%20b&a=c&empty=&flag",
        "/v1/files/harbor%2Flantern-8b",
        "/v1/files/harbor/lantern-8b",
        "/v1/files/a%20b%3Fc%23d",
        "/v1/files/%e6%9d%b1?q=%E4%BA%AC",
        "/v1/files/it's(a)*test!",
        "/api/v0/models/x%2fy?z=%2F",
    ],
)
async def test_a_target_is_passed_on_as_it_was_written(target: str) -> None:
    """Escapes stay escapes: an encoded slash is no slash (docs/facts/clients.md#encoded-slash)."""
    seen: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        seen.append(head.split(b" ")[1])
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with listener, open_pair({"upstream": {"url": f"http://127.0.0.1:{port}"}}) as pair:
        where = pair.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(where[0], int(where[1]))
        writer.write(
            f"GET {target} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n".encode()
        )
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 200")
    assert [target.encode()] == seen


async def test_a_head_is_a_get_without_its_body(pair: Pair) -> None:
    """The length is the one that a GET would have."""
    whole = await pair.client.get("/api/v0/models")
    head = await pair.client.head("/api/v0/models")
    assert (200, b"") == (head.status_code, head.content)
    assert whole.headers["content-length"] == head.headers["content-length"]
    assert ["GET", "HEAD"] == [one.method for one in pair.asked("/api/v0/models")]


async def test_a_request_without_a_body_has_none_upstream(pair: Pair) -> None:
    """Neither a length nor an encoding is made up."""
    await pair.client.get("/v1/models")
    (sent,) = pair.asked("/v1/models")
    assert {"content-length", "transfer-encoding"}.isdisjoint(sent.headers)


# -- who is who ----------------------------------------------------------------------------------


async def test_the_clients_key_stays_here_and_the_gateways_goes() -> None:
    """
    What clients call a key is made up or for somebody else (docs/facts/clients.md#made-up-keys).
    """
    async with open_pair({"upstream": {"token": "sk-lm-ours"}}, token="sk-lm-ours") as pair:
        theirs = {
            "authorization": "Bearer theirs",
            "x-api-key": "theirs",
            "cookie": "theirs=1",
            "proxy-authorization": "Basic theirs",
        }
        for path, body in (
            (CHAT, chat()),
            ("/v1/messages", {**chat(), "max_tokens": 50}),
            ("/api/chat", chat()),
        ):
            answer = await pair.client.post(path, json=body, headers=theirs)
            assert 200 == answer.status_code, answer.text
        assert 200 == (await pair.client.get("/v1/models", headers=theirs)).status_code
        for sent in pair.standin.seen:
            assert "Bearer sk-lm-ours" == sent.headers["authorization"]
            assert "theirs" not in str(sent.headers)


async def test_without_a_token_no_key_goes(pair: Pair) -> None:
    """LM Studio may look at the shape of one (docs/facts/lmstudio.md#token-off)."""
    await pair.client.post(CHAT, json=chat(), headers={"authorization": "Bearer theirs"})
    assert all("authorization" not in sent.headers for sent in pair.standin.seen)


async def test_other_headers_go_both_ways(pair: Pair) -> None:
    """But for those of one connection."""
    headers = {
        "X-Odd": "yes",
        "Accept-Language": "de",
        "User-Agent": "somebody/1",
        "Connection": "x-hop",
        "X-Hop": "1",
        "TE": "trailers",
    }
    answer = await pair.client.get("/v1/models", headers=headers)
    (sent,) = pair.asked("/v1/models")
    assert ("yes", "de", "somebody/1") == tuple(
        sent.headers[name] for name in ("x-odd", "accept-language", "user-agent")
    )
    assert {"x-hop", "te"}.isdisjoint(sent.headers)
    assert pair.standin.url.removeprefix("http://") == sent.headers["host"]
    assert "Express" == answer.headers["x-powered-by"]
    assert "keep-alive" not in answer.headers


# -- the gateway's own errors --------------------------------------------------------------------

ENVELOPES = {
    "chat": (CHAT, chat("none"), "openai"),
    "completions": (COMPLETIONS, {"model": "none", "prompt": "Why?"}, "openai"),
    "embeddings": (EMBEDDINGS, {"model": "none", "input": "Why?"}, "openai"),
    "responses": ("/v1/responses", {"model": "none", "input": "Why?"}, "openai"),
    "messages": ("/v1/messages", chat("none"), "anthropic"),
    "count tokens": ("/v1/messages/count_tokens", chat("none"), "anthropic"),
    "v0 chat": ("/api/v0/chat/completions", chat("none"), "openai"),
    "v1 chat": ("/api/v1/chat", {"model": "none", "input": "Why?"}, "openai"),
}


def message_of(answer: httpx.Response, family: str) -> str:
    """Return an error's words, after a look at its envelope."""
    body = answer.json()
    assert answer.headers["content-type"].startswith("application/json")
    if family == "anthropic":
        assert ["type", "error"] == list(body)
        assert "error" == body["type"]
        assert ["type", "message"] == list(body["error"])
    else:
        assert ["error"] == list(body)
        assert {"message", "type", "param", "code"} >= set(body["error"])
    return str(body["error"]["message"])


@pytest.mark.parametrize(("path", "body", "family"), ENVELOPES.values(), ids=ENVELOPES.keys())
@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "one-shot"])
async def test_an_unknown_model_is_refused_in_the_callers_words(
    pair: Pair, path: str, body: dict[str, Any], family: str, streamed: bool
) -> None:
    """LM Studio would let the one loaded model answer; nothing is asked of it."""
    answer = await pair.post(path, {**body, "stream": streamed})
    assert 404 == answer.status_code
    assert "model 'none' not found" == message_of(answer, family)
    assert {LIST} == {one.path for one in pair.standin.seen}


ASKED = {name: row for name, row in ENVELOPES.items() if name != "count tokens"}


@pytest.mark.parametrize(("path", "body", "family"), ASKED.values(), ids=ASKED.keys())
async def test_a_host_that_is_down_is_told_in_the_callers_words(
    path: str, body: dict[str, Any], family: str
) -> None:
    """503, and where the gateway looked for it; known models make no difference."""
    async with StandIn() as standin:
        settings = {"models": {"catalogue_ttl_s": 3600}}
        async with open_gateway(standin, settings) as pair:
            await pair.get("/api/tags")
            await standin.stop()
            known = {**body, "model": LOADED_EMBEDDER if path == EMBEDDINGS else LOADED}
            for asked in (body, known):
                answer = await pair.post(path, asked)
                expected = 404 if asked is body else 503
                assert expected == answer.status_code
                text = message_of(answer, family)
            assert f"cannot reach LM Studio at {standin.url}" in text
            answer = await pair.client.get("/v1/models")
            assert 503 == answer.status_code
            await standin.start()


@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/api/v0/chat/completions"])
async def test_a_refused_token_is_the_gateways_own(path: str) -> None:
    """502 with what to do about it; LM Studio's words about keys are not for the client."""
    async with open_pair({"models": {"catalogue_ttl_s": 3600}}) as pair:
        await pair.get("/api/tags")
        pair.script(play('{"error":{"message":"Who are you?"}}', path, status=401))
        answer = await pair.post(path, {**chat(), "max_tokens": 50})
        assert 502 == answer.status_code
        family = "anthropic" if path == "/v1/messages" else "openai"
        assert "LM_API_TOKEN" in message_of(answer, family)


@pytest.mark.parametrize(("path", "family"), [(CHAT, "openai"), ("/v1/messages", "anthropic")])
async def test_a_body_over_the_limit_is_refused(path: str, family: str) -> None:
    """413 in the caller's words, told by length or found out while reading."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b" " * 300

    async with open_pair({"limits": {"body_bytes": 1000}}) as pair:
        for content in (b" " * 1500, pieces()):
            answer = await pair.client.post(path, content=content)
            assert 413 == answer.status_code
            assert "1000 bytes" in message_of(answer, family)
        assert [] == pair.standin.seen
        exact = json.dumps(chat()).encode().ljust(1000)
        assert 200 == (await send(pair, CHAT, exact)).status_code


async def test_a_streamed_body_has_no_limit() -> None:
    """It is never held, so it may be as long as it likes."""
    async with open_pair({"limits": {"body_bytes": 1000}}) as pair:
        headers = {"content-type": "application/octet-stream"}
        answer = await pair.client.post(ODD, content=b"x" * 100_000, headers=headers)
        assert 404 == answer.status_code
        assert 100_000 == len(pair.asked(ODD)[0].raw)


async def test_lm_studios_own_routes_can_be_switched_off() -> None:
    """OpenAI's stay, since Ollama has them too."""
    async with open_pair({"routes": {"lmstudio": False}}) as pair:
        assert 404 == (await pair.client.get(LIST)).status_code
        assert 404 == (await pair.client.get("/api/v0/models")).status_code
        assert 200 == (await pair.client.get("/v1/models")).status_code


async def test_a_model_in_use_through_v1_is_not_unloaded(pair: Pair) -> None:
    """A request that is passed through holds its model as any other does."""
    pair.script({"match": {"path": CHAT}, "hold": "rest", "after": 2})
    asking = asyncio.create_task(pair.post(CHAT, chat(COLD, stream=True)))
    await pair.until(lambda: any(one.started_ms is not None for one in pair.asked(CHAT)))
    await pair.post("/api/generate", {"model": COLD, "keep_alive": 0})
    await pair.let_pass()
    assert [] == pair.asked(UNLOAD)
    pair.release("rest")
    assert (await asking).text.endswith("data: [DONE]\n\n")
    await pair.until_answered(UNLOAD)
