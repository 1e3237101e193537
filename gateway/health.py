"""
`/health`: whether LM Studio answers, without a cache and within a time limit.
"""

from __future__ import annotations

import asyncio

from gateway.catalogue.catalogue import Catalogue
from gateway.engine.client import Client
from gateway.faults import UpstreamFailure
from gateway.wire.writing import JSON, encode


async def answer_health(catalogue: Catalogue, url: str, client: Client, limit_s: float) -> None:
    """
    Answer 200 if the host answers with its models, else 503 with the reason.

    `limit_s` is the time limit in seconds; 0 is no limit.
    """
    try:
        async with asyncio.timeout(limit_s or None):
            rows = await catalogue.rows(fresh=True)
    except (UpstreamFailure, TimeoutError) as failure:
        is_late = isinstance(failure, TimeoutError)
        reason = f"no answer within {limit_s:g} s" if is_late else str(failure)
        upstream = {"url": url, "reachable": False, "reason": reason}
        await client.answer(503, JSON, encode({"status": "unavailable", "upstream": upstream}))
        return
    upstream = {
        "url": url,
        "reachable": True,
        "dialect": catalogue.dialect,
        "models": len(rows),
        "loaded": len({instance.id for row in rows for instance in row.instances}),
    }
    await client.answer(200, JSON, encode({"status": "ok", "upstream": upstream}))
