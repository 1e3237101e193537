"""A one-shot answer is what its stream says event by event, however it is cut and joined."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable
from typing import Any, cast

import msgspec
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from conformance.bench.work import described
from gateway.engine.stream import Frames, Lines
from gateway.faults import UpstreamFailure
from gateway.plans import chat
from gateway.runtime.context import RequestContext
from gateway.runtime.outcome import StreamCall
from gateway.settings.schema import Settings
from gateway.types import internal, ollama, openai
from gateway.upstream.answers import EventStream, open_events
from gateway.upstream.body import Sink
from gateway.upstream.exchange import Exchange
from gateway.upstream.joining import Joiner
from gateway.wire.client_api import OLLAMA

PIECES = ("content", "logprobs", "reasoning", "reasoning_content", "tool_calls")
TIMES = ("created_at", *(f"{name}_duration" for name in ("total", "load", "prompt_eval", "eval")))


class Cut:
    """An exchange whose answer has come in these pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces
        self._has_ended = False

    async def read(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    async def read_rest(self, _limit: int | None = None) -> bytes:
        rest = b"".join(self._pieces)
        self._pieces.clear()
        return rest

    async def push(self, sink: Sink, _alike: object = None) -> None:
        while self._pieces and not self._has_ended:
            pending = sink(self._pieces.pop(0))
            if pending is not None:
                await pending

    def stop(self) -> None:
        self._has_ended = True


class Nobody:
    """A client that gets nothing before the answer is whole."""

    def push(self, part: bytes) -> Awaitable[None] | None:
        assert not part, "a line of an answer that is to come in one"
        return None


def answer(pieces: list[bytes], *, opens: bool, joiner: Joiner | None) -> Any:
    """Return what a client gets of a stream in pieces, without times and ids, or a failure."""
    context = RequestContext(Settings(), "test")
    context.model = msgspec.structs.replace(
        described(), template=internal.Template(opens_thinking=opens)
    )
    request = ollama.ChatRequest(model="m", stream=False)
    call = StreamCall(
        method="POST",
        path="/",
        body=openai.ChatCompletionRequest(model="m", messages=[]),
        chunks=chat.DECODE_CHAT_COMPLETION_CHUNK,
        pieces=PIECES,
        translator=lambda: chat.ChatStream(request, context),
        fold=chat.ChatFold,
        streamed=False,
    )

    async def run() -> Any:
        stream: EventStream = await open_events(cast("Exchange", Cut(pieces)), joiner)
        frames = Frames(call, context, stream, cast("Lines", Nobody()), OLLAMA, lambda _: None)
        lines, whole = await frames.run()
        assert not lines
        return whole

    try:
        # All has come, so nothing waits.
        run().send(None)
    except UpstreamFailure as failure:
        # The place in an event that cannot be read is another one where two were joined.
        return failure.fault, re.sub(r"\d+", "", failure.message)
    except StopIteration as end:
        whole = json.loads(OLLAMA.encode(end.value))
    for tool_call in whole["message"].get("tool_calls", ()):
        # Of a call that had none.
        tool_call.pop("id")
    return {name: value for name, value in whole.items() if name not in TIMES}


def event(delta: Any, *, finish: str | None = None, **more: Any) -> bytes:
    """Return the usual form of an event."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    data = json.dumps({"id": "c", "choices": [choice], **more}, separators=(",", ":"))
    return b"data: " + data.encode() + b"\n\n"


WORDS = ["a", " word", "", "\n", '"', "\\", "\u00e4", "\U0001f600", "<think>", "</think>", " "]
TEXT = st.sampled_from([*WORDS, "  ", "<th", "ink>", "[DONE]", "error", "data: "])
KEYS = st.sampled_from(["content", "content", "content", "reasoning_content", "reasoning"])
ALIKE = st.builds(
    lambda key, words: b"".join(event({key: word}) for word in words),
    KEYS,
    st.lists(TEXT, max_size=12),
)
HALVES = [event({"content": "b"}).replace(b'"b"', word) for word in (b'"\\ud83d"', b'"\\ude00c"')]
CALL = {"index": 0, "id": "1", "function": {"name": "f", "arguments": "{}"}}
REPEATED = event({"content": "x"}).replace(b'"x"', b'"x","content":""')
ODD = st.sampled_from(
    [
        b": keep-alive\n\n",
        b"data:\n\n",
        b"data: : keep-alive\n\n",
        b"data: null\n\n",
        b"event: ping\ndata: x\n\n",
        b"event: message\n" + event({"content": "named"}),
        b"id: 1\n" + event({"content": "with an id"}),
        event({"content": "x"}).replace(b"\n", b"\r\n"),
        event({"content": "x"}).replace(b"data: ", b"data:"),
        event({"content": "x"}).replace(b",", b",\ndata: ", 1),
        event({"content": "x"}).replace(b'"x"', b'"x","content":"y"'),
        REPEATED,
        event({"content": "x"}).replace(b'"x"', b'"x\xff"'),
        event({"content": "x"}).replace(b'"x"', b'"\\x"'),
        event({"content": "x"}).replace(b'"x"', b"7"),
        event({"content": "x"})[:-6] + b"\n\n",
        event({"content": "x", "reasoning_content": "y"}),
        event({"content": "x", "reasoning_content": ""}),
        event({"content": "x"}, usage={"prompt_tokens": 3, "completion_tokens": 5}),
        event({"tool_calls": [CALL]}),
        event({"tool_calls": [CALL], "content": "x"}),
        event({"content": None}),
        event({"role": "assistant", "content": "x"}),
        event({"content": "x"}, error=""),
        event({"content": "x"}, error={"message": "out of memory"}),
        b'data: {"error":"out of memory"}\n\n',
        b"event: error\ndata: out of memory\n\n",
        b"\n",
        *HALVES,
    ]
)
FINISH = st.sampled_from(["stop", "length", "tool_calls"]).map(lambda why: event({}, finish=why))
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":9}}\n\n'
END = st.sampled_from([b"data: [DONE]\n\n", b"data: [DONE]", b"data: [DONE] \n\n", b""])
STREAM = st.builds(
    lambda parts, finish, usage, end: b"".join((*parts, finish, usage, end)),
    st.lists(st.one_of(ALIKE, ALIKE, ODD), max_size=8),
    st.one_of(FINISH, FINISH, FINISH, st.just(b"")),
    st.sampled_from([b"", USAGE]),
    END,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STREAM, st.lists(st.integers(0, 100_000), max_size=8), st.booleans())
@example(event({"content": "a"}) + 3 * REPEATED + event({}, finish="stop"), [], True)
@example(
    b"".join(event({"content": word}) for word in "abcabc") + event({}, finish="stop"), [], True
)
def test_joined_and_cut_it_is_the_same(data: bytes, at: list[int], opens: bool) -> None:
    """Text, thinking, calls, counts, and what is said of a failure."""
    places = sorted(place % (len(data) + 1) for place in at)
    pieces = [data[i:k] for i, k in zip([0, *places], [*places, len(data)], strict=True)]
    pieces = [piece for piece in pieces if piece]

    alone = answer([data] if data else [], opens=opens, joiner=None)
    joined = answer(pieces, opens=opens, joiner=Joiner(PIECES))

    assert alone == joined
