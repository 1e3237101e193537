"""
Counts and durations of an answer.

The values are LM Studio's or measured. A missing count is estimated, with at least 1, because
clients crash without counts and divide by durations.
"""

from __future__ import annotations

from typing import Final, TypeGuard

from msgspec import UnsetType

from ..types import internal, ollama, openai
from ._estimate import stated, tokens

_MOST_S: Final = 1e6
"""Seconds, eleven days; what states more for one answer states no time."""


def elapsed_ns(since: int, until: int) -> int:
    """
    Return the nanoseconds between two moments, at least 1.

    (docs/facts/ollama.md#metrics)

    >>> elapsed_ns(5, 12), elapsed_ns(5, 5)
    (7, 1)
    """
    took = until - since
    return took if took > 1 else 1


def prompt_eval_ns(ready: int, first: int, is_whole: bool, stats: openai.Stats | UnsetType) -> int:
    """
    Return how long the prompt took: from a ready model to the first event.

    An answer in one piece has no first event. Its own statistics tell it
    (docs/facts/lmstudio.md#v0-answers). Without them it is the least, and the whole time is the
    answer's: clients read both and divide by them.

    >>> from msgspec import UNSET
    >>> prompt_eval_ns(5, 12, False, UNSET), prompt_eval_ns(5, 12, True, UNSET)
    (7, 1)
    >>> prompt_eval_ns(5, 12, True, openai.Stats(time_to_first_token=0.25, generation_time=1.5))
    250000000
    """
    if not is_whole:
        return elapsed_ns(ready, first)
    times = _stated_times(stats)
    return times[0] if times is not None else 1


def eval_ns(
    ready: int, first: int, until: int, is_whole: bool, stats: openai.Stats | UnsetType
) -> int:
    """
    Return how long the answer took: from its first event to its end.

    An answer in one piece has no first event. Without its own statistics the time since the model
    was ready is not split: all of it is the answer's.

    >>> from msgspec import UNSET
    >>> eval_ns(5, 12, 20, False, UNSET), eval_ns(5, 19, 20, True, UNSET)
    (8, 15)
    >>> eval_ns(5, 19, 20, True, openai.Stats(time_to_first_token=0.25, generation_time=1.5))
    1500000000
    """
    if not is_whole:
        return elapsed_ns(first, until)
    times = _stated_times(stats)
    return times[1] if times is not None else elapsed_ns(ready, until)


def _stated_times(stats: openai.Stats | UnsetType) -> tuple[int, int] | None:
    """Return the two times of an answer's statistics, if it states both and they can be."""
    if not isinstance(stats, openai.Stats):
        return None
    first, rest = stats.time_to_first_token, stats.generation_time
    if not (_can_be(first) and _can_be(rest)):
        return None
    return max(1, int(first * 1e9)), max(1, int(rest * 1e9))


def _can_be(seconds: float | UnsetType | None) -> TypeGuard[float]:
    """Return whether something is a time that an answer may take."""
    return isinstance(seconds, int | float) and 0 <= seconds <= _MOST_S


def prompt_count(
    reported: int | float | UnsetType | None, messages: list[ollama.Message] | UnsetType
) -> int:
    """
    Return the tokens of a conversation: as reported, else estimated from its texts.

    (docs/facts/ollama.md#metrics, docs/facts/lmstudio.md#usage)

    >>> prompt_count(22, []), prompt_count(0, [ollama.Message(content="Hello there")])
    (22, 3)
    """
    count = stated(reported)
    if count or isinstance(messages, UnsetType):
        return count or 1
    characters = 0
    for message in messages:
        characters += len(message.content or "")
        for call in message.tool_calls or ():
            if isinstance(call.function, ollama.ToolCallFunction):
                arguments = call.function.arguments
                if not isinstance(arguments, UnsetType):
                    characters += len(memoryview(arguments))
    return tokens(characters)


def prompt_text_count(
    reported: int | float | UnsetType | None, prompt: str | UnsetType, system: str | UnsetType
) -> int:
    """
    Return the tokens of a prompt: as reported, else estimated from its texts.

    (docs/facts/ollama.md#metrics, docs/facts/lmstudio.md#usage)

    >>> prompt_text_count(None, "Hello there", "Be brief.")
    5
    """
    return stated(reported) or tokens(len(prompt or "") + len(system or ""))


def count_or_deltas(
    reported: int | float | UnsetType | None,
    speech: internal.Speech | UnsetType,
    joined: int,
) -> int:
    """
    Return the tokens of an answer: as reported, else the number of pieces it came in.

    Of these, `joined` were not seen one by one. Pieces are not quite tokens.
    (docs/facts/lmstudio.md#pieces-and-tokens)

    >>> speech = internal.Speech(
    ...     thinking="", content="", held="", phase="content", deltas=3, tagged="no",
    ...     pending="", pieces=[])
    >>> count_or_deltas(None, speech, 2), count_or_deltas(8.0, speech, 2)
    (5, 8)
    """
    seen = 0 if isinstance(speech, UnsetType) else speech.deltas
    return stated(reported) or max(1, seen + joined)


def count_texts(count: int | UnsetType, text: str) -> int:
    """
    Return how many texts that are not empty have come.

    (docs/facts/lmstudio.md#pieces-and-tokens)

    >>> count_texts(1, "a"), count_texts(1, "")
    (2, 1)
    """
    return (0 if isinstance(count, UnsetType) else count) + (text != "")


def count_or_number(
    reported: int | float | UnsetType | None, counted: int | UnsetType, joined: int
) -> int:
    """
    Return the tokens of an answer: as reported, else as counted and `joined` to what was counted.

    (docs/facts/lmstudio.md#usage)

    >>> count_or_number(None, 3, 2), count_or_number(8.0, 3, 2)
    (5, 8)
    """
    seen = 0 if isinstance(counted, UnsetType) else counted
    return stated(reported) or max(1, seen + joined)
