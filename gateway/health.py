"""
`/health`: whether LM Studio answers, asked anew for each look.
"""

from __future__ import annotations

from gateway.catalog import Catalog
from gateway.encoding import JSON, encode
from gateway.faults import UpstreamFailure
from gateway.relay import Client


async def answer_health(catalog: Catalog, url: str, client: Client) -> None:
    """Answer 200 when the host can be asked for its models, else 503 with the reason."""
    try:
        rows = await catalog.rows(fresh=True)
    except UpstreamFailure as failure:
        upstream = {"url": url, "reachable": False, "reason": failure.message}
        await client.answer(503, JSON, encode({"status": "unavailable", "upstream": upstream}))
        return
    upstream = {
        "url": url,
        "reachable": True,
        "dialect": catalog.dialect,
        "models": len(rows),
        "loaded": len({instance.id for row in rows for instance in row.instances}),
    }
    await client.answer(200, JSON, encode({"status": "ok", "upstream": upstream}))
