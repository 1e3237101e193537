"""The beginning of a request: what counts, and what does not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from gateway.fleet.affinity import MOST_BYTES, beginning_of

SYSTEM = {"role": "system", "content": "Be brief"}
ASKED = {"role": "user", "content": "Why?"}
ANSWER = {"role": "assistant", "content": "Since."}
AGAIN = {"role": "user", "content": "And then?"}


def raw(value: Any) -> Raw:
    """Return JSON as the passthrough has it."""
    return Raw(msgspec.json.encode(value))


@pytest.mark.parametrize("form", [lambda turns: turns, raw], ids=["decoded", "raw"])
def test_a_conversation_keeps_its_beginning(form: Any) -> None:
    """Later turns don't change it; another question, system text, model or tool does."""

    def begins(turns: list[Any], model: str = "m", tools: Any = UNSET) -> int:
        return beginning_of(model, [tools, form(turns)], ("role", "user"))

    first = begins([SYSTEM, ASKED])
    assert first == begins([SYSTEM, ASKED, ANSWER, AGAIN])
    others = {
        begins([SYSTEM, AGAIN]),
        begins([ASKED]),
        begins([SYSTEM, ASKED], model="n"),
        begins([SYSTEM, ASKED], tools=raw([{"type": "function"}])),
    }
    assert 4 == len(others)
    assert first not in others


def test_only_the_start_of_long_parts_counts() -> None:
    """A document of megabytes is not hashed whole."""
    start = "x" * MOST_BYTES
    assert beginning_of("m", [start + "a"]) == beginning_of("m", [start + "b"])
    assert beginning_of("m", [start]) != beginning_of("m", ["x"])


def test_parts_are_kept_apart() -> None:
    """A text as system is not the same text as prompt."""
    assert beginning_of("m", ["a", UNSET]) != beginning_of("m", [UNSET, "a"])
    assert beginning_of("m", [None]) == beginning_of("m", [UNSET])


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(st.text(max_size=10), json_values)
def test_any_json_has_a_beginning(model: str, value: Any) -> None:
    """What a client sends may be of any form; the hash is never 0 and always the same."""
    found = beginning_of(model, [raw(value)])
    assert 0 < found < 2**64
    assert found == beginning_of(model, [raw(value)])
    assert beginning_of(model, [value]) > 0


@given(st.binary(max_size=40))
def test_bytes_that_are_not_json(body: bytes) -> None:
    """A body that LM Studio will refuse is placed like any other."""
    assert beginning_of("m", [Raw(b"[" + body)]) > 0
