"""Large bodies are read in steps: to the same end as small ones, with bounded work in each step."""

import json
import random
from collections.abc import Callable, Generator, Iterator
from io import BytesIO
from itertools import chain
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.tests.gateway.interpreter import Steps
from conformance.tests.gateway.wire.steps import SIZES, counted, done, in_small_steps
from gateway.engine.endpoint import BodyReader
from gateway.engine.limits import check_depth
from gateway.faults import Refusal
from gateway.plans.endpoints import ENDPOINTS
from gateway.settings.schema import LimitSettings
from gateway.wire import writing
from gateway.wire.large import Sizes, is_deeper_in_steps, read_in_steps
from gateway.wire.reading import read_slowly
from gateway.wire.splitting import SMALL, WINDOW
from gateway.wire.writing import (
    RawNumbers,
    encode,
    encode_in_parts,
    encode_in_steps,
    make_numbers,
)

READERS = {
    endpoint.path: endpoint.reader
    for endpoint in ENDPOINTS
    if isinstance(endpoint.reader, BodyReader)
}
BODIES = [
    (
        "/api/chat",
        b'{"model":"fir","messages":[{"role":"user","content":"Fog \\ud83d\\ude00 \\n on",'
        b'"images":["aGk=","iVBORw0KGgo="]},{"role":"assistant","tool_calls":[{"id":"t1",'
        b'"function":{"name":"tide","arguments":{"at":[1,2,{"b":"c"}]}}},{"function":{"name":'
        b'"wind","arguments":{}}}]},{"role":"tool","content":"4","tool_name":"tide"}],"tools":'
        b'[{"type":"function","function":{"name":"tide","description":"d","parameters":{"type":'
        b'"object","properties":{"at":{"type":["string","null"],"enum":["x"]}},"required":["at"]'
        b'}}}],"options":{"seed":1,"stop":["a"],"temperature":0.5},"stream":false,"think":"low",'
        b'"format":{"type":"object"},"keep_alive":"5m"}',
    ),
    (
        "/api/generate",
        b'{"model":"fir","prompt":"\\u00e9\xc3\xa9","context":[1,2,3,4,5,6,7],"images":["aGk="],'
        b'"raw":true,"options":{},"format":"json","suffix":null}',
    ),
    (
        "/api/embed",
        b'{"model":"fir","input":["a","b",["c"],{"e":1.5}],"dimensions":5,"options":{"num_ctx":1e3}}',
    ),
    (
        "/api/create",
        b'{"model":"fir","from":"x","parameters":{"stop":["a"],"seed":1},"messages":[{"role":"user",'
        b'"content":"a"}],"files":{"a":"sha256:b"},"license":["a","b"]}',
    ),
]
PIECES = [
    b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"1", b"-", b".", b"e", b"null", b"true",
    b" ", b"\n", b"\xff", b"\xc3", b"\\ud83d", b"\\u12", b"\x01", b'"x":1,', b"{},", b"[],",
    b"1e400,", b'"Model":"y",', b"null,", b'"\\ud800",', b"0", b"5,", b'"a",', b"[[[[[1]]]],2],",
]  # fmt: skip


def mutated(body: bytes, dice: random.Random) -> bytes:
    """Return a body with up to three changes."""
    for _ in range(dice.choice([0, 1, 1, 1, 2, 3])):
        at = dice.randrange(len(body) + 1)
        change = dice.random()
        if change < 0.45:
            body = body[:at] + dice.choice(PIECES) + body[at:]
        elif change < 0.7:
            body = body[:at] + body[at + dice.randrange(1, 4) :]
        elif change < 0.95:
            body = body[:at] + dice.choice(PIECES) + body[at + 1 :]
        else:
            body = body[:at]
    return body


def outcome(work: Callable[[], Any]) -> tuple[Any, ...]:
    """Return a request as plain data, or a refusal."""
    try:
        return ("read", without_blanks(msgspec.json.encode(work())))
    except Refusal as refusal:
        return ("refused", refusal.status, refusal.error)


def without_blanks(text: bytes) -> bytes:
    """Blanks in values that are kept as sent differ, as they do between the other two paths."""
    return text.translate(None, b" \n")


def has_equal_keys(body: bytes) -> bool:
    """Whether a key comes twice, where only the last one counts in a large body."""
    found = False

    def note(pairs: list[tuple[str, Any]]) -> None:
        nonlocal found
        names = [key.lower() for key, _ in pairs]
        found = found or len(names) != len(set(names))

    try:
        json.loads(body.decode("utf-8", "replace"), object_pairs_hook=note, strict=False)
    except ValueError:
        return False
    return found


@pytest.mark.parametrize("seed", range(6))
def test_steps_change_nothing(seed: int) -> None:
    """Whatever is wrong with a body, and wherever it is cut, it ends as a small one does."""
    dice = random.Random(seed)
    ends = set[str]()
    for _ in range(400):
        path, body = dice.choice(BODIES)
        body = mutated(body, dice)
        if has_equal_keys(body):
            continue
        reader = READERS[path]
        given: dict[str, Any] = {"rules": reader.rules, "objects": reader.objects}
        at_once = outcome(
            lambda: read_slowly(body, reader.kind, reader.decoder, reader.go_name, **given)  # noqa: B023 - called at once
        )
        window, small = dice.choice([(12, 12), (13, 30), (16, 24), (40, 20), (64, 64), (300, 100)])
        in_steps = outcome(
            lambda: in_small_steps(
                window,  # noqa: B023 - called at once
                small,  # noqa: B023 - called at once
                lambda: done(
                    read_in_steps(body, reader.kind, reader.go_name, sizes=SIZES, **given)  # noqa: B023 - called at once
                ),
            )
        )
        assert at_once == in_steps, body
        ends.add(at_once[0])
    assert {"read", "refused"} == ends


UNITS = [
    *(b"a", b" ", b"fog on the tide", "é".encode(), "€".encode(), "😀".encode(), b"[{", b"<"),
    *(
        rb"\n",
        rb"\\",
        rb"\"",
        rb"\/",
        rb"\u00e9",
        rb"\ud83d",
        rb"\uDe00",
        rb"\ud83d\ude00",
        rb"\u0022",
    ),
]
ODD = [b"\xff", b"\xe2\x82", b"\xed\xa0\xbd", b"\x01", b"\n", rb"\x", rb"\u12", rb"\u", b"\\", b'"']


@given(
    units=st.lists(st.sampled_from(UNITS), max_size=80),
    odd=st.lists(st.tuples(st.integers(0, 80), st.sampled_from(ODD)), max_size=2),
    cut=st.one_of(st.none(), st.integers(1, 400)),
    sizes=st.tuples(st.integers(12, 70), st.integers(12, 70)),
    is_wanted=st.booleans(),
)
@settings(max_examples=600, deadline=None)
def test_texts_are_cut_between_units(
    units: list[bytes],
    odd: list[tuple[int, bytes]],
    cut: int | None,
    sizes: tuple[int, int],
    is_wanted: bool,
) -> None:
    """Of characters, escapes and pairs, broken ones included, none is cut by a step's end."""
    for at, piece in odd:
        units = [*units[:at], piece, *units[at:]]
    name = b"prompt" if is_wanted else b"other"
    body = b'{"%b":"%b","model":"m"}' % (name, b"".join(units))
    if cut is not None:
        body = body[:cut]
    reader = READERS["/api/generate"]
    rules: dict[str, Any] = {"rules": reader.rules, "objects": reader.objects}
    at_once = outcome(
        lambda: read_slowly(body, reader.kind, reader.decoder, reader.go_name, **rules)
    )
    in_steps = outcome(
        lambda: in_small_steps(
            *sizes,
            lambda: done(read_in_steps(body, reader.kind, reader.go_name, sizes=SIZES, **rules)),
        )
    )
    assert at_once == in_steps


MANY = 40
KINDS: dict[str, tuple[str, bytes, bytes, bytes]] = {
    "broken at its end": ("/api/chat", b'{"x":[', b"1," * 1000, b"1]!"),
    "numbers for tools": ("/api/chat", b'{"tools":[', b"5," * 1000, b"5]}"),
    "unknown key": ("/api/chat", b'{"x":[', b'{"a":[1,"b"]},' * 200, b"1]}"),
    "deep and flat": ("/api/chat", b'{"x":[', b"[[[[[]]]]]," * 200, b"1]}"),
    "escapes": ("/api/generate", b'{"prompt":"\\ud83d', b"\\n" * 1000, b'"}'),
    "unknown text": ("/api/chat", b'{"x":"', b"fog " * 1000, b'"}'),
    "halves of pairs": ("/api/generate", b'{"prompt":"', b"\\ud83d\\n" * 150, b'"}'),
    "quotes": ("/api/generate", b'{"prompt":"', b'\\"' * 1000, b'"}'),
    "plain text": ("/api/generate", b'{"prompt":"', b"fog " * 1000, b'"}'),
    "messages": ("/api/chat", b'{"messages":[', b'{"role":"user","foo":1},' * 100, b'{"role":"u"}]}'),  # noqa: E501 - a row of a table
    "tokens": ("/api/generate", b'{"extra":1,"context":[', b"1," * 1000, b"1]}"),
    "members": ("/api/chat", b"{", b'"k":1,' * 300, b'"model":"m"}'),
    "images": ("/api/generate", b'{"images":["', b"QUJD" * 1000, b'"]}'),
    "a bad image": ("/api/generate", b'{"images":["', b"QUJD" * 1000, b'*"]}'),
    "blanks": ("/api/chat", b'{"model":', b" " * 4000, b'"m"}'),
}  # fmt: skip


def longest_step(steps: Generator[None, None, Any]) -> tuple[int, int]:
    """Return the number of steps, and the most that the interpreter does in one of them."""
    most, number = 0, 0
    with Steps() as work:
        while True:
            work.taken = 0
            try:
                next(steps)
            except (StopIteration, Refusal):
                return number, max(most, work.taken)
            most, number = max(most, work.taken), number + 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_larger_body_has_more_steps_and_no_longer_ones(kind: str) -> None:
    """What one step does is bounded by the step, whatever the body is and however long."""
    path, start, piece, end = KINDS[kind]
    reader = READERS[path]

    def steps_of(pieces: int) -> tuple[int, int]:
        body = start + piece * pieces + end
        return longest_step(reader.read_in_steps(body, Sizes(10**9, 10**9)))

    steps_of(1)
    few, short = steps_of(MANY)
    many, long = steps_of(4 * MANY)
    assert many > 2 * few, (few, many)
    # A check's or a pattern's work differs with where a step happens to end.
    assert long < 1.5 * short + 2000, (short, long)
    assert long < 30 * SMALL, long


def test_what_must_be_seen_whole_has_a_limit() -> None:
    """A text, and a value that is kept as it was sent."""
    reader = READERS["/api/chat"]
    sizes = Sizes(text_bytes=10_000, json_bytes=6_000)
    for body, words in (
        (b'{"messages":[{"content":"%b"}]}' % (b"x" * 10_001), "a text in the body has 10003"),
        (b'{"format":{"a":"%b"}}' % (b"x" * 6_000), "a value in the body has 6008"),
        (b'{"model":"%b"}' % (b"x" * 10_001), "a text in the body has 10003"),
    ):
        with pytest.raises(Refusal, match=words) as caught:
            done(reader.read_in_steps(body, sizes))
        assert 413 == caught.value.status
    fine = b'{"messages":[{"content":"%b"}],"x":{"a":"%b"}}' % (b"x" * 9_000, b"x" * 90_000)
    assert 9_000 == len(done(reader.read_in_steps(fine, sizes)).messages[0].content)


@pytest.mark.parametrize("seed", range(3))
def test_depth_is_found_in_steps(seed: int) -> None:
    """The levels of a body are the same, whether they are counted at once or in steps."""
    dice = random.Random(seed)
    for _ in range(1000):
        levels, most, body = 0, 0, b""
        for _ in range(dice.randrange(40)):
            mark = dice.choice([b"[", b"[", b"{", b"]", b"}", b"x", b",", b'"'])
            levels += (mark in (b"[", b"{")) - (mark in (b"]", b"}"))
            most = max(most, levels)
            if mark == b'"':
                inside = [b"\\\\", b'\\"', b"[", b"}", b"x"]
                mark = b'"%b"' % b"".join(dice.choice(inside) for _ in range(dice.randrange(6)))
            body += mark
        window, limit = dice.choice([1, 2, 3, 7, 50]), dice.choice([0, 3, 5, 6, 7, 9])
        found = in_small_steps(window, 1, lambda: done(is_deeper_in_steps(body, limit)))  # noqa: B023 - called at once
        assert found == (most > limit), (body, limit)


def test_depth_of_a_whole_body() -> None:
    """The limit is the same for bodies of all sizes."""
    limits = LimitSettings(json_depth=5)
    filler = b'"[%b",' % (b"x" * WINDOW)
    for depth in (4, 5, 6):
        body = b'{"a":[' + filler * 3 + b"[" * (depth - 2) + b"]" * (depth - 2) + b"]}"
        number, is_deeper = counted(is_deeper_in_steps(body, limits.json_depth))
        assert is_deeper == (depth > 5)
        assert number >= 3, "brackets in texts count for nothing"
        if is_deeper:
            with pytest.raises(Refusal):
                check_depth(body, limits)
        else:
            check_depth(body, limits)


class Inner(msgspec.Struct, omit_defaults=True):
    """An item of a list, or a part of one."""

    text: str
    parts: list[str] = []
    inner: "Inner | None" = None


class Whole(msgspec.Struct, omit_defaults=True):
    """A struct with fields of all kinds."""

    name: str
    numbers: list[int] = []
    texts: list[str] = []
    parts: list[Inner] = []
    end: str = "-"


@pytest.mark.parametrize("number", [0, 1, 200])
def test_what_is_written_in_steps_is_what_is_written_at_once(number: int) -> None:
    """Escapes, long texts and lists within lists included."""
    parts = [
        Inner(f"<{at}>", ["&", "\u2028"][: at % 3], Inner("é" * (at * 2000)) if at % 2 else None)
        for at in range(number)
    ]
    whole = Whole("a<", list(range(number)), ["<b>"] * number, parts, "&" * (number * 2000))
    at_once = encode(whole)
    assert at_once == done(encode_in_steps(whole))
    # A struct that holds little is written in one step, and is kept.
    assert ([None] * number == whole.parts) == (number != 1)


def test_each_character_that_go_escapes_is_escaped() -> None:
    """With and without the others, in ASCII and in other texts."""
    for other in ("", "é", "<>&\u2028\u2029"):
        for escaped in "<>&\u2028\u2029":
            text = f"a{escaped}b{escaped}{other}"
            written = encode([text])
            assert [text] == msgspec.json.decode(written)
            assert not any(each in written.decode() for each in "<>&\u2028\u2029")
            assert written.count(b"\\u%04x" % ord(escaped)) == 2 + other.count(escaped)


@pytest.mark.parametrize("long", [0, 20, 3000, 400_000])
def test_a_step_writes_so_much(long: int) -> None:
    """Small parts are written together, however many there are, and large ones in pieces."""
    parts = [
        Inner("a", ["b"] * 3, Inner("c" * long, ["d" * long]))
        for _ in range(9_000_000 // (9000 + long))
    ]
    texts = ["e" * long for _ in range(3000 if long < 9000 else 3)]
    whole = Whole("f", list(range(3000)), texts, parts, "g" * long)
    sizes = [0]

    class Noted(BytesIO):
        def write(self, data: Any) -> int:
            sizes[-1] += len(data)
            return super().write(data)

    at_once = encode(whole)
    with patch.object(writing, "BytesIO", Noted):

        def noted() -> Generator[None, None, bytes]:
            steps = encode_in_steps(whole)
            while True:
                try:
                    next(steps)
                except StopIteration as end:
                    return bytes(end.value)
                sizes.append(0)
                yield

        assert at_once == done(noted())
    assert 400_000 > max(sizes)
    assert len(sizes) <= 20 + len(at_once) // 30_000 + 2 * (len(parts) + len(texts)) // 60


class Raws(msgspec.Struct):
    """A struct with lists of raw values and others."""

    name: str
    first: list[msgspec.Raw]
    texts: list[str]
    second: list[msgspec.Raw]
    number: int = 1


@pytest.mark.parametrize("number", [0, 1, 7])
@pytest.mark.parametrize("kind", [list, RawNumbers])
def test_what_is_written_in_parts_is_what_is_written_at_once(
    number: int, kind: type[list[msgspec.Raw]]
) -> None:
    """Escapes within raw values included, unless they are numbers: these are not copied."""
    items = [msgspec.Raw(b"[%d,0.5]" % at) for at in range(number)]
    answer = Raws("a<", [msgspec.Raw(b'"<&>"')], ["<b>"] * number, kind(items))
    parts = encode_in_parts(answer)

    assert encode(answer) == b"".join(parts)
    assert len(parts) == (2 * number + 1 if kind is RawNumbers else 1)
    assert kind is list or [bytes(item) for item in items] == parts[1::2]


def test_numbers_that_are_made_later_are_written_as_those_that_are_there() -> None:
    """Not one of them is left out by who does not know of it."""

    def later() -> Iterator[list[msgspec.Raw]]:
        for at in range(5):
            yield [msgspec.Raw(b"[%d]" % at), msgspec.Raw(b"[0.5]")]

    numbers = RawNumbers(later=later())
    answer = Raws("a", numbers, ["<"], [])
    with pytest.raises(TypeError):
        encode(answer)
    assert [None] * 5 == list(make_numbers(answer)), "steps"
    there = Raws("a", RawNumbers(chain.from_iterable(later())), ["<"], [])
    assert encode(there) == encode(answer) == b"".join(encode_in_parts(answer))
    assert [] == list(make_numbers(answer)), "they are made once"
