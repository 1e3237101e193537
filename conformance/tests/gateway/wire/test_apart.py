"""Lists of numbers that are taken out of an answer before it is decoded."""

import itertools
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.types import internal, openai
from gateway.wire.apart import Place, place_in, put_back, take_out

KIND = openai.EmbeddingsResponse
PLACE = Place("data", "embedding", b"embedding")
decode = msgspec.json.Decoder(KIND).decode


def cut(data: bytes, *places: int) -> list[bytes]:
    """Return bytes in pieces, which begin at these places."""
    edges = [0, *sorted({place % len(data) for place in places} - {0}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def read(data: bytes, *places: int) -> tuple[list[bytes], int]:
    """Return the vectors of an answer in pieces, and how many of them were taken out."""
    rest, lists = take_out(cut(data, *places), PLACE.key)
    try:
        answer = decode(rest)
    except msgspec.DecodeError:
        answer = None
    if answer is None or not put_back(answer, PLACE, lists):
        answer, lists = decode(data), []
    return [bytes(item.embedding) for item in answer.data], len(lists)


def test_places_are_raw_fields_of_items() -> None:
    """The one kind of answer with vectors has one, a kind without raw values has none."""
    assert PLACE == place_in(KIND)
    assert place_in(internal.CatalogueRow) is None


def test_vectors_are_taken_out_and_nothing_else() -> None:
    """What is left is the answer of a model without dimensions, so its decoding costs nothing."""
    data = b'{"object":"list","data":[{"object":"embedding","embedding":[0.5,1],"index":0}]}'

    rest, lists = take_out([data], b"embedding")

    assert b'{"object":"list","data":[{"object":"embedding","embedding":[0],"index":0}]}' == rest
    assert [b"[0.5,1]"] == lists


@pytest.mark.parametrize("is_cut_twice", [False, True])
def test_it_does_not_matter_where_an_answer_is_cut(is_cut_twice: bool) -> None:
    """Within a name, a number, a bracket's neighbours, and one vector in three pieces."""
    data = (
        rb'{"object":"a]","data":[{"embedding":[0.5, 1],"note":"\"embedding\":[3]"},'
        rb'{"embedding" : [ 2],"index":1},{"embedding":[[4]]},{"embedding":[5]}],"model":"]"}'
    )
    whole = take_out([data], b"embedding")
    assert [b"[0.5, 1]", b"[ 2]", b"[5]"] == whole[1]

    for place in range(1, len(data)):
        for second in range(place + 1, len(data)) if is_cut_twice else [place]:
            assert whole == take_out(cut(data, place, second), b"embedding")


VALUES = st.one_of(
    st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.integers()),
    st.lists(st.one_of(st.none(), st.booleans(), st.text(), st.lists(st.integers()))),
    st.text() | st.integers() | st.none(),
    st.sampled_from(['"embedding":[1]', '\\"embedding":[1]', "embedding", "[1]", "\\"]),
    st.dictionaries(st.sampled_from(["embedding", "a"]), st.lists(st.integers())),
)


@given(
    st.lists(
        st.fixed_dictionaries(
            {"embedding": VALUES}, optional={"object": st.just("embedding"), 'x"embedding': VALUES}
        )
    ),
    st.dictionaries(st.sampled_from(["a", "embedding", "embedding\\"]), VALUES),
    st.sampled_from([None, 2]),
    st.lists(st.integers(0, 500), max_size=4),
)
def test_an_answer_is_what_it_is_when_it_is_decoded_as_it_came(
    items: list[dict[str, object]],
    others: dict[str, object],
    indent: int | None,
    places: list[int],
) -> None:
    """Whatever else it has: keys with quotes, texts that look like members, lists of lists."""
    data = json.dumps({**others, "data": items}, indent=indent).encode()

    found, number = read(data, *places)

    assert number == read(data)[1]
    assert [json.loads(bytes(item.embedding)) for item in decode(data).data] == [
        json.loads(vector) for vector in found
    ]


@pytest.mark.parametrize(
    "items",
    [
        rb'{"embedding":[0.5]},{"embeddin\u0067":[7]}',
        rb'{"embedding":[0.5]},{"embeddin\u0067":[0]}',
        rb'{"embedding":[0.5]},{"embeddin\u0067":[1]}',
        rb'{"embedding":[0.5],"more":{"embedding":[0.25]}}',
        rb'{"embedding":[0.5],"embedding":[0.25]}',
        rb'{"embedding":{"embedding":[0.25]}}',
        rb'{"embedding":100,"more":{"embedding":[0.25]}}',
        rb'{"embedding":"0","more":{"embedding":[0.25]}}',
    ],
)
def test_a_list_is_not_taken_for_the_place_of_another(items: bytes) -> None:
    """Then the answer is decoded as it came: a vector of another text would be worse than late."""
    data = b'{"data":[%b]}' % items

    assert ([bytes(item.embedding) for item in decode(data).data], 0) == read(data)


@pytest.mark.parametrize(
    "items",
    [
        b'{"embedding":["]"]}',
        b'{"embedding":[0.5,"a]b"]},{"embedding":[0.25]}',
        b'{"embedding":["]","],{"]},{"embedding":[1]}',
        b'{"embedding":["]"]},{"embedding":[1]},{"embedding":["]"]}',
    ],
)
def test_a_list_with_a_bracket_in_a_text_is_never_read_as_another(items: bytes) -> None:
    """It ends there, within the text: such a list is not one of numbers, and others are whole."""
    data = b'{"data":[%b]}' % items
    whole = [bytes(item.embedding) for item in decode(data).data]

    for found, right in zip(read(data)[0], whole, strict=True):
        assert found == right or found.count(b'"') == 1


@pytest.mark.parametrize("end", [b"", b"[", b"[0.5", b'["a"'])
def test_a_cut_answer_stays_cut(end: bytes) -> None:
    """Nothing is found in it that is not there."""
    data = b'{"data":[{"embedding":[0.5]},{"embedding":' + end

    rest, lists = take_out([data], b"embedding")

    assert b'{"data":[{"embedding":[0]},{"embedding":' + end == rest
    assert [b"[0.5]"] == lists
    with pytest.raises(msgspec.DecodeError):
        decode(rest)
