"""
`/health`: whether LM Studio answers, without a cache and within a time limit.
"""

from __future__ import annotations

from .catalogue.presence import Presence
from .engine.client import Client
from .wire.writing import JSON, encode


async def answer_health(presence: Presence, client: Client, limit_s: float) -> None:
    """
    Answer 200 if the host answers with its models, else 503 with the reason and the next step.

    `limit_s` is the time limit in seconds; 0 is no limit.
    """
    state = await presence.look(limit_s)
    upstream: dict[str, object] = {"url": state.url, "reachable": state.is_reachable}
    if state.is_reachable:
        upstream |= {
            "server": state.server,
            "dialect": state.dialect,
            "models": state.models,
            "loaded": state.loaded,
        }
    for name, text in (("reason", state.reason), ("advice", state.advice)):
        if text:
            upstream[name] = text
    status = "ok" if state.is_reachable else "unavailable"
    body = encode({"status": status, "upstream": upstream})
    await client.answer(200 if state.is_reachable else 503, JSON, body)
