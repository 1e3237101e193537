"""JSON objects taken apart and put together (gateway.passthrough.json_members)."""

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.passthrough.json_members import join_members, split_members

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.text(), VALUES), st.sampled_from([None, 2]), st.booleans())
def test_values_are_kept_as_they_were_written(
    members: dict[str, object], indent: int | None, ascii_only: bool
) -> None:
    """Whatever the spacing and the escapes: each value's bytes, in their order."""
    try:
        body = json.dumps(members, indent=indent, ensure_ascii=ascii_only).encode()
    except UnicodeEncodeError:
        body = json.dumps(members, indent=indent).encode()
    apart = split_members(body)
    assert apart is not None
    assert list(members) == list(apart)
    assert all(bytes(value) in body for value in apart.values())
    assert members == {key: json.loads(bytes(value)) for key, value in apart.items()}
    assert members == json.loads(join_members(apart))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"}",
        b"[]",
        b"7",
        b'"a"',
        b'{"a"}',
        b'{"a":}',
        b'{"a":1',
        b'{"a":1,}',
        b'{,"a":1}',
        b'{"a" 1}',
        b"{a:1}",
        b'{"a":[1}',
        b'{"a":"b}',
        b'{"a":["b}',
        b'{"a":1} 2',
        b'{"a":1}{"b":2}',
        b'{"a":1 "b":2}',
        b'{"\x01":1}',
        b'{"a":"\n"}',
        b'{"\xff":1}',
        b'{"\\x":1}',
    ],
)
def test_what_is_no_object_is_none(body: bytes) -> None:
    """The readers of bodies have their own words for it."""
    assert split_members(body) is None


def test_the_last_of_equal_keys_counts() -> None:
    """As for every reader of JSON that LM Studio might be."""
    apart = split_members(b'{"a":1,"\\u0061":2}')
    assert apart is not None
    assert {"a": b"2"} == {key: bytes(value) for key, value in apart.items()}


def test_depth_and_length_are_no_matter() -> None:
    """Neither a stack nor much time is needed for them."""
    value = b"[" * 100_000 + b'"' + b"x" * 1_000_000 + b'\\""' + b"]" * 100_000
    apart = split_members(b'{"a":' + value + b"}")
    assert apart is not None
    assert value == bytes(apart["a"])


def test_an_empty_object_is_one() -> None:
    """It has no members, and may hold blanks."""
    assert {} == split_members(b" { \n } ")
    assert b"{}" == join_members({})


def test_a_lone_surrogate_survives() -> None:
    """In a key it is escaped again, in a value it is not looked at."""
    apart = split_members(b'{"\\ud83d":"\\ud83d"}')
    assert apart is not None
    assert b'{"\\ud83d":"\\ud83d"}' == join_members(apart)
    assert b'{"a":1}' == join_members({"a": msgspec.Raw(b"1")})
