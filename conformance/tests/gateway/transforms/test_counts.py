"""Counts are LM Studio's where it has any, else estimates that are never zero."""

import pytest
from msgspec import UNSET, Raw, UnsetType

from gateway.transforms import (
    count_or_deltas,
    count_or_number,
    count_texts,
    elapsed_ns,
    input_count,
    prompt_count,
    prompt_text_count,
)
from gateway.types import internal, ollama

MISSING: list[int | float | UnsetType | None] = [UNSET, None, 0, 0.0, -3]


@pytest.mark.parametrize("reported", [17, 17.0])
def test_reported_counts_win(reported: int | float) -> None:
    """As whole numbers, however they are written."""
    speech = internal.Speech(
        thinking="",
        content="",
        held="",
        phase="start",
        deltas=3,
        tagged="no",
        pending="",
        pieces=[],
    )
    counts = [
        prompt_count(reported, [ollama.Message(content="Hello")]),
        prompt_text_count(reported, "Hello", UNSET),
        count_or_deltas(reported, speech, 0),
        count_or_number(reported, 3, 0),
        input_count(reported, "Hello"),
    ]

    assert [17] * 5 == counts
    assert all(isinstance(count, int) for count in counts)


@pytest.mark.parametrize("reported", MISSING)
def test_missing_counts_are_estimated(reported: int | float | UnsetType | None) -> None:
    """Four characters are a token; pieces of an answer count as one each."""
    speech = internal.Speech(
        thinking="",
        content="",
        held="",
        phase="start",
        deltas=3,
        tagged="no",
        pending="",
        pieces=[],
    )
    call = ollama.ToolCall(function=ollama.ToolCallFunction(arguments=Raw(b'{"a": 1}')))
    messages = [
        ollama.Message(content="12345678"),
        ollama.Message(content=None, tool_calls=[call, ollama.ToolCall(function=None)]),
    ]

    assert 4 == prompt_count(reported, messages)
    assert 3 == prompt_text_count(reported, "12345", "12345")
    assert 3 == count_or_deltas(reported, speech, 0)
    assert 3 == count_or_number(reported, 3, 0)
    assert 2 == input_count(reported, ["1234", "", "1"])


@pytest.mark.parametrize("reported", MISSING)
def test_counts_are_never_zero(reported: int | float | UnsetType | None) -> None:
    """Clients divide by them."""
    silent = internal.Speech(
        thinking="",
        content="",
        held="",
        phase="start",
        deltas=0,
        tagged="no",
        pending="",
        pieces=[],
    )

    assert 1 == prompt_count(reported, UNSET)
    assert 1 == prompt_count(reported, [ollama.Message()])
    assert 1 == prompt_text_count(reported, UNSET, UNSET)
    assert 1 == count_or_deltas(reported, UNSET, 0)
    assert 1 == count_or_deltas(reported, silent, 0)
    assert 1 == count_or_number(reported, UNSET, 0)
    assert 1 == count_or_number(reported, 0, 0)
    assert 1 == input_count(reported, UNSET)
    assert 1 == input_count(reported, None)
    assert 1 == input_count(reported, "")


def test_texts_are_counted_unless_empty() -> None:
    """The first one begins the count."""
    count: int | UnsetType = UNSET
    for text in ["", "a", " ", ""]:
        count = count_texts(count, text)

    assert 2 == count
    assert 0 == count_texts(UNSET, "")


def test_durations_are_never_zero() -> None:
    """Nor below, whatever the clocks say."""
    assert 7 == elapsed_ns(5, 12)
    assert 1 == elapsed_ns(5, 5)
    assert 1 == elapsed_ns(6, 5)
