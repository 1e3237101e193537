"""Thinking: what is refused, what is sent to LM Studio, what models are said to support."""

import pytest
from msgspec import UNSET, Raw, UnsetType

from gateway.transforms import (
    asks_to_think,
    reasoning_effort,
    reasoning_options,
    think_problem,
    thinking_support,
)
from gateway.types import lmstudio, ollama

CHOICE = '"high", "medium", "low", "max", true, or false'
GRADED = ["off", "low", "medium", "xhigh", "on"]
SWITCH = ["off", "on"]
LEVELS = ["low", "medium", "high"]


@pytest.mark.parametrize(
    ("sent", "asks"),
    [
        (b"null", False),
        (b"false", False),
        (b"true", True),
        (b'"low"', True),
        (b'"medium"', True),
        (b'"high"', True),
        (b'"max"', True),
        (b'"m\\u0061x"', True),
    ],
)
def test_values_that_ollama_takes(sent: bytes, asks: bool) -> None:
    """True and levels ask for thinking."""
    assert UNSET is think_problem(Raw(sent))
    assert asks is asks_to_think(Raw(sent))


def test_an_absent_value_asks_for_nothing() -> None:
    """Nor is it refused."""
    assert UNSET is think_problem(UNSET)
    assert not asks_to_think(UNSET)


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        (b'"none"', f'invalid think value: "none" (must be {CHOICE})'),
        (b'"High"', f'invalid think value: "High" (must be {CHOICE})'),
        (b'""', f'invalid think value: "" (must be {CHOICE})'),
        (b'"a\\"\\n\\u0001"', f'invalid think value: "a\\"\\n\\x01" (must be {CHOICE})'),
        (b'"\\u200b"', f'invalid think value: "\\u200b" (must be {CHOICE})'),
        (b"1", f"think must be a boolean or string ({CHOICE})"),
        (b"0", f"think must be a boolean or string ({CHOICE})"),
        (b"[]", f"think must be a boolean or string ({CHOICE})"),
        (b'{"a":1}', f"think must be a boolean or string ({CHOICE})"),
    ],
)
def test_values_that_ollama_refuses(sent: bytes, problem: str) -> None:
    """The text is Ollama's, and nothing refused asks for thinking."""
    assert problem == think_problem(Raw(sent))
    assert not asks_to_think(Raw(sent))


@pytest.mark.parametrize(
    ("think", "options", "default", "effort"),
    [
        # Absent, null and true mean the model's own default...
        (UNSET, GRADED, "xhigh", UNSET),
        (b"null", SWITCH, "off", UNSET),
        (b"true", GRADED, "xhigh", UNSET),
        (b"true", SWITCH, "on", UNSET),
        (b"true", [], UNSET, UNSET),
        # ...but for one that is off unless told otherwise.
        (b"true", SWITCH, "off", "medium"),
        (b"true", ["off", *LEVELS], "off", "high"),
        (b"true", ["off", "minimal", "low"], "off", "low"),
        (b"false", GRADED, "xhigh", "none"),
        (b"false", SWITCH, "on", "none"),
        (b"false", LEVELS, "medium", "none"),
        (b"false", [], UNSET, UNSET),
        (b'"low"', GRADED, "xhigh", "low"),
        (b'"medium"', GRADED, "xhigh", "medium"),
        (b'"high"', GRADED, "xhigh", "xhigh"),
        (b'"max"', GRADED, "xhigh", "xhigh"),
        (b'"max"', LEVELS, "medium", "high"),
        (b'"max"', ["low", "medium"], "low", "medium"),
        (b'"low"', ["high", "xhigh"], "high", "high"),
        (b'"low"', ["minimal", "high"], "high", "minimal"),
        (b'"low"', SWITCH, "on", "low"),
        (b'"high"', SWITCH, "on", "high"),
        (b'"max"', SWITCH, "on", "high"),
        (b'"high"', [], UNSET, "high"),
        (b'"max"', [], UNSET, "high"),
    ],
)
def test_efforts(
    think: bytes | UnsetType, options: list[str], default: str | UnsetType, effort: str | UnsetType
) -> None:
    """The nearest that the model lists, and nothing where its default does."""
    sent = Raw(think) if isinstance(think, bytes) else UNSET

    assert effort == reasoning_effort(sent, options, default)


@pytest.mark.parametrize(
    ("options", "default", "values", "shown"),
    [
        (SWITCH, "on", [False, True], True),
        (SWITCH, "off", [False, True], False),
        (SWITCH, UNSET, [False, True], True),
        (["on"], UNSET, [False, True], True),
        ([], UNSET, [False, True], True),
        (LEVELS, "medium", ["low", "medium", "high"], "medium"),
        (LEVELS, UNSET, ["low", "medium", "high"], "medium"),
        (GRADED, "xhigh", [False, "low", "medium", "max"], "max"),
        (GRADED, "off", [False, "low", "medium", "max"], False),
        (GRADED, "on", [False, "low", "medium", "max", True], True),
        (["minimal", "low", "high"], "minimal", ["low", "high"], "high"),
    ],
)
def test_support_is_told_in_ollama_s_words(
    options: list[str], default: str | UnsetType, values: list[bool | str], shown: bool | str
) -> None:
    """Only words that a request may use, and the default is one of them."""
    support = thinking_support("yes", options, default)

    assert ollama.ThinkingSupport(values=values, default=shown) == support
    assert shown in values
    assert all(
        UNSET is think_problem(Raw(str(value).lower().encode()))
        if isinstance(value, bool)
        else UNSET is think_problem(Raw(f'"{value}"'.encode()))
        for value in values
    )


@pytest.mark.parametrize("capability", ["no", "unknown"])
def test_support_is_absent_unless_it_is_known(capability: str) -> None:
    """Whatever the options say."""
    assert UNSET is thinking_support(capability, SWITCH, "on")


def test_options_of_a_host() -> None:
    """Silence, a stated no, a stated yes with and without a choice."""
    reasoning = lmstudio.V1Reasoning(allowed_options=GRADED, default="xhigh")

    assert UNSET is reasoning_options(UNSET)
    assert UNSET is reasoning_options(None)
    assert [] == reasoning_options(lmstudio.V1Capabilities(vision=True))
    assert [] == reasoning_options(lmstudio.V1Capabilities(reasoning=None))
    assert GRADED == reasoning_options(lmstudio.V1Capabilities(reasoning=reasoning))
    assert ["on"] == reasoning_options(
        lmstudio.V1Capabilities(reasoning=lmstudio.V1Reasoning(allowed_options=None))
    )
