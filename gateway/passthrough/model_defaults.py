"""
Values of a made model, put into a passed-through request that leaves them out.

One short table per route: the member, and what it takes of a made model. What a request states
itself is never touched. The routes below `/api` have rules for the same (`specs/mappings`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from gateway.types import internal

Fields = dict[str, msgspec.Raw]
Value = Callable[[internal.MadeModel], Any]


def add_made(path: str, fields: Fields, made: internal.MadeModel | UnsetType) -> bool:
    """Put a made model's values into a JSON body in place; tell whether anything changed."""
    if isinstance(made, UnsetType):
        return False
    before = dict(fields)
    for name, value in _MEMBERS.get(path, {}).items():
        if name not in fields and (stated := value(made)) is not None:
            fields[name] = msgspec.Raw(msgspec.json.encode(stated))
    if path in _WITH_MESSAGES and "messages" in fields:
        _put_before(fields, made, says_system=_WITH_MESSAGES[path])
    return fields != before


def context_length(made: internal.MadeModel | UnsetType) -> float | UnsetType:
    """Return the context that a made model wants, in tokens; absent when it wants none."""
    if isinstance(made, UnsetType):
        return UNSET
    wanted = made.parameters.get("num_ctx", UNSET)
    return float(wanted) if isinstance(wanted, int | float) else UNSET


def _put_before(fields: Fields, made: internal.MadeModel, *, says_system: bool) -> None:
    messages = msgspec.json.decode(fields["messages"], type=list[msgspec.Raw])
    kept: list[Any] = [{"role": turn.role, "content": turn.content} for turn in made.messages]
    first = kept[0] if kept else msgspec.json.decode(messages[0]) if messages else None
    is_told = isinstance(first, dict) and first.get("role") in ("system", "developer")
    if says_system and not isinstance(made.system, UnsetType) and not is_told:
        kept.insert(0, {"role": "system", "content": made.system})
    if kept:
        fields["messages"] = msgspec.Raw(msgspec.json.encode([*kept, *messages]))


def _parameter(name: str) -> Value:
    return lambda made: made.parameters.get(name)


def _limit(made: internal.MadeModel) -> int | None:
    wanted = made.parameters.get("num_predict")
    return int(wanted) if isinstance(wanted, int | float) and wanted >= 1 else None


def _seed(made: internal.MadeModel) -> int | None:
    wanted = made.parameters.get("seed")
    return int(wanted) if isinstance(wanted, int | float) and wanted >= 0 else None


def _system(made: internal.MadeModel) -> str | None:
    return None if isinstance(made.system, UnsetType) else made.system


_SAMPLING: Mapping[str, Value] = {
    name: _parameter(name)
    for name in (
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "repeat_penalty",
        "presence_penalty",
        "frequency_penalty",
        "stop",
    )
}
_COMPLETION: Mapping[str, Value] = {**_SAMPLING, "seed": _seed, "max_tokens": _limit}
_MEMBERS: Mapping[str, Mapping[str, Value]] = {
    "/v1/chat/completions": _COMPLETION,
    "/v1/completions": _COMPLETION,
    "/v1/responses": {
        "instructions": _system,
        "temperature": _parameter("temperature"),
        "top_p": _parameter("top_p"),
        "max_output_tokens": _limit,
    },
    "/v1/messages": {
        "system": _system,
        "temperature": _parameter("temperature"),
        "top_p": _parameter("top_p"),
        "top_k": _parameter("top_k"),
        "stop_sequences": _parameter("stop"),
    },
}
_WITH_MESSAGES: Mapping[str, bool] = {"/v1/chat/completions": True, "/v1/messages": False}
"""Routes with messages, and whether a system text is one of them."""
