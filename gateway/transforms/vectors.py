"""Embeddings: checks of the input, and vectors in Ollama's form."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from operator import attrgetter
from typing import Any, Final

from msgspec import UNSET, UnsetType

from ..faults import UpstreamFailure
from ..names.grammar import is_lookup_name
from ..types import openai
from ._estimate import stated, tokens

_INVALID_INPUT: Final = "invalid input type"
_ITEM_KEYS: Final = frozenset({"text", "image", "audio"})
# A function of operator's is not entered as one of Python's would be, once for each vector.
_index: Final = attrgetter("index")
_embedding: Final = attrgetter("embedding")
_UNIT_TOLERANCE: Final = 1e-6
"""A normalised vector of 32-bit numbers can differ from length 1 by this much."""


def early_input_problem(input: Any, model: str | UnsetType | None) -> str | UnsetType:
    """
    Return what `input_problem` does, where the name may be that of a model that is here.

    An illegal name is reported before a wrong input, and an unknown model after it.
    (docs/facts/ollama.md#embed)

    >>> early_input_problem(1, "qwen3"), early_input_problem(1, "a b")
    ('invalid input type', UNSET)
    """
    problem = input_problem(input)
    return UNSET if problem is UNSET or not is_lookup_name(model) else problem


def input_problem(input: Any) -> str | UnsetType:
    """
    Return Ollama's text for an input that is neither a text nor a list of texts nor null.

    An object with a text is one, as in later versions. (docs/facts/ollama.md#embed,
    docs/facts/ollama.md#after-0-34)

    >>> input_problem(["a", 1]), input_problem(["a"]), input_problem([{"text": "a"}, "b"])
    ('invalid input type', UNSET, UNSET)
    >>> input_problem({"image": "aGk="})
    'LM Studio makes vectors of texts only: leave out image and audio'
    """
    if input is None or isinstance(input, str | UnsetType):
        return UNSET
    items = input if isinstance(input, list) else [input]
    if {*map(type, items)} <= {str}:
        return UNSET
    return next((problem for item in items if (problem := _item_problem(item))), UNSET)


def _item_problem(item: Any) -> str | None:
    if isinstance(item, str):
        return None
    if not isinstance(item, dict) or not item.keys() & _ITEM_KEYS:
        return _INVALID_INPUT
    if any(item.get(key) is not None for key in ("image", "audio")):
        return "LM Studio makes vectors of texts only: leave out image and audio"
    return None if isinstance(item.get("text"), str) else _INVALID_INPUT


def is_empty_input(input: Any | UnsetType | None) -> bool:
    """
    Whether there is nothing to embed: no input, null, an empty text or an empty list.

    An empty text in a list is embedded. (docs/facts/ollama.md#embed)

    >>> is_empty_input([]), is_empty_input([""]), is_empty_input(UNSET)
    (True, False, True)
    """
    return not input


def embed_input(input: Any) -> str | list[str]:
    """
    Return the input, a text or texts; the plan has judged it.

    (docs/facts/ollama.md#embed)

    >>> embed_input(["a", "b"]), embed_input({"text": "a"}), embed_input([{"text": "a"}, "b"])
    (['a', 'b'], 'a', ['a', 'b'])
    """
    if isinstance(input, str):
        return input
    if isinstance(input, list):
        return [item if isinstance(item, str) else item["text"] for item in input]
    return str(input["text"]) if input else ""


def unit_vectors(
    data: list[openai.Embedding], dimensions: int | UnsetType, input: Any | UnsetType | None
) -> list[list[float]]:
    """
    Return a vector for each text, in order, cut to the wanted dimensions, each of length 1.

    Numbers are those of 32 bits, in their shortest text. Dimensions that do not shorten a vector
    are ignored, a zero vector stays one, and a vector that has length 1 already keeps its numbers.
    Raises UpstreamFailure (`empty`) when a vector is missing or empty.
    (docs/facts/ollama.md#vectors, docs/facts/lmstudio.md#embeddings-errors)

    >>> unit_vectors([openai.Embedding(index=0, embedding=[3.0, 4.0])], UNSET, "a")
    [[0.6, 0.8]]
    """
    wanted = 0 if isinstance(dimensions, UnsetType) else dimensions
    vectors = _vectors(data, len(input) if isinstance(input, list) else 1)
    return [_shortened(_normalised(vector, wanted)) for vector in vectors]


def only_vector(data: list[openai.Embedding]) -> list[float]:
    """
    Return the vector of one text as it came.

    The old route answers one vector, not normalised. Raises UpstreamFailure (`empty`) when it is
    missing or empty. (docs/facts/ollama.md#embeddings-route,
    docs/facts/lmstudio.md#embeddings-errors)

    >>> only_vector([openai.Embedding(embedding=[3.0, 4.0])])
    [3.0, 4.0]
    """
    return list(array("f", _vectors(data, 1)[0]))


def input_count(reported: int | float | UnsetType | None, input: Any) -> int:
    """
    Return the tokens of an input: as reported, else estimated; LM Studio may well report 0.

    (docs/facts/lmstudio.md#embeddings-usage)

    >>> input_count(0, ["Hello there", "you"])
    4
    """
    count = stated(reported)
    if count or not input:
        return count or 1
    if isinstance(input, str):
        return tokens(len(input))
    texts = embed_input(input)
    return tokens(len(texts) if isinstance(texts, str) else sum(map(len, texts)))


def _shortened(vector: list[float]) -> list[float]:
    """
    Return doubles that print as the shortest texts of a vector's 32-bit numbers.

    Each number needs six to nine digits: all are tried with six, and what is then not the same
    number of 32 bits with one more.
    """
    wanted = array("f", vector)
    found = list(wanted)
    places: Sequence[int] = range(len(wanted))
    for digits in ("%.6g ", "%.7g ", "%.8g ", "%.9g "):
        # In one call for all numbers: one for each would take four times as long.
        texts = (digits * len(places) % tuple(map(wanted.__getitem__, places))).split()
        shorter = [*map(float, texts)]
        rest = []
        for place, number, back in zip(places, shorter, array("f", shorter), strict=True):
            if back == wanted[place]:
                found[place] = number
            else:
                rest.append(place)
        places = rest
        if not places:
            break
    return found


def _vectors(data: list[openai.Embedding], count: int) -> list[list[float]]:
    """Return as many vectors as there are texts. Clients pair them by their places."""
    if len(data) != count:
        raise UpstreamFailure(f"vectors for {len(data)} of {count} texts", fault="empty")
    if {*map(type, map(_index, data))} <= {int, float}:
        data = sorted(data, key=_index)
    vectors = [*map(_embedding, data)]
    if not all(vectors):
        raise UpstreamFailure("a vector without numbers", fault="empty")
    return vectors


def _normalised(vector: list[float], dimensions: int) -> list[float]:
    if 0 < dimensions < len(vector):
        vector = vector[:dimensions]
    length = math.hypot(*vector)
    if length == 0 or abs(length - 1) <= _UNIT_TOLERANCE:
        return vector
    return [number / length for number in vector]
