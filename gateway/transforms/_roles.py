"""
Roles of messages: Ollama takes any, LM Studio five (docs/facts/ollama.md#messages).
"""

from __future__ import annotations

from typing import Final

from msgspec import UNSET, UnsetType

from ..types import ollama

ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool"})
USUAL: Final = frozenset({*ROLES, "", None, UNSET})
"""What nearly all messages have; others may be known in other letters."""


def sent_role(role: str | UnsetType | None) -> str:
    """
    Return a role as LM Studio knows it, `user` for one that it does not.

    >>> sent_role("System"), sent_role("narrator"), sent_role("")
    ('system', 'user', 'user')
    """
    if role in ROLES:
        return str(role)
    lower = (role or "user").lower()
    return lower if lower in ROLES else "user"


def other_roles(messages: list[ollama.Message] | UnsetType | None) -> list[str]:
    """
    Return the roles of messages for which `user` is sent, sorted.

    >>> other_roles([ollama.Message(role="User"), ollama.Message(role="narrator")])
    ['narrator']
    """
    told = {message.role for message in messages or ()}
    return sorted(role for role in told if role and sent_role(role) != role.lower())
