"""Alike events are joined, others never; nothing waits for more after the end or an error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.tests.bench.test_work import count_calls
from gateway.upstream.joining import Joiner
from gateway.upstream.sse import SseDecoder

NAMES = ("content", "logprobs", "reasoning_content", "tool_calls")


def event(delta: dict[str, Any], **more: Any) -> bytes:
    """Return an event as LM Studio writes one."""
    chunk = {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": delta, **more}]}
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def texts(data: bytes, name: str = "content") -> list[str]:
    """Return the texts of a stream's events."""
    decoder = SseDecoder()
    chunks = [json.loads(each.data) for each in decoder.feed(data) + decoder.close()]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    return [delta[name] for delta in deltas if name in delta]


def joined(data: bytes) -> tuple[bytes, int]:
    """Return a whole stream joined, and how many pieces became part of another event."""
    joiner = Joiner(NAMES)
    return joiner.feed(data) + joiner.rest(), joiner.joined


def test_two_kinds_of_texts_are_joined_each_by_itself() -> None:
    """Thinking stays before the answer, and the last event stays as it is."""
    last = event({}, finish_reason="stop")
    thinking = [event({"reasoning_content": word}) for word in "abcd"]
    content = [event({"content": word}) for word in "efgh"]
    data, count = joined(b"".join((*thinking, *content, last)))

    assert (["abcd"], ["efgh"]) == (texts(data, "reasoning_content"), texts(data))
    assert data.endswith(last)
    assert 6 == count


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            {"content": "a", "tool_calls": [{"id": "1"}]},
            {"content": "b", "tool_calls": [{"id": "1"}]},
        ),
        ({"reasoning_content": "x", "content": "a"}, {"reasoning_content": "x", "content": "b"}),
        ({"reasoning_content": "x"}, {"content": "b"}),
        ({"content": "a", "n": 1}, {"content": "b", "n": 2}),
    ],
    ids=["the same call", "the same thinking", "another kind", "another member"],
)
def test_events_that_say_more_are_not_joined(before: dict[str, Any], after: dict[str, Any]) -> None:
    """What they say besides would be lost, or counted once instead of twice."""
    data = b"".join((event(before), event(before), event(after), event(after)))
    once = event(before) * 2 + event(after) * 2

    assert (once, 0) == joined(data) or texts(data) != texts(joined(data)[0])
    kept, _ = joined(data)
    for name in ("content", "reasoning_content", "tool_calls"):
        assert "".join(map(str, texts(data, name))).replace("][", "") == "".join(
            map(str, texts(kept, name))
        ).replace("][", "")


def test_an_event_of_another_kind_in_between_is_not_swallowed() -> None:
    """It ends in the same bytes, and its text is another."""
    data = b"".join(event({name: "a"}) for name in ("content", "reasoning_content", "content"))

    assert (data, 0) == joined(data)


def test_an_empty_piece_is_not_counted() -> None:
    """As one that comes by itself is not."""
    words = ["", "a", "", "b", ""]
    data, count = joined(b"".join(event({"content": word}) for word in words))

    assert ["", "ab"] == texts(data)
    assert 1 == count


def test_bytes_that_are_no_text_are_left_alone() -> None:
    """An event that cannot be read costs no other one."""
    bad = event({"content": "a"}).replace(b'"a"', b'"\\x"')
    data = event({"content": "a"}) + bad + event({"content": "b"})

    assert (data, 0) == joined(data)


@pytest.mark.parametrize("word", [b"data: [DONE]\n\n", b'event: error\ndata: {"m": 1}\n\n'])
@pytest.mark.parametrize("at", range(1, 8))
def test_nothing_waits_after_an_end(word: bytes, at: int) -> None:
    """However it is cut, it is handed over with the bytes that complete it."""
    joiner = Joiner(NAMES)
    start = event({"content": "a"})
    joiner.hold(start)
    got = joiner.feed(word[: 6 + at])
    got += joiner.feed(word[6 + at :])

    assert start + word == got


def test_an_end_that_came_with_the_first_event_is_handed_over_at_once() -> None:
    """Nothing more may come."""
    joiner = Joiner(NAMES)
    joiner.hold(event({"content": "a"}) + b"data: [DONE]\n\n")

    assert joiner.feed(b"").endswith(b"data: [DONE]\n\n")


def test_what_is_gathered_has_a_bound() -> None:
    """A run is handed over before it takes much memory, and its last, cut event with the next."""
    joiner = Joiner(NAMES)
    one = event({"content": "word "})
    handed = []
    most = 0
    held = 0
    for _ in range(5000):
        held += len(one)
        if ready := joiner.feed(one[:40]) + joiner.feed(one[40:]):
            handed.append(ready)
            held = 0
        most = max(most, held)
    handed.append(joiner.rest())

    assert most < 70_000
    assert "word " * 5000 == "".join(texts(b"".join(handed)))
    assert len(handed) == len(texts(b"".join(handed)))


@given(
    st.lists(st.tuples(st.sampled_from(["content", "reasoning_content"]), st.text(max_size=5))),
    st.lists(st.integers(0, 10_000), max_size=5),
)
def test_no_text_is_lost(said: list[tuple[str, str]], at: list[int]) -> None:
    """Whatever the texts, and wherever the stream is cut."""
    data = b"".join(event({name: text}) for name, text in said)
    joiner = Joiner(NAMES)
    got = b""
    places = sorted(place % (len(data) + 1) for place in at)
    for start, end in zip([0, *places], [*places, len(data)], strict=True):
        got += joiner.feed(data[start:end])
    got += joiner.rest()

    for name in ("content", "reasoning_content"):
        assert "".join(texts(data, name)) == "".join(texts(got, name))
    assert sum(bool(text) for _, text in said) == joiner.joined + sum(
        bool(text) for name in ("content", "reasoning_content") for text in texts(got, name)
    )


def test_a_token_that_is_gathered_costs_one_call() -> None:
    """Nothing is looked at before the end, or before many have come."""
    joiner = Joiner(NAMES)
    one = event({"content": "word "})

    assert 1 == count_calls(lambda: joiner.feed(one)) - count_calls(lambda: None)


def test_more_alike_events_cost_few_more_calls() -> None:
    """The end of a row is searched in halves, and the row is joined as a whole."""

    def calls(number: int) -> int:
        data = event({"content": "word "}) * number + b"data: [DONE]\n\n"
        return count_calls(lambda: Joiner(NAMES).feed(data))

    assert calls(10) == calls(200)


@pytest.mark.parametrize(
    "end", ["\n\n", "\n\n\n", "\n\n\n\n", "\n", "\r\n\r\n", "\r\n", "\r\r", "\r"]
)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_no_line_end_doubles_or_loses_a_piece(mark: str, end: str) -> None:
    """Whatever is between events, in pieces of any size."""
    words = [event({"content": word}).decode().rstrip() for word in ("a", "b", "c", "d")]
    data = (mark + "".join(word + end for word in words)).encode()
    for size in range(1, len(data) + 1):
        joiner, decoder = Joiner(NAMES), SseDecoder()
        events = []
        for at in range(0, len(data), size):
            events += decoder.feed(joiner.feed(data[at : at + size]))
        events += decoder.feed(joiner.rest()) + decoder.close()
        deltas = [json.loads(each.data)["choices"][0]["delta"] for each in events]
        assert "abcd" == "".join(delta["content"] for delta in deltas), size
