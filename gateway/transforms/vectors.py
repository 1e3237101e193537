"""Embeddings: checks of the input, and vectors in Ollama's form."""

from __future__ import annotations

import math
from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from gateway.transforms._estimate import stated, tokens
from gateway.transforms._raw import kind_of
from gateway.types import openai

_UNIT_TOLERANCE: Final = 1e-6
"""A normalised vector of 32-bit numbers can differ from length 1 by this much."""

_input: Final = msgspec.json.Decoder(str | list[str])


def input_problem(input: Raw | UnsetType) -> str | UnsetType:
    """
    Return Ollama's text for an input that is neither a text nor a list of texts nor null.

    (docs/facts/ollama.md#embed)

    >>> input_problem(Raw(b'["a", 1]')), input_problem(Raw(b'["a"]'))
    ('invalid input type', UNSET)
    """
    if isinstance(input, UnsetType) or kind_of(input) == "absent":
        return UNSET
    try:
        _input.decode(input)
    except msgspec.DecodeError:
        return "invalid input type"
    return UNSET


def is_empty_input(input: Raw | UnsetType) -> bool:
    """
    Whether there is nothing to embed: no input, null, an empty text or an empty list.

    An empty text in a list is embedded. (docs/facts/ollama.md#embed)

    >>> is_empty_input(Raw(b"[ ]")), is_empty_input(Raw(b'[""]')), is_empty_input(UNSET)
    (True, False, True)
    """
    if isinstance(input, UnsetType) or kind_of(input) == "absent":
        return True
    return not _input.decode(input)


def embed_input(input: Raw) -> str | list[str]:
    """
    Return the input, a text or texts.

    (docs/facts/ollama.md#embed)

    >>> embed_input(Raw(b'["a", "b"]'))
    ['a', 'b']
    """
    return "" if kind_of(input) == "absent" else _input.decode(input)


def unit_vectors(data: list[openai.Embedding], dimensions: int | UnsetType) -> list[list[float]]:
    """
    Return the vectors in order, cut to the wanted dimensions, each of length 1.

    Dimensions that are no real cut are ignored, a zero vector stays one, and a vector that has
    length 1 already keeps its numbers. (docs/facts/ollama.md#vectors)

    >>> unit_vectors([openai.Embedding(index=0, embedding=[3.0, 4.0])], UNSET)
    [[0.6, 0.8]]
    """
    wanted = 0 if isinstance(dimensions, UnsetType) else dimensions
    return [_normalised(item.embedding, wanted) for item in _in_order(data)]


def first_vector(data: list[openai.Embedding]) -> list[float]:
    """
    Return the first vector as it came, an empty one when there is none.

    The old route answers one vector, not normalised. (docs/facts/ollama.md#embeddings-route)

    >>> first_vector([openai.Embedding(embedding=[3.0, 4.0])]), first_vector([])
    ([3.0, 4.0], [])
    """
    ordered = _in_order(data)
    return ordered[0].embedding if ordered else []


def input_count(reported: int | float | UnsetType | None, input: Raw | UnsetType) -> int:
    """
    Return the tokens of an input: as reported, else estimated; LM Studio may well report 0.

    (docs/facts/lmstudio.md#embeddings-usage)

    >>> input_count(0, Raw(b'["Hello there", "you"]'))
    4
    """
    count = stated(reported)
    if count or isinstance(input, UnsetType) or kind_of(input) == "absent":
        return count or 1
    texts = _input.decode(input)
    return tokens(len(texts) if isinstance(texts, str) else sum(map(len, texts)))


def _in_order(data: list[openai.Embedding]) -> list[openai.Embedding]:
    if all(isinstance(item.index, int | float) for item in data):
        return sorted(data, key=_index)
    return data


def _index(item: openai.Embedding) -> float:
    return item.index if isinstance(item.index, int | float) else 0


def _normalised(vector: list[float], dimensions: int) -> list[float]:
    if 0 < dimensions < len(vector):
        vector = vector[:dimensions]
    length = math.hypot(*vector)
    if length == 0 or abs(length - 1) <= _UNIT_TOLERANCE:
        return vector
    return [number / length for number in vector]
