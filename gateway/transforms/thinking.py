"""
Thinking: the request's wish, the model's options, and the translation between both APIs.

Ollama's values are true, false, low, medium, high, max. LM Studio lists off, on and levels, and
accepts none and levels.
"""

from __future__ import annotations

from typing import Final

from msgspec import UNSET, Raw, UnsetType

from ..types import lmstudio, ollama
from ..wire.go_json import unreadable_number
from ..wire.go_text import quote
from ._raw import decoded, kind_of

_WORDS: Final = ("high", "medium", "low", "max")
_CHOICE: Final = '"high", "medium", "low", "max", true, or false'
_TRUE: Final = Raw(b"true")
_NO_THINK: Final = "think must be a boolean or string"
_EFFORTS: Final[tuple[str, ...]] = ("minimal", "low", "medium", "high", "xhigh", "max")
"""LM Studio's levels, in order. (docs/facts/lmstudio.md#reasoning-effort)"""
_SWITCHES: Final[dict[str, bool]] = {"off": False, "on": True}
_OWN_LEVELS: Final = frozenset({"gptoss", "gpt-oss"})
"""Architectures whose levels Ollama judges by its own list (docs/facts/ollama.md#think-0-34)."""


def is_no_think_value(think: Raw | UnsetType) -> bool:
    """
    Whether a `think` is of a type that no model takes (docs/facts/ollama.md#think-0-34).

    >>> is_no_think_value(Raw(b"1")), is_no_think_value(Raw(b'"x"')), is_no_think_value(UNSET)
    (True, False, False)
    """
    return think is not UNSET and kind_of(think) not in ("absent", "bool", "string")


def think_type_problem(think: Raw | UnsetType, supported: str) -> str | UnsetType:
    """
    Return Ollama's text for a `think` of a type that it does not take, absent for any other.

    `supported` is the JSON of the values that the model has, "" where they are not known. A number
    beyond a double is told in Go's own words. (docs/facts/ollama.md#think-0-34,
    docs/facts/ollama.md#huge-numbers)

    >>> think_type_problem(Raw(b"1"), "")
    'think must be a boolean or string'
    >>> think_type_problem(Raw(b"[]"), '[false,"low"]')
    'think must be a boolean or string; supported values: [false,"low"]'
    """
    if isinstance(think, UnsetType) or not is_no_think_value(think):
        return UNSET
    problem = unreadable_number(think) or _NO_THINK
    return f"{problem}; supported values: {supported}" if supported else problem


def think_level_problem(
    think: Raw | UnsetType,
    capability: str,
    options: list[str],
    default: str | UnsetType,
    architecture: str,
) -> str | UnsetType:
    """
    Return Ollama's text for a level that the model does not take, absent when it does.

    A model whose show has its levels takes any word: one that it does not list means its default.
    (docs/facts/ollama.md#think-0-34)

    >>> think_level_problem(Raw(b'"none"'), "unknown", [], UNSET, "llama")
    'invalid think value: "none" (must be "high", "medium", "low", "max", true, or false)'
    >>> think_level_problem(Raw(b'"none"'), "yes", ["off", "on"], "on", "qwen3")
    UNSET
    """
    if isinstance(think, UnsetType):
        return UNSET
    value = _value(think)
    if not isinstance(value, str) or value in _WORDS:
        return UNSET
    supported = thinking_support(capability, options, default)
    if not isinstance(supported, UnsetType) and architecture not in _OWN_LEVELS:
        return UNSET
    return f"invalid think value: {quote(value)} (must be {_CHOICE})"


def asks_to_think(think: Raw | UnsetType) -> bool:
    """
    Whether thinking is asked for: by true, or by a level.

    (docs/facts/ollama.md#think)

    >>> asks_to_think(Raw(b'"low"')), asks_to_think(Raw(b"false")), asks_to_think(UNSET)
    (True, False, False)
    """
    if isinstance(think, UnsetType):
        return False
    return kind_of(think) == "string" or think == _TRUE


def reasoning_effort(
    think: Raw | UnsetType, options: list[str], default: str | UnsetType, architecture: str
) -> str | UnsetType:
    """
    Return the `reasoning_effort` that does what `think` asks for, absent for the model's default.

    `options` are the model's own (off, on, levels; none when it states no reasoning), `default` is
    one of them. False needs a word only where the model is known to reason: nothing is recorded of
    what `none` does to the others. A level that the model lists is sent as it is, any other means
    its default; gpt-oss, whose levels Ollama knows by itself, gets the nearest that it lists,
    upwards from the middle of two. A model that lists none gets a level as it is, and `high` for
    `max`. (docs/facts/lmstudio.md#reasoning-effort, docs/facts/ollama.md#think-0-34,
    docs/facts/ollama.md#gpt-oss-thinks)

    >>> reasoning_effort(Raw(b"false"), ["off", "on"], "on", "qwen3")
    'none'
    >>> reasoning_effort(Raw(b'"xhigh"'), ["off", "low", "xhigh"], "low", "qwen3")
    'xhigh'
    >>> reasoning_effort(Raw(b'"max"'), ["low", "medium", "high"], "low", "gptoss")
    'high'
    """
    if isinstance(think, UnsetType):
        return UNSET
    value = _value(think)
    if value is False:
        return "none" if options else UNSET
    levels = [effort for effort in _EFFORTS if effort in options]
    if value is True:
        # No effort means just "on", so a model that is off by default gets a level.
        if default != "off":
            return UNSET
        return _nearest("high", levels) if levels else "medium"
    if not isinstance(value, str):
        return UNSET
    if value in options:
        return UNSET if value in _SWITCHES else value
    if not options or architecture in _OWN_LEVELS:
        word = "high" if value == "max" else value
        return _nearest(word, levels) if levels else word
    return UNSET


def thinking_support(
    capability: str, options: list[str], default: str | UnsetType
) -> ollama.ThinkingSupport | UnsetType:
    """
    Return which values of `think` make sense for a model, absent unless it is known to think.

    False where it can be switched off, and its own words for its levels; true where it lists no
    level. The default is always among them. (docs/facts/ollama.md#think-levels)

    >>> thinking_support("yes", ["low", "medium", "xhigh"], "medium")
    ThinkingSupport(values=['low', 'medium', 'xhigh'], default='medium')
    """
    if capability != "yes":
        return UNSET
    levels: list[bool | str] = [
        _SWITCHES.get(option, option) for option in ("off", *_EFFORTS) if option in options
    ]
    if not any(isinstance(level, str) for level in levels):
        return ollama.ThinkingSupport(values=[False, True], default=default != "off")
    if default == "on":
        return ollama.ThinkingSupport(values=[*levels, True], default=True)
    stated = _SWITCHES.get(default, default) if isinstance(default, str) else None
    if stated is None or stated not in levels:
        stated = "medium" if "medium" in levels else levels[-1]
    return ollama.ThinkingSupport(values=levels, default=stated)


def reasoning_options(
    capabilities: lmstudio.V1Capabilities | UnsetType | None,
) -> list[str] | UnsetType:
    """
    Return a model's reasoning options: absent when the host says nothing, empty for a stated no.

    (docs/facts/lmstudio.md#v1-reasoning)

    >>> reasoning_options(lmstudio.V1Capabilities(vision=True)), reasoning_options(None)
    ([], UNSET)
    """
    if capabilities is None or isinstance(capabilities, UnsetType):
        return UNSET
    reasoning = capabilities.reasoning
    if reasoning is None or isinstance(reasoning, UnsetType):
        return []
    options = reasoning.allowed_options
    if options is None or isinstance(options, UnsetType) or not options:
        # The model states that it reasons, without options.
        return ["on"]
    return options


def _value(think: Raw | UnsetType) -> object:
    """Return the decoded value; None if absent or null."""
    return None if kind_of(think) == "absent" else decoded(think)


def _nearest(effort: str, levels: list[str]) -> str:
    wanted = _EFFORTS.index(effort)

    def distance(level: str) -> tuple[int, int]:
        place = _EFFORTS.index(level)
        return abs(place - wanted), -place

    return min(levels, key=distance)
