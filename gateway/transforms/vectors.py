"""Embeddings: checks of the input, and vectors in Ollama's form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from math import isfinite
from operator import attrgetter
from typing import Any, Final

from msgspec import UNSET, Raw, UnsetType

from ..faults import UpstreamFailure
from ..names.grammar import is_lookup_name
from ..types import openai
from ..wire import float32
from ..wire.writing import ANSWER_AT_ONCE, RawNumbers
from ._estimate import stated, tokens
from ._vector_blocks import DIFFER, read_in_blocks

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
        if {*map(type, input)} <= {str}:
            return input
        return [item if isinstance(item, str) else item["text"] for item in input]
    return str(input["text"]) if input else ""


def unit_vectors(
    data: list[openai.Embedding], dimensions: int | UnsetType, input: Any | UnsetType | None
) -> list[Raw]:
    """
    Return a vector for each text, in order, cut to the wanted dimensions, each of length 1.

    Numbers are those of 32 bits, in their shortest text. Dimensions that do not shorten a vector
    are ignored, a zero vector stays one, and a vector that has length 1 already keeps its numbers.
    Raises UpstreamFailure (`empty`) when a vector is missing, empty, of another length than the
    others, or not made of numbers; of many vectors only when they are made, as late as they are
    written. (docs/facts/ollama.md#vectors, docs/facts/lmstudio.md#embeddings-errors)

    >>> data = [openai.Embedding(index=0, embedding=Raw(b"[3, 4.0]"))]
    >>> [bytes(vector) for vector in unit_vectors(data, UNSET, "a")]
    [b'[0.6,0.8]']
    """
    wanted = 0 if isinstance(dimensions, UnsetType) else dimensions
    vectors = _vectors(data, len(input) if isinstance(input, list) else 1)
    blocks = _written_in_blocks(vectors, wanted)
    if sum(map(len, vectors)) > ANSWER_AT_ONCE:
        return RawNumbers(later=blocks)
    return RawNumbers(chain.from_iterable(blocks))


def only_vector(data: list[openai.Embedding]) -> list[float]:
    """
    Return the vector of one text as it came.

    The old route answers one vector, not normalised, and its numbers of 32 bits as doubles. Raises
    UpstreamFailure (`empty`) when it is missing, empty, or not made of numbers.
    (docs/facts/ollama.md#embeddings-route, docs/facts/lmstudio.md#embeddings-errors)

    >>> only_vector([openai.Embedding(embedding=Raw(b"[3.0, 4]"))])
    [3.0, 4.0]
    """
    try:
        return float32.read([bytes(_vectors(data, 1)[0])]).singles()[0]
    except ValueError:
        raise _no_numbers() from None


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


def _vectors(data: list[openai.Embedding], count: int) -> list[Raw]:
    """Return as many vectors as there are texts. Clients pair them by their places."""
    if len(data) != count:
        raise UpstreamFailure(f"vectors for {len(data)} of {count} texts", fault="empty")
    if {*map(type, map(_index, data))} <= {int, float}:
        data = sorted(data, key=_index)
    return [*map(_embedding, data)]


def _written_in_blocks(
    vectors: Sequence[Raw | memoryview], dimensions: int
) -> Iterator[Iterable[Raw]]:
    """Return vectors as JSON, block by block. Raises UpstreamFailure (`empty`)."""
    try:
        for block in read_in_blocks(vectors):
            yield map(Raw, _unit_vectors(block, dimensions))
    except float32.Ragged:
        raise UpstreamFailure(DIFFER, fault="empty") from None
    except ValueError:
        raise _no_numbers() from None


def _unit_vectors(numbers: float32.Vectors, dimensions: int) -> list[bytes]:
    """Return vectors as JSON. Raises ValueError when one is not made of numbers."""
    if 0 < dimensions < numbers.width:
        numbers = numbers.first(dimensions)
    lengths = numbers.lengths()
    least, most = min(lengths), max(lengths)
    if not isfinite(most):
        raise ValueError("a number that is none")
    if abs(least - 1) <= _UNIT_TOLERANCE and abs(most - 1) <= _UNIT_TOLERANCE:
        return numbers.texts()
    # Divided by 1 a number stays what it is.
    divisors = [
        1.0 if length == 0 or abs(length - 1) <= _UNIT_TOLERANCE else length for length in lengths
    ]
    return numbers.over(divisors).texts()


def _no_numbers() -> UpstreamFailure:
    return UpstreamFailure("a vector without numbers", fault="empty")
