"""Chunks of which only the text is kept: the answer is what it is without that, and as prompt."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.upstream.alike import Alike, Kind
from gateway.upstream.body import TransportFault
from gateway.upstream.connection import Connection
from gateway.upstream.joining import Joiner

NAMES = ("content", "reasoning_content", "tool_calls")
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"
ERROR = b'event: error\ndata: {"error":{"message":"out of memory"}}\n\n'


def event(**delta: Any) -> bytes:
    """Return an event as LM Studio writes one."""
    chunk = {"id": "1", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def http_chunk(data: bytes) -> bytes:
    """Return bytes as one chunk of HTTP."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Wire(asyncio.Transport):
    """A transport that sends nothing and stays open."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Know nothing."""
        return default

    def is_closing(self) -> bool:
        """Stay open."""
        return False

    def write(self, data: Any) -> None:
        """Send nothing."""

    def pause_reading(self) -> None:
        """Go on."""

    resume_reading = abort = close = pause_reading


async def received(reads: list[bytes], *, keeps_texts: bool) -> tuple[list[bytes], int, int]:
    """Return what a joiner hands over after each read, how much it joined, and what it was fed."""
    joiner = Joiner(NAMES)
    connection = Connection("there", lambda _: None)
    connection.connection_made(Wire())
    asyncio.get_running_loop().call_soon(connection.data_received, HEAD)
    _, _, body = await connection.carry("POST", b"", b"", is_chunked=False)
    ready: list[bytes] = []
    fed = 0

    def take(data: bytes) -> None:
        nonlocal fed
        fed += 1
        ready.append(joiner.feed(data))

    pushing = asyncio.ensure_future(body.push(take, joiner.alike if keeps_texts else None))
    await asyncio.sleep(0)
    handed: list[bytes] = []
    for read in reads:
        ready.clear()
        connection.data_received(read)
        handed.append(b"".join(ready))
    connection.connection_lost(None)
    await asyncio.gather(pushing, return_exceptions=True)
    return [*handed, joiner.rest()], joiner.joined, fed


def pieces_of(data: bytes) -> list[tuple[str, str]]:
    """Return the texts of events in their order by their member, neighbours of one put together."""
    found: list[tuple[str, str]] = []
    for block in data.split(b"\n\n"):
        if not block.startswith(b'data: {"id"'):
            found += [("other", block.decode())] if block else []
            continue
        try:
            delta = json.loads(block.removeprefix(b"data: "))["choices"][0]["delta"]
        except ValueError:
            delta = {"broken": block.decode()}
        for name, text in delta.items():
            if found and found[-1][0] == name:
                found[-1] = (name, found[-1][1] + str(text))
            else:
                found.append((name, str(text)))
    return found


TEXTS = st.one_of(
    st.sampled_from(
        ["a", "", '"', "\\", "x\\", "error", "[DONE]", "\n\n", "é", "\U0001f600", "a" * 250]
    ),
    st.text(max_size=5),
)
EVENTS = st.one_of(
    st.lists(st.builds(lambda text: event(content=text), TEXTS), min_size=1, max_size=5),
    st.lists(st.builds(lambda text: event(reasoning_content=text), TEXTS), max_size=5),
    st.builds(lambda text: [event(content=text, tool_calls="x")], TEXTS),
    st.sampled_from([[b": ping\n\n"], [event(role="assistant", content="")], [ERROR], [DONE]]),
)


@given(
    st.lists(EVENTS, min_size=1, max_size=8),
    st.lists(st.integers(0, 400), max_size=6),
    st.booleans(),
    st.booleans(),
)
@example([[event(content=word) for word in "abcdefgh"]], [], False, False)
def test_an_answer_is_the_same_however_it_comes(
    rows: list[list[bytes]], cuts: list[int], joins_reads: bool, splits_events: bool
) -> None:
    """Chunk by chunk, several in a read, a chunk in several, and an event in several chunks."""
    whole = [one for row in rows for one in row]
    if splits_events:
        whole = [part for one in whole for part in (one[:20], one[20:]) if part]
    chunks = [*map(http_chunk, whole), LAST]
    if joins_reads:
        chunks = [b"".join(chunks[at : at + 2]) for at in range(0, len(chunks), 2)]
    reads: list[bytes] = []
    for chunk in chunks:
        at = cuts[len(reads) % len(cuts)] if cuts else 0
        reads += [part for part in (chunk[:at], chunk[at:]) if part]

    plain, _, _ = asyncio.run(received(reads, keeps_texts=False))
    found, _, _ = asyncio.run(received(reads, keeps_texts=True))

    assert pieces_of(b"".join(plain)) == pieces_of(b"".join(found))
    for one, other, read in zip(plain, found, reads, strict=False):
        if (b"data: [DONE]" in read or b"event: error" in read) and one:
            assert other, "what ends an answer is handed over at once"


async def test_of_alike_chunks_nothing_is_parsed() -> None:
    """Of a hundred tokens, those go the long way of which the kind is learned, and the end."""
    reads = [http_chunk(event(content=f"{n} ")) for n in range(100)]
    reads.append(http_chunk(DONE) + LAST)

    handed, joined, fed = await received(reads, keeps_texts=True)

    expected = "".join(f"{n} " for n in range(100))
    assert [("content", expected), ("other", "data: [DONE]")] == pieces_of(b"".join(handed))
    assert 99 == joined
    assert fed <= 3


@pytest.mark.parametrize("bad", [b"1\r\nx\r\n", b"zz\r\n"], ids=["in-an-event", "no-chunk"])
async def test_bytes_between_are_not_lost(bad: bytes) -> None:
    """What is no event breaks the answer where it broke it before."""
    good = [http_chunk(event(content=word)) for word in "abcd"]

    plain = await received([*good, bad, *good], keeps_texts=False)
    found = await received([*good, bad, *good], keeps_texts=True)

    assert pieces_of(b"".join(plain[0])) == pieces_of(b"".join(found[0]))


def test_texts_kept_have_a_bound() -> None:
    """Then a chunk goes the long way, and what was kept before it."""
    alike = Alike(lambda _: Kind(b'{"t":"', b'"}'))
    one = http_chunk(b'{"t":"a"}\n\n')
    alike.look(one, [b'{"t":"a"}\n\n'])

    taken = [alike.take(one) for _ in range(600)]

    assert 512 == sum(taken) == len(alike.texts)
    assert not alike.take(http_chunk(b'{"t":"%b"}\n\n' % (b"a" * 5000)))


async def test_silence_is_counted_from_the_last_chunk_taken() -> None:
    """A text that is kept is no silence, and a lost connection is told at once."""
    joiner = Joiner(NAMES)
    connection = Connection("there", lambda _: None)
    connection.connection_made(Wire())
    asyncio.get_running_loop().call_soon(connection.data_received, HEAD)
    _, _, body = await connection.carry("POST", b"", b"", is_chunked=False)

    def take(data: bytes) -> None:
        joiner.feed(data)

    pushing = asyncio.ensure_future(body.push(take, joiner.alike))
    await asyncio.sleep(0)
    one = http_chunk(event(content="a"))
    for _ in range(3):
        body.waiting_since = 0.0
        connection.data_received(one)
        assert body.waiting_since > 0.0
    assert joiner.alike.texts

    connection.connection_lost(None)

    with pytest.raises(TransportFault, match="middle"):
        await pushing
