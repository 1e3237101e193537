"""
Events that are not of the usual form: none takes a stream away, and an error reaches the client.

Facts: docs/facts/lmstudio.md#sse-oddities, #stream-errors, #cut-characters, #odd-fields.
"""

import base64
import json
from typing import Any

import pytest

from conformance.tests.gateway.support import CHAT, COMPLETIONS, Pair, chat, frames, generate

SSE = {"content-type": "text/event-stream"}


def piece(text: str | None = None, finish: str | None = None, **more: Any) -> str:
    """One chunk, which both routes can read."""
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "text": text or "", "finish_reason": finish}
    return json.dumps({"id": "c", "choices": [choice], **more})


def stream(*events: str, end: str = "data: [DONE]") -> str:
    return "".join(
        f"{each if each.startswith(('data:', 'event:')) else 'data: ' + each}\n\n"
        for each in (*events, end)
    )


async def heard(pair: Pair, answer: Any, *, streamed: bool, route: str) -> dict[str, Any]:
    """Return what a client gets of an answer: its status, text, error and last line."""
    await pair.reset()
    chunk = {"base64": answer} if isinstance(answer, bytes) else answer
    path = CHAT if route == "chat" else COMPLETIONS
    pair.script({"match": {"path": path}, "answer": {"chunks": [[0, chunk]], "headers": SSE}})
    if route == "chat":
        got = await pair.post("/api/chat", chat(stream=streamed))
    else:
        got = await pair.post("/api/generate", generate(raw=True, stream=streamed))
    lines = frames(got.text) if got.text.count("\n") else [got.json()]
    texts = [
        line.get("response", "") + line.get("message", {}).get("content", "") for line in lines
    ]
    return {
        "status": got.status_code,
        "text": "".join(texts),
        "error": lines[-1].get("error", ""),
        "done": lines[-1].get("done", False),
    }


STOP = piece(None, "stop")
HALF, OTHER = piece("b").replace('"b"', '"\\ud83d"'), piece("b").replace('"b"', '"\\ude00c"')
WHOLE: dict[str, tuple[str, str]] = {
    "empty data first": (stream("data:", piece("a"), STOP), "a"),
    "empty data amid": (stream(piece("a"), "data:", "data: ", piece("b"), STOP), "ab"),
    "keep-alive as data": (stream(piece("a"), "data: : keepalive", piece("b"), STOP), "ab"),
    "a ping": (stream("event: ping\ndata: hello", piece("a"), STOP), "a"),
    "the end with a blank": (stream(piece("a"), STOP, end="data: [DONE] "), "a"),
    "null": (stream(piece("a"), "null", piece("b"), STOP), "ab"),
    "an empty object": (stream("{}", piece("a"), STOP), "a"),
    "choices null": (stream(piece("a"), '{"choices":null}', STOP), "a"),
    "null among the choices": (stream('{"choices":[null]}', piece("a"), STOP), "a"),
    "no errors": (
        stream(piece("a", error=""), piece("b", error=False), piece(None, "stop", error=None)),
        "ab",
    ),
    "no errors without choices": (
        stream(piece("a"), '{"error":"","choices":[]}', '{"error":false}', STOP),
        "a",
    ),
    "unused values": (stream(piece("a", created="1", stats=[], id={}), STOP), "a"),
    "two halves": (stream(piece("a"), HALF, OTHER, STOP), "a\U0001f600c"),
    "a half and text": (stream(HALF, piece("a"), STOP), "\ufffda"),
    "a half at the end": (stream(piece("a"), HALF, STOP), "a\ufffd"),
    "the second half alone": (stream(OTHER, STOP), "\ufffdc"),
}


@pytest.mark.parametrize("route", ["chat", "generate"])
@pytest.mark.parametrize("streamed", [True, False])
async def test_a_stream_goes_on(kept: Pair, streamed: bool, route: str) -> None:
    """To its end, with all of its text."""
    for name, (answer, text) in WHOLE.items():
        got = await heard(kept, answer, streamed=streamed, route=route)
        assert {"status": 200, "text": text, "error": "", "done": True} == got, name


async def test_bytes_that_are_not_utf_8(kept: Pair) -> None:
    """They become U+FFFD."""
    raw = stream(piece("a"), piece("b"), STOP).encode().replace(b'"b"', b'"b\xff\xf0\x9f"')
    kept.script(
        {
            "match": {"path": CHAT},
            "answer": {"chunks": [[0, {"base64": base64.b64encode(raw).decode()}]], "headers": SSE},
        }
    )

    got = await kept.post("/api/chat", chat())

    assert "ab\ufffd\ufffd\ufffd" == got.json()["message"]["content"]
    await kept.reset()


ERRORS: dict[str, str] = {
    "plain text after event: error": "event: error\ndata: out of memory",
    "the word error": "data: error: out of memory",
    "error_message": '{"choices":null,"error_type":"X","error_message":"out of memory"}',
    "an object of type error": '{"object":"error","message":"out of memory","code":500}',
    "a message alone": '{"message":"out of memory"}',
    "an object": '{"error":{"message":"out of memory"}}',
    "a text": '{"error":"out of memory"}',
}


@pytest.mark.parametrize("route", ["chat", "generate"])
async def test_an_error_reaches_the_client_in_its_words(kept: Pair, route: str) -> None:
    """First in a stream, or after text."""
    for name, event in ERRORS.items():
        got = await heard(kept, stream(piece("a"), event), streamed=True, route=route)
        assert {"status": 200, "text": "a", "error": "out of memory", "done": False} == got, name
        for streamed in (True, False):
            got = await heard(kept, stream(event), streamed=streamed, route=route)
            assert (502, "out of memory") == (got["status"], got["error"]), name


async def test_an_event_that_cannot_be_read_is_told(kept: Pair) -> None:
    """A part of the answer would be missing without a word."""
    for event in ('{"choices":[{"delta":{"content":"b', "words", "[1,2]"):
        got = await heard(kept, stream(piece("a"), event, STOP), streamed=True, route="chat")
        assert "an event of its stream can't be read" in got["error"], event
        assert not got["done"]
