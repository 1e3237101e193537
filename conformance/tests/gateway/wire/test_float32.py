"""Lists of 32-bit numbers: what Go writes, with libraries and without."""

import asyncio
import math
import struct
import sys
from collections.abc import Iterator
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire import float32

WAYS = ("simdjson", "numpy", "python")


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Read by simdjson and write by numpy and orjson, or only that, or calculate all."""
    found: str = request.param
    use(found, monkeypatch)
    return found


def use(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the libraries or not, whether they are loaded already or not."""
    libraries = float32._Libraries()
    if way == "simdjson":
        pytest.importorskip("simdjson")
    else:
        monkeypatch.setitem(sys.modules, "simdjson", None)
    if way == "python":
        monkeypatch.setitem(sys.modules, "orjson", None)
    libraries.load()
    compiled = libraries.compiled
    assert (compiled is None) == (way == "python")
    assert compiled is None or (compiled.parser is None) == (way == "numpy")
    monkeypatch.setattr(float32, "_libraries", libraries)


def bits_of(number: float) -> bytes:
    return struct.pack("<f", number)


def shortest(number: float) -> str:
    """Return what Go writes, by trying: the oracle, which shares nothing with either way."""
    if number == 0:
        return "-0" if str(number).startswith("-") else "0"
    exact = abs(Fraction(number))
    sign = "-" if number < 0 else ""
    power = 0
    while exact >= 10 ** (power + 1):
        power += 1
    while exact < Fraction(10) ** power:
        power -= 1
    for places in range(9):
        unit = Fraction(10) ** (power - places)
        below = exact // unit
        for count in sorted((below, below + 1), key=lambda n: (abs(n * unit - exact), n % 2)):
            near = float(count * unit)
            if count and near < 2.0**128 - 2.0**103 and bits_of(near) == bits_of(float(exact)):
                return sign + as_go(str(int(count)), power - places)
    raise AssertionError(number)


def as_go(digits: str, power: int) -> str:
    """Return digits times a power of ten."""
    power += len(digits) - 1
    digits = digits.rstrip("0")
    if power < -6 or power >= 21:
        rest = "." + digits[1:] if digits[1:] else ""
        return f"{digits[0]}{rest}e{'-' if power < 0 else '+'}{abs(power)}"
    if power < 0:
        return "0." + "0" * (-power - 1) + digits
    whole, rest = digits[: power + 1].ljust(power + 1, "0"), digits[power + 1 :]
    return whole + ("." + rest if rest else "")


EDGES = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    1e-6,
    9.999999e-7,
    1e-7,
    1e20,
    9.999999e20,
    1e21,
    3.4028235e38,
    1e-45,
]
POWERS = [2.0**power for power in range(-149, 128) if power != -12]
"""Below each of them, numbers are twice as near as above. Go rounds 2**-12 up, which is a half."""


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_edges_are_written_as_go_does(way: str, sign: float) -> None:
    """Where exponents begin, the greatest, the least, integers, and all powers of two."""
    numbers = [
        struct.unpack("<f", bits_of(sign * number))[0] for number in (*EDGES, *POWERS, 2.0**-149)
    ]

    assert "[" + ",".join(map(shortest, numbers)) + "]" == float32.of([numbers]).texts()[0].decode()


@pytest.mark.parametrize("name", WAYS)
@given(
    numbers=st.lists(
        st.floats(width=32, allow_nan=False, allow_infinity=False)
        | st.floats(-1, 1, width=32)
        | st.floats(-1, 1).map(lambda x: struct.unpack("<f", bits_of(x / 28))[0]),
        min_size=1,
        max_size=30,
    ).filter(lambda found: all(abs(number) != 2.0**-12 for number in found))
)
def test_numbers_are_written_as_go_does(name: str, numbers: list[float]) -> None:
    """Each reads back as the same number, and no shorter text would (ollama.md#vectors)."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        use(name, monkeypatch)

        assert (
            "[" + ",".join(map(shortest, numbers)) + "]"
            == float32.of([numbers]).texts()[0].decode()
        )


def test_what_is_read_can_be_written(way: str) -> None:
    """With blanks, integers, and doubles that have more than 32 bits."""
    found = float32.read([b"[ 0.10000000149011612,\n1, -2.50e-1, 1.0, 1E-3 ]"])

    assert 5 == found.width
    assert [[0.10000000149011612, 1, -0.25, 1, 0.0010000000474974513]] == found.singles()
    assert [b"[0.1,1,-0.25,1,0.001]"] == found.texts()
    assert [b"[0.1,1]"] == found.first(2).texts()
    assert [b"[0.2,2,-0.5,2,0.002]"] == found.over([0.5]).texts()
    assert [struct.pack("<5f", 0.1, 1, -0.25, 1, 0.001)] == found.packed()


def test_each_of_several_vectors_stays_what_it_is(way: str) -> None:
    """They are read and written together: in their order, with what only one of them has."""
    found = float32.read([b"[3,4.5]", b"[ 2.5e-7 ,0.10000000149011612]", b"[1e22, -0.0]"])

    assert [b"[3,4.5]", b"[2.5e-7,0.1]", b"[1e+22,-0]"] == found.texts()
    assert [b"[1.5,2.25]", b"[2.5e-7,0.1]", b"[1e+21,-0]"] == found.over([2, 1, 10]).texts()
    assert [b"[3]", b"[2.5e-7]", b"[1e+22]"] == found.first(1).texts()
    assert [pytest.approx(length) for length in (29.25**0.5, 0.1, 1e22)] == found.lengths()
    assert [[3, 4.5], [2.5e-7, 0.1], [1e22, 0]] == [
        pytest.approx(row, rel=1e-6) for row in found.singles()
    ]
    assert [struct.pack("<2f", *row) for row in found.singles()] == found.packed()


@given(
    st.integers(1, 5).flatmap(
        lambda width: st.lists(
            st.lists(st.floats(-1, 1), min_size=width, max_size=width), min_size=1, max_size=5
        )
    )
)
def test_several_vectors_are_what_each_is_alone(rows: list[list[float]]) -> None:
    """Whichever way reads and writes them, and also divided by their lengths."""
    lists = [msgspec.json.encode(row) for row in rows]
    alone = [float32.read([data]) for data in lists]
    together = float32.read(lists)

    assert [each.texts()[0] for each in alone] == together.texts()
    assert [each.lengths()[0] for each in alone] == pytest.approx(together.lengths(), rel=1e-15)
    assert [each.over([3.0]).texts()[0] for each in alone] == together.over(
        [3.0] * len(rows)
    ).texts()
    for way in WAYS[1:]:
        with pytest.MonkeyPatch.context() as monkeypatch:
            use(way, monkeypatch)
            assert float32.read(lists).texts() == together.texts()


def test_vectors_of_different_lengths_are_told(way: str) -> None:
    """And an empty one for what it is, beside others, too."""
    with pytest.raises(float32.Ragged):
        float32.read([b"[1,2]", b"[3]"])
    for lists in ([b"[]"], [b"[1,2]", b"[ ]"]):
        with pytest.raises(ValueError, match="without numbers"):
            float32.read(lists)


def test_integers_of_more_than_64_bits_are_read(way: str) -> None:
    """They are numbers like any others, and the vectors after them are read as before."""
    large = b"[1%b,0.5]" % (b"0" * 29)

    assert [b"[1e+29,0.5]"] == float32.read([large]).texts()
    assert [b"[0.5,0.25]", b"[1e+29,0.5]"] == float32.read([b"[0.5,0.25]", large]).texts()
    assert [b"[0.5]"] == float32.read([b"[0.5]"]).texts()


@pytest.mark.parametrize(("size", "count"), [(10, 1), (10, 3), (100_000, 1), (50_000, 2)])
def test_a_parser_is_used_again_unless_it_holds_much(size: int, count: int) -> None:
    """It takes its memory once for all vectors of a thread; a large document's is given back."""
    pytest.importorskip("simdjson")
    lists = [msgspec.json.encode([0.10000000149011612] * size)] * count
    float32.read(lists)
    kept = float32._of_thread.parser
    float32.read(lists)

    assert (kept is None) is (size > 10)
    assert kept is float32._of_thread.parser


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e-200, 1e30, 1e200])
def test_a_length_is_that_of_the_numbers(way: str, scale: float) -> None:
    """Also where the squares are too small or too large for a double."""
    data = f"[{3 * scale},{4 * scale}]".encode()
    for lists in ([data], [data, b"[0.3,0.4]"]):
        found = float32.read(lists)
        lengths = found.lengths()

        assert [5 * scale, 0.5][: len(lists)] == pytest.approx(lengths, rel=1e-12)
        assert {b"[0.6,0.8]"} == {*found.over(lengths).texts()}


def test_a_length_may_be_infinite_or_nothing(way: str) -> None:
    """Neither is a fault of the list."""
    assert [0] == float32.read([b"[0,-0.0]"]).lengths()
    assert [math.inf] == float32.read([b"[1.7e308,1.7e308]"]).lengths()
    assert [0, math.inf, 5] == float32.read([b"[0,-0.0]", b"[1.7e308,1.7e308]", b"[3,4]"]).lengths()


@pytest.mark.parametrize(
    "data", [b"null", b"{}", b"1", b'"1"', b"[null]", b"[1,true]", b"[false]", b'["1"]', b"[[1]]"]
)
def test_what_is_no_list_of_numbers_is_told(way: str, data: bytes) -> None:
    """By ValueError, whichever way reads it."""
    assert not float32.is_list_of_numbers(data)
    with pytest.raises(ValueError, match="number"):
        float32.read([data])
    with pytest.raises(ValueError, match="number"):
        float32.read([b"[0.5]", data, b"[0.25]"])


@pytest.mark.parametrize("number", ["3.4028235677973366e38", "-1e39"])
def test_numbers_of_more_than_32_bits_are_told(way: str, number: str) -> None:
    """An index would take an infinity for a number. The first one is the least of them."""
    data = f"[0.5,{number}]".encode()
    for found in (
        float32.of([[float(number)]]),
        float32.read([data]),
        float32.read([b"[1,2]", data]),
    ):
        for act in (found.texts, found.singles):
            with pytest.raises(ValueError, match="more than 32 bits"):
                act()
        assert math.inf == abs(struct.unpack("<f", found.packed()[-1][-4:])[0])


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[float32._Libraries]:
    """No library is loaded, and loading them is noted."""
    pytest.importorskip("orjson")
    libraries = float32._Libraries()
    monkeypatch.setattr(float32, "_libraries", libraries)
    yield libraries
    if libraries._loading is not None:
        libraries._loading.join()


async def test_a_loop_does_not_wait_for_loading(unloaded: float32._Libraries) -> None:
    """Numbers are calculated meanwhile, and another thread loads them, once."""
    assert [b"[0.1]"] == float32.of([[0.1]]).texts()
    assert unloaded._loading is not None
    thread = unloaded._loading
    assert [b"[0.1]"] == float32.of([[0.1]]).texts()
    await asyncio.to_thread(thread.join)

    assert unloaded.get() is not None
    assert thread is unloaded._loading


def test_a_thread_loads_them_itself(unloaded: float32._Libraries) -> None:
    """Nobody waits for that thread."""
    assert unloaded.get() is not None
    assert unloaded._loading is None


def test_another_version_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that writes other exponents than Go would not be noticed otherwise."""
    module = type(sys)("orjson")
    module.OPT_SERIALIZE_NUMPY = 0  # type: ignore[attr-defined]  # a made module
    module.dumps = lambda numbers, option: str(numbers.tolist()).encode()  # type: ignore[attr-defined]  # a made module
    monkeypatch.setitem(sys.modules, "orjson", module)
    libraries = float32._Libraries()
    libraries.load()

    assert libraries.compiled is None
