"""Embedding: inputs and vectors."""

import base64
import json
import math
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw, UnsetType

from gateway.faults import UpstreamFailure
from gateway.transforms import (
    _vector_blocks,
    embed_input,
    input_problem,
    is_empty_input,
    only_vector,
    passed_on_vectors,
    unit_vectors,
)
from gateway.types import openai


@pytest.mark.parametrize(
    ("sent", "value", "is_empty"),
    [
        (b"null", "", True),
        (b'""', "", True),
        (b"[]", [], True),
        (b'"a"', "a", False),
        (b'["a", "\\u00e9"]', ["a", "é"], False),
        (b'[""]', [""], False),
    ],
)
def test_inputs_that_ollama_takes(sent: bytes, value: str | list[str], is_empty: bool) -> None:
    """An empty text in a list is something to embed."""
    assert UNSET is input_problem(msgspec.json.decode(sent))
    assert value == embed_input(msgspec.json.decode(sent))
    assert is_empty is is_empty_input(msgspec.json.decode(sent))


@pytest.mark.parametrize("sent", [b"1", b"true", b"{}", b"[1]", b'["a", null]', b'[["a"]]'])
def test_inputs_that_ollama_refuses(sent: bytes) -> None:
    """Anything but texts."""
    assert "invalid input type" == input_problem(msgspec.json.decode(sent))


def test_no_input() -> None:
    """Absent is nothing to embed, and no problem."""
    assert UNSET is input_problem(UNSET)
    assert is_empty_input(UNSET)


def embedding(
    vector: list[float], index: int | float | UnsetType | None = UNSET
) -> openai.Embedding:
    return openai.Embedding(embedding=Raw(msgspec.json.encode(vector)), index=index)


def unit(
    data: list[openai.Embedding], dimensions: int | UnsetType, texts: str | list[str]
) -> list[list[float]]:
    """Return the numbers of the vectors that are written."""
    return [msgspec.json.decode(vector) for vector in unit_vectors(data, dimensions, texts)]


def test_vectors_come_in_the_order_of_their_indexes() -> None:
    """Without indexes, as they came."""
    data = [embedding([0.0, 2.0], 1), embedding([3.0, 0.0], 0.0)]
    unnumbered = [embedding([0.0, 2.0]), embedding([3.0, 0.0], None)]

    assert [[1, 0], [0, 1]] == unit(data, UNSET, ["a", "b"])
    assert [[0, 1], [1, 0]] == unit(unnumbered, UNSET, ["a", "b"])


def test_the_older_route_has_one_vector() -> None:
    """As it came, as doubles of 32-bit numbers."""
    assert [0.0, 2.0] == only_vector([embedding([0.0, 2.0])])
    assert [0.10000000149011612] == only_vector([embedding([0.1])])


@pytest.mark.parametrize(
    ("vectors", "texts"),
    [
        ([], "a"),
        ([], ["a"]),
        ([[1.0]], ["a", "b"]),
        ([[1.0], [1.0]], "a"),
        ([[1.0], []], ["a", "b"]),
        ([[1.0], [1.0, 0.5]], ["a", "b"]),
        ([[]], "a"),
    ],
)
def test_a_missing_vector_is_a_fault(vectors: list[list[float]], texts: str | list[str]) -> None:
    """Clients pair vectors with texts by their places (lmstudio.md#embeddings-errors)."""
    data = [embedding(vector) for vector in vectors]

    with pytest.raises(UpstreamFailure, match="vector"):
        unit_vectors(data, UNSET, texts)
    if isinstance(texts, str):
        with pytest.raises(UpstreamFailure, match="vector"):
            only_vector(data)


@pytest.mark.parametrize(
    "raw",
    [
        b"null",
        b"[null]",
        b"[0.5,true]",
        b"[0.5,false]",
        b'["1"]',
        b"[[1]]",
        b"[{}]",
        b'"AACAPw=="',
        b"1",
        b"{}",
        b"[1e39,1e400]",
        b"[1.7e308,1.7e308]",
    ],
)
def test_a_vector_that_is_not_made_of_numbers_is_a_fault(raw: bytes) -> None:
    """Also one of which only a part is: without it, the vector would be shorter."""
    data = [openai.Embedding(embedding=Raw(raw))]

    for _ in range(2):
        with pytest.raises(UpstreamFailure, match="vector without numbers"):
            unit_vectors(data, UNSET, "a")
        with pytest.raises(UpstreamFailure, match="vector without numbers"):
            only_vector(data)


@pytest.mark.parametrize(
    ("dimensions", "vector"),
    [
        (UNSET, [0.6, 0.8, 0.0]),
        (2, [0.6, 0.8]),
        (1, [1.0]),
        (3, [0.6, 0.8, 0.0]),
        (4, [0.6, 0.8, 0.0]),
        (0, [0.6, 0.8, 0.0]),
        (-1, [0.6, 0.8, 0.0]),
    ],
)
def test_only_real_cuts_are_made(dimensions: int | UnsetType, vector: list[float]) -> None:
    """And the length is 1 afterwards."""
    assert [vector] == unit([embedding([3.0, 4.0, 0.0])], dimensions, "a")


def test_zero_and_unit_vectors_keep_their_numbers() -> None:
    """There is nothing to divide by, or no need to; 32 bits have shorter texts."""
    nearly = [0.6000000238418579, 0.800000011920929]

    assert [b"[0,0]", b"[0.6,0.8]"] == [
        bytes(vector)
        for vector in unit_vectors([embedding([0.0, 0.0]), embedding(nearly)], 2, ["a", "b"])
    ]
    assert [b"[0.6,0.8]"] == [
        bytes(vector) for vector in unit_vectors([embedding([*nearly, 1e-9])], 2, "a")
    ]


@given(
    st.lists(st.floats(-1e6, 1e6).map(lambda x: round(x, 3)), min_size=1, max_size=16),
    st.integers(-2, 20),
)
def test_vectors_have_length_one(vector: list[float], dimensions: int) -> None:
    """Unless they are zero; the direction stays."""
    (found,) = unit([embedding(vector)], dimensions, ["a"])
    cut = vector[: len(found)]

    assert (dimensions if 0 < dimensions < len(vector) else len(vector)) == len(found)
    if any(cut):
        assert math.isclose(1, math.hypot(*found), rel_tol=2e-6)
        length = math.hypot(*cut)
        assert all(
            math.isclose(number, other * length, rel_tol=1e-5)
            for number, other in zip(cut, found, strict=True)
        )
    else:
        assert cut == found


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (rb'{"embedding":[1,-0.5],"index":0}', ["AACAPwAAAL8="]),
        (rb'{"embedding":[1]},{"embedding":"AACAPw=="}', ["AACAPw==", "AACAPw=="]),
        (rb'{"embedding":[1]},{"embeddin\u0067":[1]}', ["AACAPw==", "AACAPw=="]),
        (rb'{"embedding":[1],"more":{"embedding":[0.25]}}', ["AACAPw=="]),
        (rb'{"embedding": [1] ,"note":"\"embedding\":[2]"}', ["AACAPw=="]),
        (b'{"embedding":[1],"more":{"embedding":["a]b"]}}', ["AACAPw=="]),
    ],
    ids=[
        "one",
        "a-text-already",
        "a-name-in-escapes",
        "one-within-another",
        "one-in-a-text",
        "a-text-with-a-bracket",
    ],
)
def test_vectors_that_are_passed_on_stay_in_their_places(items: bytes, expected: list[str]) -> None:
    """They are taken out before the items are decoded, whatever else is called so."""
    data = Raw(b"[%b]" % items)

    found = passed_on_vectors(data, len(expected), in_base64=True)

    assert isinstance(found, list)
    decoded = [json.loads(bytes(item)) for item in found]
    assert expected == [item["embedding"] for item in decoded]
    others = [{**item, "embedding": 0} for item in json.loads(bytes(data))]
    assert others == [{**item, "embedding": 0} for item in decoded]


def test_vectors_of_different_lengths_are_not_passed_on() -> None:
    """Clients put them into one table; one vector alone has the length that it has."""
    data = Raw(b'[{"embedding":[1,2]},{"embedding":[3]}]')
    with pytest.raises(UpstreamFailure, match="different lengths"):
        passed_on_vectors(data, 2, in_base64=False)
    one = Raw(b'[{"embedding":[1,2]}]')
    assert passed_on_vectors(one, 1, in_base64=False) is UNSET


@pytest.mark.parametrize("is_odd", [False, True])
@pytest.mark.parametrize("block_bytes", [1, 100])
def test_vectors_of_several_blocks_are_read_in_their_order(
    monkeypatch: pytest.MonkeyPatch, block_bytes: int, is_odd: bool
) -> None:
    """Each stays at its place, and one of another length is found in any block."""
    monkeypatch.setattr(_vector_blocks, "_BLOCK_BYTES", block_bytes)
    rows = [[1.0, place / 1000, 0.5] for place in range(12)]
    rows[-1] = rows[-1][: 3 - is_odd]
    data = [embedding(row, place) for place, row in enumerate(rows)]
    passed = Raw(msgspec.json.encode([{"embedding": row} for row in rows]))
    if is_odd:
        with pytest.raises(UpstreamFailure, match="different lengths"):
            unit_vectors(data, UNSET, ["a"] * 12)
        with pytest.raises(UpstreamFailure, match="different lengths"):
            passed_on_vectors(passed, 12, in_base64=True)
        return
    found = unit(data, UNSET, ["a"] * 12)
    assert [row[1] / row[0] for row in rows] == pytest.approx([row[1] / row[0] for row in found])
    packed = passed_on_vectors(passed, 12, in_base64=True)
    assert isinstance(packed, list)
    texts = [json.loads(bytes(item))["embedding"] for item in packed]
    assert [struct.pack("<3f", *row) for row in rows] == [*map(base64.b64decode, texts)]


@given(
    st.lists(
        st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=2)
        | st.lists(st.sampled_from([0.0, -0.0, 1.0, 0.5, 1e-7, 1e21]), min_size=2, max_size=2),
        min_size=1,
        max_size=9,
    ),
    st.integers(1, 400),
)
def test_where_blocks_are_cut_makes_no_difference(rows: list[list[float]], size: int) -> None:
    """Each vector is written as alone, with the integers and exponents of another one beside it."""
    alone = [bytes(unit_vectors([embedding(row)], UNSET, "a")[0]) for row in rows]
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(_vector_blocks, "_BLOCK_BYTES", size)
        data = [*map(embedding, rows)]

        assert alone == [*map(bytes, unit_vectors(data, UNSET, ["a"] * len(rows)))]


def test_no_vectors_are_no_block() -> None:
    """There is nothing to divide by their number."""
    assert [] == [*_vector_blocks.read_in_blocks([])]
