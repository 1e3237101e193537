"""What is searched for in every chunk is searched for by bytes that are fixed."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from gateway.passthrough.cut_events import LONE_HALF
from gateway.transforms import pictures
from gateway.transforms._raw import SEARCHED_BYTES

BEFORE_AND_AFTER = re.compile(
    rb"\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F]"
)
"""Halves, each with its own beginning: what `LONE_HALF` means, told at length."""


@given(pieces=st.lists(st.sampled_from(["\\ud83d", "\\ude00", "\\u00e9", "\\", "u", "dc", "x"])))
def test_half_a_character_is_found_by_its_beginning(pieces: list[str]) -> None:
    """A pattern that begins with fixed bytes is searched for them; else every byte is tried."""
    data = "".join(pieces).encode()
    assert [found.start() for found in BEFORE_AND_AFTER.finditer(data)] == [
        found.start() for found in LONE_HALF.finditer(data)
    ]
    assert LONE_HALF.pattern.startswith(rb"\\u[dD](?:")


@pytest.mark.parametrize("before", [0, 5, SEARCHED_BYTES - 3, SEARCHED_BYTES, SEARCHED_BYTES + 3])
@pytest.mark.parametrize("begin", ["UklGR", "AAAA0000eXBa"])
def test_a_picture_s_beginning_is_found_by_its_own_bytes(before: int, begin: str) -> None:
    """Not by the mark before it, of which there are many; and wherever windows meet."""
    text = b'"' + b"x" * before
    for mark in (b",", b'"'):
        assert pictures.may_have_refused_url(Raw(text + mark + begin.encode() + b"x" * 99))
    assert not pictures.may_have_refused_url(Raw(text + b"x" + begin.encode() + b"x" * 99))
    assert all(one.pattern[:4].isalpha() for one in pictures._IN_URL)
