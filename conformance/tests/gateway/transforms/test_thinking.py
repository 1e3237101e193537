"""Thinking: what is refused, what is sent to LM Studio, what models are said to support."""

import json

import pytest
from msgspec import UNSET, Raw, UnsetType

from gateway.transforms import (
    asks_to_think,
    is_no_think_value,
    opened_thinking,
    reasoning_effort,
    reasoning_options,
    think_level_problem,
    think_type_problem,
    thinking_support,
)
from gateway.types import internal, lmstudio, ollama

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
    assert UNSET is think_type_problem(Raw(sent), "")
    assert UNSET is level_problem(sent)
    assert asks is asks_to_think(Raw(sent))


def test_an_absent_value_asks_for_nothing() -> None:
    """Nor is it refused."""
    assert UNSET is think_type_problem(UNSET, "")
    assert not asks_to_think(UNSET)


def level_problem(
    sent: bytes, capability: str = "unknown", options: list[str] | None = None, of: str = "llama"
) -> str | UnsetType:
    """What is wrong with a level for a model."""
    return think_level_problem(Raw(sent), capability, options or [], UNSET, of)


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (b'"none"', '"none"'),
        (b'"High"', '"High"'),
        (b'""', '""'),
        (b'"a\\"\\n\\u0001"', '"a\\"\\n\\x01"'),
        (b'"\\u200b"', '"\\u200b"'),
    ],
)
def test_levels_that_ollama_refuses(sent: bytes, shown: str) -> None:
    """Only of models that do not list their own, and of gpt-oss (ollama.md#think-0-34)."""
    refused = f"invalid think value: {shown} (must be {CHOICE})"

    assert refused == level_problem(sent)
    assert refused == level_problem(sent, "no", SWITCH)
    assert refused == level_problem(sent, "yes", LEVELS, "gptoss")
    assert UNSET is level_problem(sent, "yes", LEVELS)
    assert UNSET is think_type_problem(Raw(sent), "")


@pytest.mark.parametrize("sent", [b"1", b"0", b"[]", b'{"a":1}'])
def test_types_that_ollama_refuses(sent: bytes) -> None:
    """The text tells which values there are, where they are known."""
    assert is_no_think_value(Raw(sent))
    assert think_type_problem(Raw(sent), "") == "think must be a boolean or string"
    assert think_type_problem(Raw(sent), "[true]") == (
        "think must be a boolean or string; supported values: [true]"
    )
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
        (b'"xhigh"', GRADED, "low", "xhigh"),
        # A word that the model does not list means its default.
        (b'"high"', GRADED, "xhigh", UNSET),
        (b'"max"', LEVELS, "medium", UNSET),
        (b'"low"', SWITCH, "on", UNSET),
        (b'"loud"', LEVELS, "medium", UNSET),
        (b'"high"', [], UNSET, "high"),
        (b'"max"', [], UNSET, "high"),
    ],
)
def test_efforts(
    think: bytes | UnsetType, options: list[str], default: str | UnsetType, effort: str | UnsetType
) -> None:
    """What the model lists, and nothing where its default does."""
    sent = Raw(think) if isinstance(think, bytes) else UNSET

    assert effort == reasoning_effort(sent, options, default, "llama")


@pytest.mark.parametrize(
    ("think", "options", "effort"),
    [
        (b'"max"', LEVELS, "high"),
        (b'"max"', ["low", "medium"], "medium"),
        (b'"low"', ["high", "xhigh"], "high"),
        (b'"low"', ["minimal", "high"], "minimal"),
    ],
)
def test_gpt_oss_gets_the_nearest_level(think: bytes, options: list[str], effort: str) -> None:
    """Ollama knows its levels by itself (ollama.md#gpt-oss-thinks)."""
    assert effort == reasoning_effort(Raw(think), options, "medium", "gptoss")


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
        (GRADED, "xhigh", [False, "low", "medium", "xhigh"], "xhigh"),
        (GRADED, "off", [False, "low", "medium", "xhigh"], False),
        (GRADED, "on", [False, "low", "medium", "xhigh", True], True),
        (["minimal", "low", "high"], "minimal", ["minimal", "low", "high"], "minimal"),
    ],
)
def test_support_is_told_in_the_model_s_own_words(
    options: list[str], default: str | UnsetType, values: list[bool | str], shown: bool | str
) -> None:
    """Only words that a request may use, and the default is one of them."""
    support = thinking_support("yes", options, default)

    assert ollama.ThinkingSupport(values=values, default=shown) == support
    assert shown in values


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


@pytest.mark.parametrize("last", ["stop", ""])
@pytest.mark.parametrize("reason", [None, ""])
def test_an_empty_reason_in_each_chunk_does_not_end_thinking(reason: str | None, last: str) -> None:
    """The closing tag does, also where it is cut, and nothing of the text is lost."""
    thinking = opened_thinking(internal.Template(opens_thinking=True))
    texts = ("Hm, ", "so.</thi", "nk>Yes", ".")
    told: dict[str, str] = {}
    for number, text in enumerate(texts, 1 - len(texts)):
        choice = {"delta": {"content": text}, "finish_reason": reason if number else last}
        for chunk in thinking.take({"choices": Raw(json.dumps([choice]).encode())}):
            for name, said in json.loads(bytes(chunk["choices"]))[0]["delta"].items():
                told[name] = told.get(name, "") + said
    assert {"reasoning_content": "Hm, so.", "content": "Yes."} == told
    assert [] == thinking.end()
