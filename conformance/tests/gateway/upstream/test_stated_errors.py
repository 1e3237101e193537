"""Reading what LM Studio and servers like it state as errors."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.faults import MAX_MESSAGE_CHARS, Refusal, UpstreamFailure
from gateway.upstream.stated_errors import (
    StatedError,
    describe_body,
    is_unknown_endpoint,
    read_error,
    read_event_error,
    read_hidden_error,
)

ENVELOPES = [
    ({"error": "text"}, StatedError("text", None)),
    ({"error": {"message": "text"}}, StatedError("text", None)),
    ({"error": {"message": "text"}, "message": "again"}, StatedError("text", None)),
    ({"error": {"message": "text", "code": None, "type": None}}, StatedError("text", None)),
    ({"error": {"message": "text", "type": "t", "code": None}}, StatedError("text", "t")),
    ({"error": {"message": "text", "type": "t", "code": "c"}}, StatedError("text", "c")),
    ({"error": {"message": "text", "code": 404}}, StatedError("text", "404")),
    ({"error": {"message": "text", "code": False}}, StatedError("text", None)),
    ({"error": {"type": "t"}}, StatedError("t", "t")),
    ({"error": {"code": 7}}, StatedError("", "7")),
    ({"error": "code", "error_description": "text"}, StatedError("text", None)),
    ({"error": {}, "message": "text"}, StatedError("text", None)),
    ({"error": {"error": {"message": "text", "code": "c"}}}, StatedError("text", "c")),
    ({"error": {"message": {"message": "text"}}}, StatedError("text", None)),
    ({"error": '{"error":{"message":"text"}}'}, StatedError("text", None)),
    ({"error": ["", {"message": "text"}]}, StatedError("text", None)),
    ({"error": {"title": "text"}}, StatedError("text", None)),
    ({"error": 7}, StatedError("", None)),
]
LENIENT = [
    ({"title": "text"}, StatedError("text", None)),
    ({"message": "text"}, StatedError("text", None)),
    ({"message": "text", "code": "c"}, StatedError("text", "c")),
    ({"detail": "text"}, StatedError("text", None)),
    ({"detail": [{"loc": ["body", "model"], "msg": "text"}]}, StatedError("text", None)),
    ({"errors": ["text"]}, StatedError("text", None)),
    ({"errors": [{"message": "text", "code": "c"}]}, StatedError("text", None)),
    ({"msg": "text"}, StatedError("text", None)),
    ({"error_message": "text"}, StatedError("text", None)),
    ({"error": None, "reason": "text"}, StatedError("text", None)),
    ({"error": {"message": {"text": "text"}}}, StatedError("text", None)),
    ([{"message": "text"}], StatedError("text", None)),
    (["text"], StatedError("text", None)),
    ({"error": "", "message": "text"}, StatedError("text", None)),
    ({"error": {}}, StatedError("", None)),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["error", "message", "title", "code", "type", "detail", "x"]), inner
        )
    ),
)


@pytest.mark.parametrize(("body", "expected"), ENVELOPES + LENIENT)
def test_reads_every_envelope(body: Any, expected: StatedError) -> None:
    """Every shape in which errors come is read, whatever is missing, null or nested."""

    assert expected == read_error(json.dumps(body).encode())


@pytest.mark.parametrize(("body", "expected"), ENVELOPES)
def test_finds_the_error_in_a_success(body: Any, expected: StatedError) -> None:
    """Under status 200 a filled `error` is an error."""

    assert expected == read_hidden_error(json.dumps(body).encode())


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("", {"detail": "text"}, "text"),
        ("", {"detail": [{"msg": "text"}]}, "text"),
        ("", {"errors": ["text"]}, "text"),
        ("", {"msg": "text", "code": 400}, "text"),
        ("error", {"detail": {"reason": "text"}}, "text"),
        ("error", {"code": "text"}, "text"),
        ("error", ["text"], "text"),
        ("error", "text", "text"),
        ("error", {}, ""),
    ],
)
def test_an_event_says_its_error_in_any_shape(name: str, data: Any, words: str) -> None:
    """An object with nothing of a chunk, and whatever an event called "error" holds."""
    stated = read_event_error(name, json.dumps(data).encode())
    assert stated is not None
    assert words == stated.message


@pytest.mark.parametrize(
    "data",
    [
        {"choices": [], "detail": "text"},
        {"id": "1", "message": "text"},
        {"type": "message.start", "message": "text"},
        {"usage": {}, "msg": "text"},
        {"detail": ""},
        {"message": None},
        {"progress": 0.5},
        ["text"],
        "text",
    ],
)
def test_an_event_that_may_be_a_chunk_is_no_error(data: Any) -> None:
    """What has a member of a chunk, and what has no words."""
    assert read_event_error("", json.dumps(data).encode()) is None


@pytest.mark.parametrize(
    "body",
    [
        {"message": "text"},
        {"title": "text"},
        {"error": None, "output": []},
        {"error": ""},
        {"error": False},
        {"choices": [{"message": {"content": '{"error":"no"}'}}]},
        [{"error": "text"}],
        "error",
        7,
        {},
    ],
)
def test_a_success_is_no_error(body: Any) -> None:
    """Under status 200 nothing but a filled `error` is an error."""

    assert read_hidden_error(json.dumps(body, indent=2).encode()) is None


def test_a_success_may_hold_what_msgspec_refuses() -> None:
    """Half a surrogate pair, bad UTF-8 and a byte order mark don't hide that a body is JSON."""

    assert read_hidden_error(b'{"content":"\\ud83d"}') is None
    assert read_hidden_error(b'{"content":"\xff"}') is None
    assert read_hidden_error(b'\xef\xbb\xbf{"content":""}') is None
    assert StatedError("a\N{REPLACEMENT CHARACTER}b", None) == read_hidden_error(
        b'{"error":"a\\ud83db"}'
    )


@pytest.mark.parametrize("body", [b"", b"{", b'{"a":1', b"<html>", b"plain", b'{"a":1}}'])
def test_what_is_no_json_is_told(body: bytes) -> None:
    """A body under status 200 that is no JSON is neither a success nor an error."""

    with pytest.raises(ValueError, match="not JSON"):
        read_hidden_error(body)


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"7", b'"x"', b"{}", b"<html>", b'{"error":null}', b"[" * 10**5]
)
def test_what_states_nothing_is_none(body: bytes) -> None:
    """A body that states no error is None."""

    assert read_error(body) is None


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_never_raises(body: bytes) -> None:
    """Any body is read, and what comes out is text that can be encoded."""
    stated = read_error(body)

    assert stated is None or stated.message.encode() is not None
    assert stated is None or stated.code is None or stated.code.encode() is not None


def test_the_message_is_bounded() -> None:
    """A message without end is cut."""
    stated = read_error(b'{"error":"' + b"x" * 10**6 + b'"}')

    assert stated is not None
    assert MAX_MESSAGE_CHARS == len(stated.message)
    assert stated.message.endswith("x…")


def test_deep_nesting_is_no_error_of_ours() -> None:
    """A body nested beyond reason is read as far as it makes sense."""
    body = b'{"error":' * 10**5 + b'"x"' + b"}" * 10**5

    assert read_error(body) is None


def test_knows_the_unknown_endpoint() -> None:
    """LM Studio's sentence for a route that it lacks is known, others are not it."""

    assert is_unknown_endpoint("Unexpected endpoint or method. (POST /api/v1/models/load)")
    assert not is_unknown_endpoint("No models loaded. Please load a model.")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "an empty body"),
        (b" \r\n", "an empty body"),
        (b"<!doctype html><TITLE lang=en>\n 502  Bad\n</TITLE>", 'an HTML page titled "502 Bad"'),
        (b"<html>", "an HTML page"),
        (b"upstream down\n", '"upstream down"'),
        (b'{"choices":[{"message":{"content":"secr', "broken JSON"),
    ],
)
def test_describes_what_makes_no_sense(body: bytes, expected: str) -> None:
    """A body of the wrong kind is named in a few words, a broken answer is not quoted."""

    assert expected == describe_body(body)


def test_a_failure_shows_what_is_set() -> None:
    """The failure's representation names what is known and no more."""
    failure = UpstreamFailure("gone", fault="connect", repeatable=True)

    assert "UpstreamFailure('gone', fault='connect', repeatable=True)" == repr(failure)
    assert "gone" == str(failure)
    assert (None, None) == (failure.status, failure.code)


def test_a_refusal_keeps_its_parts() -> None:
    """Status, text and headers of a refusal are as given."""
    refusal = Refusal(404, "model 'x' not found", (("x-nearest", "y"),))

    assert (404, "model 'x' not found") == (refusal.status, refusal.error)
    assert (("x-nearest", "y"),) == refusal.headers
