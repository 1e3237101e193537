"""
The floor of a request: one answer of a list's size on uvicorn, without routes, JSON or an upstream.

`python -m conformance.bench.yardsticks.handler --upstream URL`; it never asks the upstream.
"""

from __future__ import annotations

from typing import Any

from conformance.bench import wire
from conformance.bench.yardsticks.serving import serve

_BODY = wire.models_openai()
_HEADERS = [
    (b"content-type", b"application/json; charset=utf-8"),
    (b"content-length", b"%d" % len(_BODY)),
]


class _Handler:
    def __init__(self, upstream: str) -> None:
        del upstream

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for word in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{word}.complete"})
            return
        while (await receive()).get("more_body", False):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await send({"type": "http.response.body", "body": _BODY})


if __name__ == "__main__":
    serve("handler", _Handler)
