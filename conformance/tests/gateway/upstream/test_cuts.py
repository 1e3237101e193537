"""
Any stream, cut anywhere: the same answer, or an error line, and never less than that.

No sockets: bytes go through the real decoder, the real relay and the generated translators.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.runner.shared_cases import find_shared, missing_sentence
from conformance.suite.fixture import list_fixtures, load_fixture
from gateway.catalogue.catalogue import Catalogue
from gateway.catalogue.downloads import Downloads
from gateway.catalogue.uploads import Blobs
from gateway.engine.endpoint import Endpoint
from gateway.engine.model_check import ModelCheck
from gateway.engine.relay import Relay
from gateway.engine.run import Run, Services
from gateway.engine.turns import Turns
from gateway.faults import UpstreamFailure
from gateway.fleet.fleet import Fleet
from gateway.observability.record import Grant
from gateway.plans.chat import ChatFold, ChatStream
from gateway.runtime.outcome import StreamCall
from gateway.server.bodies import Bodies
from gateway.settings.schema import LimitSettings, Settings
from gateway.types import internal, ollama
from gateway.types.openai import ChatCompletionChunk
from gateway.upstream.answers import EventStream, open_events
from gateway.upstream.body import Sink
from gateway.upstream.client import Upstream
from gateway.upstream.exchange import Exchange
from gateway.upstream.joining import Joiner
from gateway.wire.client_api import OLLAMA

SETTINGS = Settings()
YES = internal.Capabilities(
    completion="yes",
    embedding="no",
    insert="no",
    thinking="yes",
    tools="yes",
    vision="no",
    decision="no",
)
ROW = internal.CatalogueRow(
    key="harbor/lantern-8b",
    request_key="harbor/lantern-8b",
    instances_of="harbor/lantern-8b",
    name="lantern-8b:latest",
    kind="llm",
    display_name="",
    architecture="",
    family="",
    format="gguf",
    quantization="",
    parameter_size="",
    size_bytes=1,
    digest="",
    modified_at="",
    capabilities=YES,
    shown_capabilities=[],
    reasoning_options=[],
    instances=[],
)
REQUEST = ollama.ChatRequest(model="lantern-8b", messages=[])
PIECES = ("content", "logprobs", "reasoning", "reasoning_content", "tool_calls")
"""The members of chunks that hold pieces of a whole."""


class Body:
    """What arrives, piece by piece; with `is_cut` the connection is lost after the last one."""

    is_success = True

    def __init__(self, pieces: list[bytes], *, is_cut: bool) -> None:
        self._pieces = [piece for piece in pieces if piece]
        self._is_cut = is_cut
        self._is_stopped = False

    async def read(self) -> bytes:
        """Return the next piece."""
        if self._pieces:
            return self._pieces.pop(0)
        if self._is_cut:
            raise UpstreamFailure("cut", fault="closed_mid_stream")
        return b""

    async def push(self, sink: Sink, _alike: object = None) -> None:
        """Hand over all that is left."""
        while not self._is_stopped and (data := await self.read()):
            if (pending := sink(data)) is not None:
                await pending

    def stop(self) -> None:
        """Hand over nothing more."""
        self._is_stopped = True

    async def read_rest(self, limit: int | None = None) -> bytes:
        """Return all that is left."""
        rest = b""
        while data := await self.read():
            rest += data
        return rest


class Known:
    """A catalogue that knows every model for the one asked for."""

    def key_for(self, identifier: str) -> str:
        """Return the one key."""
        return ROW.key


class Source:
    """An upstream whose every stream is one body."""

    def __init__(self, body: Body) -> None:
        self._body = cast("Exchange", body)

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, body: bytes, joiner: Joiner | None
    ) -> AsyncIterator[EventStream]:
        """Open the body as events."""
        yield await open_events(self._body, joiner)


class Client:
    """A client that keeps everything."""

    is_gone = False
    pinned: str | None = None
    served_by = ""
    held_bytes = 0
    grant: Grant | None = None

    def __init__(self) -> None:
        self.is_started = self.is_finished = False
        self.status = 200
        self.got = b""

    def start_after(self, seconds: float) -> None:
        """Never start by itself."""

    def stop_waiting(self) -> None:
        """Have nothing to forget."""

    def add_header(self, name: str, value: str) -> None:
        """Look at no header."""

    async def answer(
        self, status: int, content_type: bytes, body: bytes | list[bytes | memoryview]
    ) -> None:
        """Keep a whole answer."""
        assert not self.is_started
        self.is_started = self.is_finished = True
        self.status, self.got = status, body if isinstance(body, bytes) else b"".join(body)

    def push(self, part: bytes) -> None:
        """Keep lines."""
        assert not self.is_finished
        self.is_started = True
        self.got += part

    def leave(self) -> None:
        """Nobody leaves here."""

    async def finish(self, lines: bytes = b"") -> None:
        """Keep lines, and note the end."""
        self.is_started = self.is_finished = True
        self.got += lines


def answer(pieces: list[bytes], *, streamed: bool = True, is_cut: bool = False) -> Client:
    """Return what a client gets for a stream that arrives in these pieces."""

    async def plan(request: Any, run: Run) -> Any:
        run.context.model = ROW
        return StreamCall(
            method="POST",
            path="/",
            body=REQUEST,
            chunks=msgspec.json.Decoder(ChatCompletionChunk),
            pieces=PIECES,
            translator=lambda: ChatStream(REQUEST, run.context),
            fold=ChatFold,
            streamed=streamed,
        )

    client = Client()
    catalogue = cast("Catalogue", Known())
    upstream = cast("Upstream", Source(Body(pieces, is_cut=is_cut)))
    host = SimpleNamespace(upstream=upstream, catalogue=catalogue)
    relay = Relay(
        OLLAMA,
        SETTINGS,
        Services(
            cast("Fleet", SimpleNamespace(first=host, is_one=True)),
            catalogue,
            cast("Downloads", None),
            Blobs(),
            Turns(),
            Bodies(LimitSettings()),
        ),
        ModelCheck(SETTINGS),
    )
    asyncio.run(relay.serve(Endpoint("POST", "/api/chat", plan, None), [b""], "", client))
    assert client.is_finished
    return client


def folded(client: Client) -> dict[str, Any]:
    """Return the one answer of a client's frames; its error is its text, its times are left out."""
    lines = client.got.decode().splitlines()
    whole: dict[str, Any] = {"content": "", "thinking": "", "error": None, "done": False}
    for number, line in enumerate(lines):
        frame = json.loads(line)
        if "error" in frame:
            assert number == len(lines) - 1
            whole["error"] = frame["error"]
            continue
        message = frame["message"]
        whole["content"] += message["content"]
        whole["thinking"] += message.get("thinking", "")
        whole |= {name: frame[name] for name in ("done_reason", "eval_count") if name in frame}
        calls = message.get("tool_calls")
        whole |= {"calls": calls} if calls else {}
        assert not whole["done"]
        whole["done"] = frame["done"]
    assert whole["done"] is (whole["error"] is None)
    return whole


def recorded() -> list[bytes]:
    """Return the streams on record: our fixtures, and the shared recordings where they are."""
    found = [
        fixture.body
        for name in list_fixtures()
        if (fixture := load_fixture(name)).is_stream and fixture.path.endswith("chat/completions")
    ]
    shared = find_shared()
    for path in (
        sorted((shared / "recordings" / "lmstudio").glob("oai-chat-stream*.json"))
        if (shared is not None)
        else ()
    ):
        text = json.loads(path.read_text(encoding="utf-8"))["response"].get("sse")
        found += [text.encode()] if isinstance(text, str) else []
    return found


deltas = st.fixed_dictionaries(
    {},
    optional={
        "content": st.text(alphabet="ab<think>/ \n\u00e9\U0001f642", max_size=9),
        "reasoning_content": st.sampled_from(["", "Hm", " ", "\n"]),
        "role": st.just("assistant"),
        "tool_calls": st.lists(
            st.fixed_dictionaries(
                {"function": st.fixed_dictionaries({"arguments": st.sampled_from(["{", "}"])})},
                optional={"index": st.integers(0, 1), "id": st.sampled_from(["1", "2"])},
            ),
            max_size=2,
        ),
    },
)
events = st.one_of(
    st.builds(lambda delta: {"choices": [{"index": 0, "delta": delta}]}, deltas),
    st.just({"choices": []}),
    st.just({"error": {"message": "No."}}),
    st.just({"choices": [{"delta": {}, "finish_reason": "stop"}]}),
    st.just({"choices": [], "usage": {"completion_tokens": 3}}),
)
ends = st.sampled_from([b"data: [DONE]\n\n", b"", b": ping\r\n\r\n", b"data: {"])


@st.composite
def made(draw: st.DrawFn) -> bytes:
    """Draw a stream."""
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    chunks = draw(st.lists(events, max_size=6))
    texts = [json.dumps(chunk, ensure_ascii=draw(st.booleans())) for chunk in chunks]
    return "".join(f"data: {text}{newline * 2}" for text in texts).encode() + draw(ends)


@st.composite
def runs(draw: st.DrawFn) -> bytes:
    """Draw a stream of many alike events, as a model's are, with a few others among them."""
    words = st.text(alphabet='ab<think>/ \n"\\\u00e9\U0001f642', max_size=4)
    kinds = st.sampled_from(["content", "content", "reasoning_content"])
    said = draw(st.lists(st.tuples(kinds, st.lists(words, max_size=8)), max_size=4))
    others: list[dict[str, Any]] = [{}, {"role": "assistant"}, {"tool_calls": []}]
    more = draw(st.sampled_from(others))
    chunks: list[Any] = [
        {"choices": [{"index": 0, "delta": {**more, kind: word}, "finish_reason": None}]}
        for kind, texts in said
        for word in texts
    ]
    for _ in range(draw(st.integers(0, 2))):
        chunks.insert(draw(st.integers(0, len(chunks))), draw(events))
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    separators = draw(st.sampled_from([(",", ":"), None]))
    is_ascii = draw(st.booleans())
    texts = [json.dumps(each, ensure_ascii=is_ascii, separators=separators) for each in chunks]
    return "".join(f"data: {text}\n\n" for text in texts).encode() + draw(ends)


RECORDED = recorded()
streams = st.one_of(st.sampled_from(RECORDED), made(), runs())
places = st.lists(st.integers(0, 1_000_000), max_size=8)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    """Cut bytes at these places."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in at)})
    return [data[start:end] for start, end in pairwise(edges)]


@pytest.fixture(autouse=True, scope="module")
def _ids_are_alike() -> Iterator[None]:
    """An id that is made for a call without one is drawn anew for each answer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gateway.transforms.tool_fragments.token_hex", lambda size: "0" * 2 * size)
        yield


def test_there_is_something_on_record() -> None:
    """Our own fixtures at least."""
    assert len(RECORDED) >= 10


def test_genuine_streams_are_among_them() -> None:
    """Recordings of LM Studio come from outside this project."""
    if find_shared() is None:
        pytest.skip(missing_sentence())
    assert len(RECORDED) >= 10 + len(list_fixtures()) // 2


@settings(max_examples=150)
@given(streams, places)
def test_a_cut_changes_nothing(data: bytes, at: list[int]) -> None:
    """However it arrives, the client gets the same answer or the same error."""
    whole, pieces = answer([data]), answer(cut(data, at))
    if whole.status != 200 or pieces.status != 200:
        # What fails at once is a status; cut, it may fail after a first frame.
        assert "error" in json.loads(whole.got.splitlines()[-1])
        assert "error" in json.loads(pieces.got.splitlines()[-1])
    else:
        assert folded(whole) == folded(pieces)


@settings(max_examples=150)
@given(streams, st.integers(0, 1_000_000), st.booleans())
def test_a_lost_connection_is_never_an_answer(data: bytes, at: int, streamed: bool) -> None:
    """Only a stream that said it is over may be an answer: what came by then is the whole."""
    data = data[: at % (len(data) + 1)]
    client = answer([data], streamed=streamed, is_cut=True)
    last = json.loads(client.got.splitlines()[-1])
    if "error" not in last:
        assert b"[DONE]" in data
        assert b"finish_reason" in data


@settings(max_examples=100)
@given(streams, places)
def test_one_answer_is_the_fold_of_the_frames(data: bytes, at: list[int]) -> None:
    """What a client puts together is what the other one gets, and both fail or none does."""
    frames, one = answer(cut(data, at)), answer(cut(data, at), streamed=False)
    if one.status != 200:
        assert "error" in json.loads(frames.got.splitlines()[-1])
    else:
        assert folded(frames) == folded(one)
