"""
Thinking: the request's wish, the model's options, and the translation between both APIs.

Ollama's values are true, false, low, medium, high, max. LM Studio lists off, on and levels, and
accepts none and levels.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UNSET, Raw, UnsetType

from gateway.transforms._raw import kind_of
from gateway.types import lmstudio, ollama
from gateway.wire.go_text import quote

_WORDS: Final = ("high", "medium", "low", "max")
_CHOICE: Final = '"high", "medium", "low", "max", true, or false'
_EFFORTS: Final[tuple[str, ...]] = ("minimal", "low", "medium", "high", "xhigh")
"""LM Studio's levels, in order. (docs/facts/lmstudio.md#reasoning-effort)"""
_SHOWN: Final[dict[str, bool | str]] = {
    "off": False,
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "max",
}
"""The values that Ollama's clients may send for LM Studio's options; none stands for `minimal`."""


def think_problem(think: Raw | UnsetType) -> str | UnsetType:
    """
    Return Ollama's text for a `think` that it does not take, absent when it does.

    (docs/facts/ollama.md#think-errors)

    >>> think_problem(Raw(b'"none"'))
    'invalid think value: "none" (must be "high", "medium", "low", "max", true, or false)'
    """
    value = _value(think)
    if value is None or isinstance(value, bool) or value in _WORDS:
        return UNSET
    if isinstance(value, str):
        return f"invalid think value: {quote(value)} (must be {_CHOICE})"
    return f"think must be a boolean or string ({_CHOICE})"


def asks_to_think(think: Raw | UnsetType) -> bool:
    """
    Whether thinking is asked for: by true, or by a level.

    (docs/facts/ollama.md#think)

    >>> asks_to_think(Raw(b'"low"')), asks_to_think(Raw(b"false")), asks_to_think(UNSET)
    (True, False, False)
    """
    value = _value(think)
    return value is True or value in _WORDS


def reasoning_effort(
    think: Raw | UnsetType, options: list[str], default: str | UnsetType
) -> str | UnsetType:
    """
    Return the `reasoning_effort` that does what `think` asks for, absent for the model's default.

    `options` are the model's own (off, on, levels; none when it states no reasoning), `default` is
    one of them. False needs a word only where the model is known to reason: nothing is recorded of
    what `none` does to the others. A level goes to the nearest one that the model lists, upwards
    from the middle of two; a model that lists none gets it as it is.
    (docs/facts/lmstudio.md#reasoning-effort)

    >>> reasoning_effort(Raw(b"false"), ["off", "on"], "on")
    'none'
    >>> reasoning_effort(Raw(b'"high"'), ["off", "low", "medium", "xhigh", "on"], "xhigh")
    'xhigh'
    """
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
    if value == "max":
        value = "xhigh" if "xhigh" in levels else "high"
    return _nearest(value, levels) if levels else value


def thinking_support(
    capability: str, options: list[str], default: str | UnsetType
) -> ollama.ThinkingSupport | UnsetType:
    """
    Return which values of `think` make sense for a model, absent unless it is known to think.

    Levels for a model that has them (and false, when it can be switched off), else false and true;
    the default is always among them. (docs/facts/ollama.md#think-levels)

    >>> thinking_support("yes", ["low", "medium", "high"], "medium")
    ThinkingSupport(values=['low', 'medium', 'high'], default='medium')
    """
    if capability != "yes":
        return UNSET
    levels: list[bool | str] = [word for option, word in _SHOWN.items() if option in options]
    if not any(isinstance(level, str) for level in levels):
        return ollama.ThinkingSupport(values=[False, True], default=default != "off")
    if default == "on":
        return ollama.ThinkingSupport(values=[*levels, True], default=True)
    stated = _SHOWN.get(default) if isinstance(default, str) else None
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
    if isinstance(think, UnsetType) or kind_of(think) == "absent":
        return None
    return msgspec.json.decode(think)


def _nearest(effort: str, levels: list[str]) -> str:
    wanted = _EFFORTS.index(effort)

    def distance(level: str) -> tuple[int, int]:
        place = _EFFORTS.index(level)
        return abs(place - wanted), -place

    return min(levels, key=distance)
