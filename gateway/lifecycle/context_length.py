"""
How much context a request gets: what it asks for, what is allowed, and what is loaded.

Pure. Whether a model may be loaded again for it is the lifecycle's to know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from msgspec import UnsetType

Policy: TypeAlias = Literal["grow", "exact", "ignore"]


@dataclass(frozen=True, slots=True)
class Wish:
    """Tokens of context that a request wants; `is_own` unless a setting says so for it."""

    tokens: int
    is_own: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    What a wish comes to.

    `tokens` is what to load with, None for LM Studio's own choice; `is_reload` whether what is
    loaded has to change for it; `note` what to tell a client that does not get what it asked for.
    """

    tokens: int | None = None
    is_reload: bool = False
    note: str | None = None


def read_wish(num_ctx: float | UnsetType, setting: int | None, policy: Policy) -> Wish | None:
    """
    Return what a request wants; the setting speaks for one that names nothing above zero.

    >>> read_wish(8192.0, 4096, "grow"), read_wish(0, 4096, "grow"), read_wish(8192, None, "ignore")
    (Wish(tokens=8192, is_own=True), Wish(tokens=4096, is_own=False), None)
    """
    if policy != "ignore" and not isinstance(num_ctx, UnsetType) and num_ctx and num_ctx >= 1:
        return Wish(int(num_ctx), is_own=True)
    return Wish(setting, is_own=False) if setting else None


def decide(
    wish: Wish | None, policy: Policy, *, loaded: int | None, most: int | None, cap: int
) -> Verdict:
    """
    Weigh a wish against the model's own limit, the cap (0 is none), and what is loaded.

    A cap never takes away what is there already. Nothing shrinks, unless the policy is `exact`.
    `loaded` is None when nothing is loaded, or when nobody knows how much.

    >>> decide(Wish(131072, True), "grow", loaded=8192, most=None, cap=32768)
    Verdict(tokens=32768, is_reload=True, note='num_ctx 131072 is more than allowed: 32768')
    >>> decide(Wish(2048, True), "grow", loaded=8192, most=None, cap=32768)
    Verdict(tokens=8192, is_reload=False, note=None)
    """
    if wish is None:
        return Verdict(loaded)
    limits = [most] if most else []
    if cap:
        limits.append(max(cap, loaded or 0))
    tokens = min([wish.tokens, *limits])
    note = None
    if tokens < wish.tokens and wish.is_own:
        note = f"num_ctx {wish.tokens} is more than allowed: {tokens}"
    if loaded is None or policy == "ignore":
        return Verdict(tokens, note=note)
    if policy == "exact" and wish.is_own:
        return Verdict(tokens, is_reload=tokens != loaded, note=note)
    return Verdict(max(tokens, loaded), is_reload=tokens > loaded, note=note)
