"""`keep_alive` and durations are read as Go reads them, and refused in Ollama's words."""

import math
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw, UnsetType

from gateway.transforms import is_zero_duration, keep_alive_problem
from gateway.wire.duration import parse_keep_alive, parse_setting

MINUTE = 60.0


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        (b"null", UNSET),
        (b"0", 0.0),
        (b"-0.0", 0.0),
        (b"0.5", 0.5),
        (b"300", 300.0),
        (b"60.0", 60.0),
        (b"1e3", 1000.0),
        (b"1e300", None),
        (b"-1", None),
        (b"-1.0", None),
        (b'"5m"', 5 * MINUTE),
        (b'"1h30m"', 90 * MINUTE),
        (b'"1.5h"', 90 * MINUTE),
        (b'".5s"', 0.5),
        (b'"1.s"', 1.0),
        (b'"+1s"', 1.0),
        (b'"300ms"', 0.3),
        (b'"2us"', 2e-6),
        ('"2\N{MICRO SIGN}s"'.encode(), 2e-6),
        ('"2\N{GREEK SMALL LETTER MU}s"'.encode(), 2e-6),
        (b'"1ns"', 1e-9),
        (b'"0"', 0.0),
        (b'"-0"', 0.0),
        (b'"+0"', 0.0),
        (b'"0s"', 0.0),
        (b'"-1m"', None),
        (b'"1m1m"', 2 * MINUTE),
        (b'"9223372036854775807ns"', None),
        (b'"2562047h"', 2562047 * 3600.0),
        (b'"1.123456789123456789123456789s"', 1.123456789),
    ],
)
def test_values_that_ollama_takes(sent: bytes, seconds: float | UnsetType | None) -> None:
    """Seconds, forever (None), or no opinion."""
    found = parse_keep_alive(Raw(sent))

    assert UNSET is keep_alive_problem(Raw(sent))
    if isinstance(seconds, float):
        assert isinstance(found, float)
        assert math.isclose(seconds, found, rel_tol=1e-12)
        assert (seconds == 0) is is_zero_duration(Raw(sent))
    else:
        assert seconds is found
        assert not is_zero_duration(Raw(sent))


def test_an_absent_value_is_no_opinion() -> None:
    """Absent and null are the same."""
    assert UNSET is parse_keep_alive(UNSET)
    assert UNSET is keep_alive_problem(UNSET)
    assert not is_zero_duration(UNSET)


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        ('"10"', 'time: missing unit in duration "10"'),
        ('"-1"', 'time: missing unit in duration "-1"'),
        ('"00"', 'time: missing unit in duration "00"'),
        ('"1.2.3s"', 'time: missing unit in duration "1.2.3s"'),
        ('"1s2"', 'time: missing unit in duration "1s2"'),
        ('"abc"', 'time: invalid duration "abc"'),
        ('""', 'time: invalid duration ""'),
        ('"-"', 'time: invalid duration "-"'),
        ('".s"', 'time: invalid duration ".s"'),
        ('"..s"', 'time: invalid duration "..s"'),
        ('"--1s"', 'time: invalid duration "--1s"'),
        ('" 1s"', 'time: invalid duration " 1s"'),
        ('"1d"', 'time: unknown unit "d" in duration "1d"'),
        ('"1s "', 'time: unknown unit "s " in duration "1s "'),
        ('"1 s"', 'time: unknown unit " s" in duration "1 s"'),
        ('"5M"', 'time: unknown unit "M" in duration "5M"'),
        ('"1h2x3s"', 'time: unknown unit "x" in duration "1h2x3s"'),
        ('"1\\""', 'time: unknown unit "\\"" in duration "1\\""'),
        ('"1é"', 'time: unknown unit "\\xc3\\xa9" in duration "1\\xc3\\xa9"'),
        ('"a\\n"', 'time: invalid duration "a\\x0a"'),
        ('"9223372036854775808ns"', 'time: invalid duration "9223372036854775808ns"'),
        ('"2562048h"', 'time: invalid duration "2562048h"'),
        ('"99999999999999999999d"', 'time: invalid duration "99999999999999999999d"'),
        ('"2562047h2562047h"', 'time: invalid duration "2562047h2562047h"'),
        ("true", "Unsupported type: 'bool'"),
        ("[]", "Unsupported type: '[]interface {}'"),
        ("{}", "Unsupported type: 'map[string]interface {}'"),
        ("1e999", "json: cannot unmarshal number 1e999 into Go value of type float64"),
    ],
)
def test_values_that_ollama_refuses(sent: str, text: str) -> None:
    """The text is Ollama's, and a refused value is never zero."""
    assert text == keep_alive_problem(Raw(sent.encode()))
    assert not is_zero_duration(Raw(sent.encode()))
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        parse_keep_alive(Raw(sent.encode()))


def test_the_smallest_negative_duration_is_forever() -> None:
    """Go's integers reach one further below zero."""
    assert None is parse_keep_alive("-9223372036854775808ns")


@given(st.text(alphabet='0123456789.+-nuµmshd "é', max_size=12))
def test_any_text_is_read_or_refused_in_go_s_words(text: str) -> None:
    """Nothing else is ever raised, and what is read is a length of time."""
    problem = keep_alive_problem(Raw(msgspec.json.encode(text)))

    if isinstance(problem, str):
        assert problem.startswith("time: ")
    else:
        seconds = parse_keep_alive(text)
        assert seconds is None or (isinstance(seconds, float) and seconds >= 0)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5m", 300.0),
        (" 10m ", 600.0),
        ("90", 90.0),
        ("+90", 90.0),
        ("0", 0.0),
        ("-1", None),
        ("-5m", None),
        ("1.5h", 5400.0),
        ("1.5", 300.0),
        ("", 300.0),
        ("forever", 300.0),
        ("9" * 5000, 300.0),
        ("9" * 19, None),
    ],
)
def test_settings_are_durations_or_seconds(text: str, seconds: float | None) -> None:
    """What can't be read is five minutes."""
    assert seconds == parse_setting(text)
