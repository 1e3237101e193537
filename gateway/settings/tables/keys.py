"""
Access keys with names.
"""

from __future__ import annotations

import msgspec

from .kinds import Count, Weight


class KeySettings(msgspec.Struct, frozen=True, kw_only=True):
    """One access key with a name: its secret, and what it may do."""

    secret_file: str | None = None
    """A file whose only line is the secret. Nobody else should be able to read it."""
    digest: str | None = None
    """The secret's SHA-256 in hexadecimal, in place of a file, as `olgate keys add` writes it."""
    models: tuple[str, ...] = ()
    """
    Patterns of models that the key may use, such as `qwen/*`; with `!` in front, of those that it
    may not. Other models do not exist for it. Without patterns it may use all.
    """
    routes: tuple[str, ...] = ()
    """Patterns of paths that the key may use, such as `/api/chat` and `/v1/*`; none is all."""
    max_running: Count = 0
    """How many requests may run with the key at a time; 0 is no limit."""
    requests_per_minute: Count = 0
    """How many requests the key may begin within a minute; 0 is no limit."""
    tokens_per_minute: Count = 0
    """
    After how many tokens of prompts and answers within a minute the key must wait; 0 is no limit.
    """
    weight: Weight = 1.0
    """
    How much of a busy model the key gets where requests of several keys wait: twice the weight,
    twice the requests.
    """
    priority: int = 0
    """
    Whose requests come first where requests wait: those of the key with more. Others get one slot
    of `queue.batch_every`.
    """
    admin: bool = False
    """Whether the key may have settings reloaded, and whatever else changes the gateway."""
