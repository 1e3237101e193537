"""Options and structured output."""

import pytest
from msgspec import UNSET, Raw, UnsetType

from gateway.transforms import (
    any_object_schema,
    asks_for_format,
    positive_or_absent,
    seed_or_absent,
    whole,
    with_defaults,
)
from gateway.types import ollama


def test_defaults_fill_only_what_is_missing() -> None:
    """Absent and null are missing; zero and what has no default of its own are not."""
    given = ollama.Options(temperature=0.0, top_k=None, seed=7, stop=["x"])
    wanted = ollama.Options(
        temperature=0.0,
        top_k=40,
        top_p=0.9,
        min_p=0.0,
        repeat_penalty=1.0,
        presence_penalty=0.0,
        frequency_penalty=0.0,
        seed=7,
        stop=["x"],
    )

    assert wanted == with_defaults(given, UNSET, "ollama")
    assert ollama.Options(temperature=0.0, top_k=None, seed=7, stop=["x"]) == given


def test_absent_options_stay_absent_by_default() -> None:
    """LM Studio's settings of the model count then."""
    given = ollama.Options(top_p=None)

    assert given is with_defaults(given, UNSET, "absent")


@pytest.mark.parametrize(("number", "result"), [(40, 40), (40.0, 40), (1.7, 1), (-1.7, -1)])
def test_numbers_lose_their_fraction(number: int | float, result: int) -> None:
    """Towards zero, as in Go."""
    assert result == whole(number)
    assert isinstance(whole(number), int)


@pytest.mark.parametrize(
    ("number", "result"), [(0, 0), (42, 42), (42.9, 42), (-1, UNSET), (-0.5, UNSET)]
)
def test_negative_seeds_are_random(number: int | float, result: int | UnsetType) -> None:
    """So none is sent."""
    assert result == seed_or_absent(number)


@pytest.mark.parametrize(
    ("number", "result"), [(1, 1), (128.9, 128), (0.5, UNSET), (0, UNSET), (-2, UNSET)]
)
def test_limits_below_one_are_none(number: int | float, result: int | UnsetType) -> None:
    """So none is sent."""
    assert result == positive_or_absent(number)


@pytest.mark.parametrize(
    ("sent", "asks"),
    [
        (b'"json"', True),
        (b"{}", True),
        (b'{"type": "object"}', True),
        (b'""', False),
        (b"null", False),
        (b'"xml"', False),
        (b"[]", False),
        (b"true", False),
        (b"1", False),
    ],
)
def test_formats(sent: bytes, asks: bool) -> None:
    """ "json" and schemas ask for structured output; the rest is nothing, or refused elsewhere."""
    assert asks is asks_for_format(Raw(sent))


def test_no_format() -> None:
    """Absent asks for nothing."""
    assert not asks_for_format(UNSET)


def test_any_object() -> None:
    """The schema has no demands but the type."""
    assert b'{"type":"object"}' == bytes(any_object_schema())
