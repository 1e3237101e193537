"""The decoder of server-sent events."""

import collections

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.sse import Event, EventTooLong, SseDecoder

BOM = b"\xef\xbb\xbf"
CHUNK = b'data: {"choices":[{"delta":{"content":"caf\xc3\xa9 \xf0\x9f\x91\x8d"}}]}\n\n'

LINES = st.sampled_from(
    [
        b"",
        b"",
        b"data: x",
        b"data:x",
        b"data:  two blanks",
        b"data",
        b"data:",
        b"data: \xe2\x82\xac",
        b"event: error",
        b"event:",
        b"event",
        b"id: 7",
        b"retry: 10",
        b": ping",
        b":",
        b"nonsense",
        b" data: x",
    ]
)
STREAMS = st.builds(
    lambda mark, lines, tail: mark + b"".join(line + end for line, end in lines) + tail,
    st.sampled_from([b"", b"", BOM]),
    st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b"\r"]))),
    LINES,
)


def read_all(pieces: list[bytes]) -> list[Event]:
    decoder = SseDecoder()
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.close()


def read_by_the_book(stream: bytes) -> list[Event]:
    """The HTML standard's steps, one line after the other, and the unended event as well."""
    events: list[Event] = []
    name: bytes = b""
    data: list[bytes] = []
    text = stream.removeprefix(BOM).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for line in [*text.split(b"\n"), b""]:
        if not line:
            if data:
                events.append(Event(name.decode(), b"\n".join(data)))
            name, data = b"", []
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    return events


def cut_up(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({min(cut, len(stream)) for cut in cuts})
    return [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]


@given(STREAMS)
def test_reads_as_the_standard_says(stream: bytes) -> None:
    """Every stream gives the events that the standard's own steps give."""

    assert read_by_the_book(stream) == read_all([stream])


@given(STREAMS, st.lists(st.integers(0, 200), max_size=12))
def test_boundaries_do_not_matter(stream: bytes, cuts: list[int]) -> None:
    """The same bytes in other pieces, empty ones included, give the same events."""

    assert read_all([stream]) == read_all(cut_up(stream, cuts))


@given(STREAMS)
def test_one_byte_at_a_time(stream: bytes) -> None:
    """The same bytes one by one give the same events."""

    assert read_all([stream]) == read_all([bytes([byte]) for byte in stream])


@pytest.mark.parametrize("place", range(len(CHUNK) + 1))
def test_characters_survive_any_cut(place: int) -> None:
    """A character of several bytes, split anywhere, arrives whole."""
    stream = CHUNK * 2

    expected = [Event("", CHUNK[6:-2])] * 2
    assert expected == read_all([stream[:place], stream[place:]])
    assert expected == read_all([stream[: place + len(CHUNK)], stream[place + len(CHUNK) :]])


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data:x\n\n", [Event("", b"x")]),
        (b"data:  x\n\n", [Event("", b" x")]),
        (b"data: a\ndata: b\ndata\n\n", [Event("", b"a\nb\n")]),
        (b"event: error\ndata: {}\n\ndata: 1\n\n", [Event("error", b"{}"), Event("", b"1")]),
        (b"event: lost\n\ndata: 1\n\n", [Event("", b"1")]),
        (b": ping\n\n: ping\n\n", []),
        (b"id: 1\nretry: 5\ndata: x\n\n", [Event("", b"x")]),
        (BOM + b"data: x\n\n", [Event("", b"x")]),
        (b"data: x\n\n" + BOM + b"data: y\n\n", [Event("", b"x")]),
        (b"data: x\r\rdata: y\r\n\r\n", [Event("", b"x"), Event("", b"y")]),
        (b"data: x\n\n\n\n\ndata: y\n\n", [Event("", b"x"), Event("", b"y")]),
        (b"event: caf\xc3\xa9\ndata: x\n\n", [Event("café", b"x")]),
        (b"event: \xff\ndata: x\n\n", [Event("\N{REPLACEMENT CHARACTER}", b"x")]),
    ],
)
def test_examples(stream: bytes, expected: list[Event]) -> None:
    """The forms of lines that servers send."""

    assert expected == SseDecoder().feed(stream)


@pytest.mark.parametrize("rest", [b"data: x", b"data: x\n", b"data: x\r", b"data: x\r\n"])
def test_close_returns_what_has_no_blank_line(rest: bytes) -> None:
    """An event that the end of the stream cut off comes out once, on closing."""
    decoder = SseDecoder()

    assert [Event("", b"a")] == decoder.feed(b"data: a\n\n" + rest)
    assert [Event("", b"x")] == decoder.close()
    assert [] == decoder.close()


def test_a_cr_at_the_end_of_a_piece_ends_the_event() -> None:
    """A blank line made of CR does not wait for the LF that may never come."""
    decoder = SseDecoder()

    assert [Event("", b"x")] == decoder.feed(b"data: x\r\r")
    assert [Event("", b"y")] == decoder.feed(b"\ndata: y\r\n\r")
    assert [] == decoder.feed(b"\n")


def test_only_an_lf_right_after_a_cr_belongs_to_it() -> None:
    """An LF that ends a line begun after a CR, in an earlier piece, still ends that line."""
    decoder = SseDecoder()

    assert [] == decoder.feed(b"event: x\rdata: 1")
    assert [Event("x", b"1")] == decoder.feed(b"\n\n")


def test_a_large_event_in_tiny_pieces() -> None:
    """One event of a megabyte, fed byte by byte, arrives; doing so in squared time would hang."""
    decoder = SseDecoder()
    for byte in b"data: " + b"x" * 1_000_000:
        assert not decoder.feed(bytes((byte,)))

    assert [Event("", b"x" * 1_000_000)] == decoder.feed(b"\n\n")


LIMIT = 20


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_an_event_of_the_limit_passes(end: bytes, size: int) -> None:
    """An event of just the limit's bytes is no error, in pieces of any size."""
    decoder = SseDecoder(LIMIT)
    stream = (b"data: " + b"x" * LIMIT + end) * 2
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    events = [event for piece in pieces for event in decoder.feed(piece)]

    assert [Event("", b"x" * LIMIT)] * 2 == events


@pytest.mark.parametrize(
    "stream",
    [
        b"data: " + b"x" * (LIMIT + 1) + b"\n\n",
        b"data: " + b"x" * (LIMIT + 1) + b"\r\n\r\n",
        b"data: 1\n\ndata: " + b"x" * (LIMIT + 1) + b"\n\n",
        b"data: x\n" * LIMIT + b"\n",
        b": " + b"x" * (LIMIT + 10),
        b"x" * (LIMIT + 10),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_longer_event_is_refused(stream: bytes, size: int) -> None:
    """What grows beyond the limit is refused, with or without an end, in pieces of any size."""
    decoder = SseDecoder(LIMIT)
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]

    with pytest.raises(EventTooLong, match=str(LIMIT)):
        collections.deque(map(decoder.feed, pieces), maxlen=0)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            [b'data: {"n":1}', b'data:{"n":{}}', b"data: [DONE]"],
            [b'{"n":1}', b'{"n":{}}', b"[DONE]"],
        ),
        ([b"data: {", b'data: "n":{}', b"data: }", b""], [b'{\n"n":{}\n}']),
        ([b'data: {"n":', b"data: {}}", b"", b"data: [DONE]"], [b'{"n":\n{}}', b"[DONE]"]),
        (
            [b'data: {"n":1}', b"", b'data: {"n":2}', b'data: {"n":3}'],
            [b'{"n":1}', b'{"n":2}', b'{"n":3}'],
        ),
        ([b"data: {}}", b"data: {}"], [b"{}}\n{}"]),
    ],
    ids=["a line each", "one over lines", "one over two", "both", "no object"],
)
def test_a_line_after_a_whole_object_is_another_event(
    lines: list[bytes], expected: list[bytes], end: bytes
) -> None:
    """Some servers write no blank lines; JSON over several lines stays one event."""
    stream = end.join([*lines, b""])
    for size in range(1, len(stream) + 1):
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        assert expected == [event.data for event in read_all(pieces)]


def test_a_whole_object_does_not_wait_for_the_end() -> None:
    """The next line shows that it was an event."""
    decoder = SseDecoder()
    assert [] == decoder.feed(b'data: {"n":1}\n')
    assert [Event("", b'{"n":1}')] == decoder.feed(b'data: {"n":2}\n')


def test_names_without_blank_lines() -> None:
    """A name before the next object is that object's; one behind a nameless object is its own."""
    named = b'event: a\ndata: {"n":1}\nevent: b\ndata: {"n":2}\n'
    assert [Event("a", b'{"n":1}'), Event("b", b'{"n":2}')] == read_all([named])
    assert [Event("error", b'{"n":1}')] == read_all([b'data: {"n":1}\nevent: error\n\n'])
