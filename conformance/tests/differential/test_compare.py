"""What counts as a difference between two replies, and what does not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conformance.differential.compare import Difference, compare
from conformance.differential.wire import Reply

JSON = (("Content-Type", "application/json; charset=utf-8"),)
LINES = (("content-type", "application/x-ndjson"),)
FRAME = {"model": "m", "created_at": "2026-11-30T01:02:03.4Z", "done": False}


def one(value: Any, status: int = 200) -> Reply:
    """Return a reply with one JSON value, given as a value or as text."""
    text = value if isinstance(value, str) else json.dumps(value)
    return Reply(status, JSON, text.encode())


def stream(*contents: str, together: bool = False, **last: Any) -> Reply:
    """Return a stream of frames, one line a chunk or all lines in one."""
    frames = [{**FRAME, "message": {"role": "assistant", "content": text}} for text in contents]
    frames[-1] |= last
    lines = [json.dumps(frame).encode() + b"\n" for frame in frames]
    body = b"".join(lines)
    return Reply(200, LINES, body, (body,) if together else tuple(lines))


@pytest.mark.parametrize(
    ("real", "ours", "places"),
    [
        (one({"a": 1}), one({"a": 1}), []),
        (one({"a": 1}), one({"a": 1}, 400), ["status"]),
        (one({"a": 1}), one({"a": 2}), ["body.a"]),
        (one({"a": 1}), one({"a": True}), ["body.a"]),
        (one({"a": 1}), one({}), ["body.a"]),
        (one({}), one({"a": 1}), ["body.a"]),
        (one('{"a":1,"b":2}'), one('{"b":2,"a":1}'), ["body.(order)"]),
        (one('{"a":0.10}'), one('{"a":0.1}'), ["body.a"]),
        (one({"a": [1]}), one({"a": [1, 2]}), ["body.a.length"]),
        (one({"a": [{"b": 1}]}), one({"a": [{"b": 2}]}), ["body.a.0.b"]),
        (one("no json"), one("no JSON"), ["text"]),
        (one("{}"), one("{}\n"), ["newline"]),
        (Reply(200, JSON, b"{}"), Reply(200, LINES, b"{}"), ["header.content-type"]),
        (Reply(200, JSON, b"{}"), Reply(200, JSON, b"{}", whole=False), ["end"]),
    ],
)
def test_one_answer(real: Reply, ours: Reply, places: list[str]) -> None:
    """Each kind of difference has its place."""
    assert places == [found.at for found in compare(real, ours)]


@pytest.mark.parametrize(
    ("key", "real", "ours", "is_same"),
    [
        ("created_at", "2026-11-30T01:02:03.4Z", "2025-01-01T00:00:00Z", True),
        ("created_at", "2026-11-30T01:02:03.4Z", "yesterday", False),
        ("total_duration", 5, 7_000, True),
        ("total_duration", 5, 0, False),
        ("eval_count", 3, 4, True),
        ("eval_count", 3, -1, False),
        ("digest", "a" * 64, "sha256:" + "b" * 64, True),
        ("digest", "a" * 64, "b", False),
        ("capabilities", ["tools", "completion"], ["completion", "tools"], True),
        ("capabilities", ["tools"], ["completion"], False),
        ("parameters", "a 1\nb 2", "b 2\na 1", True),
        ("parameters", "a 1", "a 2", False),
        ("error", "invalid digest for a: invalid digest format", "invalid digest format", True),
        ("error", "invalid digest format", "no such file", False),
        ("parent_model", "model.gguf", "", True),
    ],
)
def test_values_by_form(key: str, real: Any, ours: Any, is_same: bool) -> None:
    """What can't be equal is compared by its form, and the form counts."""
    assert is_same is (compare(one({key: real}), one({key: ours})) == [])


def test_a_stream_is_compared_line_by_line_and_by_its_cuts() -> None:
    """Equal frames in one chunk are a difference, since some clients read a chunk as one value."""
    together = compare(stream("a", "b"), stream("a", "b", together=True))

    assert [] == compare(stream("a", "b"), stream("a", "b"))
    assert ["line.1.message.content"] == [
        found.at for found in compare(stream("a", "b"), stream("a", "c"))
    ]
    assert ["chunks"] == [found.at for found in together]


def test_streams_of_different_lengths_are_compared_by_what_they_come_to() -> None:
    """So that a frame that waits for the next one is one difference and not one a line."""
    assert ["lines"] == [found.at for found in compare(stream("a", "b", ""), stream("ab", ""))]
    assert ["lines", "fold.message.content"] == [
        found.at for found in compare(stream("a", "b", ""), stream("ac", ""))
    ]


def test_kinds_have_no_numbers() -> None:
    """The same difference in another line is of the same kind."""
    assert "line.*.a.*.b" == Difference("line.12.a.0.b", "1", "2").kind


def test_lists_of_models_are_compared_by_name_and_by_the_order_of_their_dates() -> None:
    """Models that came in another order are no difference, but oldest first is."""
    old = {"name": "b", "modified_at": "2026-11-30T01:02:03Z"}
    new = {"name": "a", "modified_at": "2026-11-30T01:02:04.5Z"}

    assert [] == compare(one({"models": [new, old]}), one({"models": [new, old]}))
    assert ["body.models.(order)"] == [
        found.at for found in compare(one({"models": [new, old]}), one({"models": [old, new]}))
    ]
