"""
The context length that a request gets: from its wish, the limits, and the loaded instance.

Pure functions. Whether a model may be loaded again is decided in `changes`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from msgspec import UnsetType

_NUMBER: Final = re.compile(r"[0-9]{1,9}")

Policy: TypeAlias = Literal["grow", "exact", "ignore"]

ROUNDING = 0.9
"""A host that gives this part of a context length or more has rounded it, and refused nothing."""


@dataclass(frozen=True, slots=True)
class Wish:
    """The context length in tokens that a request wants; not `is_own` if a setting wants it."""

    tokens: int
    is_own: bool


@dataclass(frozen=True, slots=True)
class ContextDecision:
    """
    The answer to a wish.

    `tokens` is the context length to load with, None if LM Studio chooses. `needs_reload` says that
    the loaded instance has another one. `note` tells the client why it does not get its wish.
    `is_capped` says that a limit has made the wish smaller.
    """

    tokens: int | None = None
    needs_reload: bool = False
    note: str | None = None
    is_capped: bool = False


def is_refused(asked: int, given: int, tokens: int, policy: Policy) -> bool:
    """
    Return whether LM Studio would not give `tokens`, as it gave `given` when `asked` were asked.

    A host may round, and more than was asked is no refusal of more.

    >>> is_refused(5000, 5120, 16000, "grow"), is_refused(16384, 4096, 32768, "grow")
    (False, True)
    """
    if policy == "exact":
        return asked == tokens
    if tokens <= asked:
        return given < tokens
    return given < asked * ROUNDING


def grown_for(message: str, loaded: int | None, limit: int) -> int | None:
    """
    Return the context length to load with after LM Studio refused a prompt for its length.

    `message` is LM Studio's text, which mostly has the prompt's length as its largest number
    (docs/facts/lmstudio.md#context-overflow). A quarter is added for the answer. `limit` is the
    largest context length that may be loaded. None if no larger one helps.

    >>> grown_for("Cannot truncate prompt with n_keep (15028) >= n_ctx (7424)", 7424, 32768)
    19456
    >>> grown_for("The prompt exceeds the context size.", 4096, 32768)
    32768
    """
    if loaded is None or loaded >= limit:
        return None
    needed = max((int(digits) for digits in _NUMBER.findall(message)), default=0)
    if needed <= loaded:
        return limit
    if needed >= limit:
        return None
    return min(limit, -(-(needed + needed // 4) // 1024) * 1024)


def read_wish(num_ctx: float | UnsetType, setting: int | None, policy: Policy) -> Wish | None:
    """
    Return the wish of a request, None for no wish.

    `num_ctx` is the request's option; if it is not above zero, `setting` (`models.context_length`)
    counts instead.

    >>> read_wish(8192.0, 4096, "grow"), read_wish(0, 4096, "grow"), read_wish(8192, None, "ignore")
    (Wish(tokens=8192, is_own=True), Wish(tokens=4096, is_own=False), None)
    """
    if policy != "ignore" and not isinstance(num_ctx, UnsetType) and num_ctx and num_ctx >= 1:
        return Wish(int(num_ctx), is_own=True)
    return Wish(setting, is_own=False) if setting else None


def decide(
    wish: Wish | None, policy: Policy, *, loaded: int | None, most: int | None, cap: int
) -> ContextDecision:
    """
    Weigh a wish against the limits and the loaded instance; all numbers are tokens.

    `loaded` is the loaded context length, None if nothing is loaded or if it is unknown. `most` is
    the model's own limit, None if it is unknown. `cap` is the setting `models.context_cap`, 0 for
    none; it never takes away what is loaded already. Nothing shrinks, unless the policy is `exact`.

    >>> decide(Wish(131072, True), "grow", loaded=8192, most=None, cap=32768).tokens
    32768
    >>> decide(Wish(2048, True), "grow", loaded=8192, most=None, cap=32768)
    ContextDecision(tokens=8192, needs_reload=False, note=None, is_capped=False)
    """
    if wish is None:
        return ContextDecision(loaded)
    limits = [most] if most else []
    if cap:
        limits.append(max(cap, loaded or 0))
    tokens = min([wish.tokens, *limits])
    note = None
    is_capped = tokens < wish.tokens
    if is_capped and wish.is_own:
        note = f"num_ctx {wish.tokens} is more than allowed: {tokens}"
    if loaded is None or policy == "ignore":
        return ContextDecision(tokens, note=note, is_capped=is_capped)
    if policy == "exact" and wish.is_own:
        return ContextDecision(
            tokens, needs_reload=tokens != loaded, note=note, is_capped=is_capped
        )
    return ContextDecision(
        max(tokens, loaded), needs_reload=tokens > loaded, note=note, is_capped=is_capped
    )
