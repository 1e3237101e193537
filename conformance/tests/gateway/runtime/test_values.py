"""Small things on the wire: escapes, times, durations, values in error texts."""

import json
import os
import re
import time
from collections.abc import Iterator

import msgspec
import pytest
from msgspec import UNSET, Raw

from conformance.tests.gateway.support import CHAT, LOADED, Pair, chat, frames, lines_of, written
from gateway.runtime.values import _log_once, decode_each, shown, value_of
from gateway.wire.times import local_text, utc_text
from gateway.wire.writing import encode, encode_error, encode_line

ODD_TEXT = (
    'a<b>&c \N{LINE SEPARATOR}\N{PARAGRAPH SEPARATOR} \u2026 \N{SLIGHTLY SMILING FACE} "q" \\ \t'
)
WIRE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")


# -- escapes ---------------------------------------------------------------------------------------


def test_what_html_could_misread_is_escaped() -> None:
    """As Go writes JSON; everything else stays as it is (docs/facts/ollama.md#json-out)."""
    data = encode({"a": ODD_TEXT})
    assert (
        '{"a":"a\\u003cb\\u003e\\u0026c \\u2028\\u2029 \u2026 \N{SLIGHTLY SMILING FACE} '
        '\\"q\\" \\\\ \\t"}'
    ) == data.decode()
    assert {"a": ODD_TEXT} == json.loads(data)


def test_keys_are_escaped_too() -> None:
    """A key is a text like any other."""
    assert b'{"\\u003ca\\u003e":1}' == encode({"<a>": 1})


def test_raw_values_are_escaped_too() -> None:
    """What was kept as sent is written by us all the same."""
    assert b'{"a":["\\u003c"]}' == encode({"a": Raw(b'["<"]')})


def test_a_line_is_one_line() -> None:
    """Whatever the text holds, the only line end is the last byte."""
    line = encode_line({"a": "one\ntwo\r\N{NEXT LINE}\N{LINE SEPARATOR}"})
    assert (1, True) == (line.count(b"\n"), line.endswith(b"}\n"))
    assert b"\r" not in line


def test_an_error_is_one_object() -> None:
    """With one key."""
    assert b'{"error":"no \\u003cmodel\\u003e"}' == encode_error("no <model>")


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "one-shot"])
async def test_frames_are_escaped(pair: Pair, streamed: bool) -> None:
    """What a model says reaches the client as it was said, in Ollama's spelling."""
    events = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ODD_TEXT}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]
    text = "".join(f"data: {json.dumps(one)}\n\n" for one in events) + "data: [DONE]\n\n"
    pair.script({"match": {"path": CHAT}, "answer": {"chunks": [[0, text]]}})
    answer = await pair.post("/api/chat", chat(stream=streamed))
    assert ODD_TEXT == "".join(frame["message"]["content"] for frame in frames(answer.text))
    assert b"a\\u003cb\\u003e\\u0026c \\u2028\\u2029 " in answer.content
    assert "\N{SLIGHTLY SMILING FACE}".encode() in answer.content


async def test_error_texts_are_escaped(pair: Pair) -> None:
    """A name that a client made up comes back in one, escaped."""
    answer = await pair.post("/api/chat", {"model": "no-such-<b>"})
    assert b"<" not in answer.content
    answer = await pair.post("/api/generate", {"model": "a&b"})
    assert b"&" not in answer.content


# -- times -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (1_700_000_000_120_000_000, "2023-11-14T22:13:20.12Z"),
        (1_700_000_000_000_000_000, "2023-11-14T22:13:20Z"),
        (1_700_000_000_000_000_001, "2023-11-14T22:13:20.000000001Z"),
        (1_700_000_000_123_456_789, "2023-11-14T22:13:20.123456789Z"),
        (1_700_000_000_100_000_000, "2023-11-14T22:13:20.1Z"),
        (0, "1970-01-01T00:00:00Z"),
    ],
)
def test_a_frames_time_is_utc_without_trailing_zeros(nanoseconds: int, text: str) -> None:
    """As Go prints it (docs/facts/ollama.md#frame-times)."""
    assert text == utc_text(nanoseconds)


def test_frames_of_one_second_and_of_others_are_told_apart() -> None:
    """What is kept of the last second is right for it alone, also when a clock is set back."""
    second = 1_000_000_000
    texts = [utc_text(at * second + 5) for at in (100, 100, 101, 100, 99)]
    seconds = [f"1970-01-01T00:01:{at}.000000005Z" for at in (40, 40, 41, 40, 39)]
    assert seconds == texts


@pytest.fixture
def zone(request: pytest.FixtureRequest) -> Iterator[str]:
    """Let the server be in some other zone for one test."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    yield request.param
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.parametrize(
    ("zone", "seconds", "text"),
    [
        ("UTC", 1_700_000_000.5, "2023-11-14T22:13:20.5Z"),
        ("UTC", 1_700_000_000.0, "2023-11-14T22:13:20Z"),
        ("XXX-02:00", 1_700_000_000.25, "2023-11-15T00:13:20.25+02:00"),
        ("XXX+03:30", 1_700_000_000.0, "2023-11-14T18:43:20-03:30"),
        ("XXX-05:45", 1_700_000_000.0, "2023-11-15T03:58:20+05:45"),
    ],
    indirect=["zone"],
)
def test_a_models_time_is_the_servers(zone: str, seconds: float, text: str) -> None:
    """In its zone, UTC as Z (docs/facts/ollama.md#model-times)."""
    assert text == local_text(seconds)


@pytest.mark.parametrize("zone", ["XXX-02:00"], indirect=True)
async def test_times_on_the_wire(fresh: Pair, zone: str) -> None:
    """Frames are UTC, models' times are local, and all of them are legal."""
    answer = await fresh.post("/api/chat", chat(stream=True))
    created = {frame["created_at"] for frame in frames(answer.text)}
    assert all(WIRE_TIME.fullmatch(text) and text.endswith("Z") for text in created)
    models = (await fresh.get("/api/tags"))["models"]
    show = (await fresh.post("/api/show", {"model": LOADED})).json()
    running = (await fresh.running()).values()
    local = [one["modified_at"] for one in [*models, show]]
    local += [one["expires_at"] for one in running]
    assert all(WIRE_TIME.fullmatch(text) and text.endswith("+02:00") for text in local)


async def test_a_models_time_is_when_it_was_first_seen(pair: Pair) -> None:
    """It does not change from look to look."""
    first, second = [
        {one["name"]: one["modified_at"] for one in (await pair.get("/api/tags"))["models"]}
        for _ in range(2)
    ]
    assert first == second


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        ("", ""),
        (None, ""),
        (UNSET, ""),
        (7, "7"),
        (Raw(b'"xml"'), '"\\"xml\\""'),
        (Raw(b"1"), '"1"'),
        (Raw(b"[]"), '"[]"'),
        (Raw(b'{"a": true}'), '"{\\"a\\": true}"'),
        (Raw('"\N{SLIGHTLY SMILING FACE}"'.encode()), '"\\"\N{SLIGHTLY SMILING FACE}\\""'),
    ],
)
def test_a_value_in_an_error_text(value: object, text: str) -> None:
    """Nothing for absence, raw JSON as Go quotes it."""
    assert text == shown(value)


def test_the_value_of_raw_json() -> None:
    """Null is None."""
    assert [None, True, [1.5], {"a": "b"}] == [
        value_of(Raw(text)) for text in (b"null", b"true", b"[1.5]", b'{"a":"b"}')
    ]


def test_items_that_can_not_be_read_are_left_out() -> None:
    """The others stay, in their order, and the log tells of it once, as it tells of all else."""
    decoder = msgspec.json.Decoder(int)
    items = [Raw(text) for text in (b"1", b'"two"', b"null", b"4")]
    _log_once.cache_clear()
    with written(format="json") as stream:
        for _ in range(2):
            assert [1, 4] == list(decode_each(items, decoder))
    lines = lines_of(stream, "left out an entry of LM Studio's list")
    assert 0 < len(lines) <= 2
    assert all(line["reason"] for line in lines)
