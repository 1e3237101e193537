"""What tests of the gateway rely on."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from conformance.tests.gateway.support import Pair, chat, gather_all, open_pair
from gateway.server.asgi import SERVER

TURNS = 500
"""More turns of the loop than the requests of `let_pass` take."""


async def test_what_was_begun_arrives_before_others_have_passed() -> None:
    """Also requests that need a connection each, a slow one, and one that is given up."""

    async def slowly() -> AsyncIterator[bytes]:
        for _ in range(TURNS):
            await asyncio.sleep(0)
        yield json.dumps(chat()).encode()

    async with open_pair() as pair:
        arrived = note_arrivals(pair)
        await pair.get("/api/version")
        asking = [asyncio.create_task(pair.post("/api/chat", chat())) for _ in range(9)]
        asking.append(asyncio.create_task(pair.client.post("/api/chat", content=slowly())))
        given_up = asyncio.create_task(pair.client.post("/api/show", content=slowly()))
        await asyncio.sleep(0)
        given_up.cancel()
        await pair.let_pass("/api/version")
        assert 10 == arrived.count("/api/chat")
        assert [200] * 10 == [answer.status_code for answer in await gather_all(*asking)]


def note_arrivals(pair: Pair) -> list[str]:
    """Have the paths of requests noted when they have reached the gateway's application whole."""
    inner, arrived = pair.app.inner, list[str]()

    async def note(scope: Any, receive: Any, send: Any) -> None:
        async def take() -> Any:
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body"):
                arrived.append(scope["path"])
            return message

        def whole(most: int) -> bytes | None:
            body: bytes | None = whole_body(most)
            if body is not None:
                arrived.append(scope["path"])
            return body

        if "extensions" in scope:
            server = scope["extensions"][SERVER]
            whole_body, server.whole_body = server.whole_body, whole
        await inner(scope, take, send)

    pair.app.inner = note
    return arrived
