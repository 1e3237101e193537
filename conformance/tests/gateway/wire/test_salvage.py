"""Answers that the strict decoder refuses: each odd value costs only itself."""

import itertools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.types import lmstudio, openai
from gateway.wire.cut_text import CutTexts, mend, mended
from gateway.wire.salvage import NotJson, salvage

CHUNK: dict[str, Any] = {
    "id": "c",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2},
}


def read(value: Any, kind: Any = openai.ChatCompletionChunk) -> tuple[Any, list[str]]:
    found = salvage(json.dumps(value).encode(), kind)
    return msgspec.to_builtins(found.value), found.odd


@pytest.mark.parametrize(
    ("change", "odd"),
    [
        ({"created": {}}, ["created"]),
        ({"stats": []}, ["stats"]),
        ({"stats": {"draft_model": {}}}, ["stats.draft_model"]),
        ({"usage": 7}, ["usage"]),
        ({"system_fingerprint": [1]}, ["system_fingerprint"]),
    ],
)
def test_an_odd_value_costs_only_itself(change: dict[str, Any], odd: list[str]) -> None:
    """What else the chunk holds is there."""
    found, noted = read(CHUNK | change)

    assert odd == noted
    assert "Hi" == found["choices"][0]["delta"]["content"]


def test_null_among_the_items_of_a_list() -> None:
    """It is passed over, and what came after it takes its place."""
    found, noted = read(CHUNK | {"choices": [None, *CHUNK["choices"]]})

    assert ["choices[]"] == noted
    assert CHUNK["choices"] == found["choices"]


@pytest.mark.parametrize(
    ("key", "value", "read_as"),
    [
        ("created", "1", 1),
        ("created", "1.5", 1.5),
        ("id", 7, "7"),
        ("model", [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
    ],
)
def test_what_a_value_plainly_says_is_read(key: str, value: Any, read_as: Any) -> None:
    """A number as text, a text as a number, a content in parts."""
    found, noted = read({key: value, "stats": 1})

    assert read_as == found[key]
    assert ["stats"] == noted


def test_an_object_goes_with_a_value_that_it_needs() -> None:
    """An instance without an identifier cannot be named; its model stays."""
    instances = [{"id": None}, {"id": "b", "config": {"flash_attention": "auto", "parallel": "4"}}]
    found, noted = read({"key": "a", "loaded_instances": instances}, lmstudio.V1Model)

    assert ["loaded_instances[]", "loaded_instances[].config.flash_attention"] == noted
    assert [{"id": "b", "config": {"parallel": 4}}] == found["loaded_instances"]


class Point(msgspec.Struct):
    at: list[float]


class Points(msgspec.Struct):
    data: list[Point]


def test_no_number_of_a_list_is_left_out() -> None:
    """A list that lacks a number means something else."""
    found, noted = read({"data": [{"at": [1, None, 2]}, {"at": [1, 2]}]}, Points)

    assert ["data[]"] == noted
    assert [{"at": [1.0, 2.0]}] == found["data"]


@pytest.mark.parametrize("body", [b"", b"[1]", b"null", b"{", b'{"a":' * 9999, b'"x"', b"1" * 9999])
def test_what_is_no_object_is_told(body: bytes) -> None:
    """With a reason, and with no other exception."""
    with pytest.raises(NotJson, match=r"\w"):
        salvage(body, openai.ChatCompletionChunk)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "9" * 400])
def test_numbers_without_end_are_none(number: str) -> None:
    """Nothing could be counted with them."""
    found = salvage(f'{{"created": {number}}}'.encode(), openai.ChatCompletionChunk)

    assert msgspec.UNSET is found.value.created or found.value.created is None


def test_bytes_that_are_not_utf_8_become_marks() -> None:
    """Those of a text that is not read too."""
    body = b'{"id":"a\xff\xf0\x9f","model":"\\ud83d\\ude00 \\ud83d"}'

    found = salvage(body, openai.ChatCompletionChunk).value

    assert ("a\ufffd\ufffd\ufffd", "\U0001f600 \ufffd") == (found.id, found.model)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(alphabet=st.characters(codec=None), max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
KEYS = ["choices", "delta", "message", "content", "tool_calls", "function", "usage", "logprobs"]


@given(
    st.recursive(
        json_values,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)
        ),
        max_leaves=20,
    )
)
def test_anything_is_read_or_refused(value: Any) -> None:
    """Nothing else happens, and what is read can be written."""
    try:
        found = salvage(json.dumps(value).encode(), openai.ChatCompletionChunk)
    except NotJson:
        assert not isinstance(value, dict)
    else:
        msgspec.json.encode(found.value)


class Said(msgspec.Struct):
    content: str
    thinking: str | None = None


class Frame(msgspec.Struct):
    said: Said
    marks: list[str] | None = None


@given(st.text(max_size=12), st.lists(st.integers(0, 24), max_size=4))
def test_a_text_cut_anywhere_comes_out_whole(text: str, cuts: list[int]) -> None:
    """In UTF-16, as JavaScript counts, into frames of one stream."""
    units = text.encode("utf-16-le")
    at = sorted({min(2 * cut, len(units)) for cut in cuts} | {0, len(units)})
    pieces = [
        units[first:last].decode("utf-16-le", "surrogatepass")
        for first, last in itertools.pairwise(at)
    ]
    joined = CutTexts()
    frames = [frame for piece in pieces for frame in joined.join([Frame(Said(piece))])]
    last = joined.join([Frame(Said(""))], is_last=True)

    assert text == "".join(frame.said.content for frame in [*frames, *last])
    assert not joined.is_waiting


def test_a_half_without_the_other_is_a_mark() -> None:
    """Where the text goes on, and at its end; texts of another kind do not end the wait."""
    joined = CutTexts()

    assert [Frame(Said("a"))] == joined.join([Frame(Said("a\ud83d"))])
    assert joined.is_waiting
    assert [Frame(Said("\ufffdb"), ["\ufffd"])] == joined.join([Frame(Said("b"), ["\ud83d"])])
    assert [Frame(Said("c", "d"))] == joined.join([Frame(Said("c\ud83d", "d\ud83d"))])
    assert [Frame(Said("\ufffd", "\ufffd"))] == joined.join([Frame(Said(""))], is_last=True)


def test_all_texts_of_a_value_are_mended() -> None:
    """Keys, items and fields of structs, at any depth."""
    value = {"\ud83d": ["\ude00", {"a": "\ud83d\ude00"}], "b": Said("\udc00", None)}

    assert {"\ufffd": ["\ufffd", {"a": "\U0001f600"}], "b": Said("\ufffd", None)} == mend(value)
    assert "plain" == mended("plain")
