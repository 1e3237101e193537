"""How many requests wait, as `/health`, `olgate status` and `olgate ps` tell it."""

from __future__ import annotations

import asyncio
from typing import Any

from conformance.tests.gateway.cli.test_asking_commands import port_of
from conformance.tests.gateway.cli.test_doctor import run
from conformance.tests.gateway.support import CHAT, chat, gather_all, open_pair


async def test_those_that_wait_are_counted_by_class() -> None:
    """And nobody is counted who runs."""
    async with open_pair(parallel=1) as pair:

        def ask(**more: Any) -> asyncio.Task[Any]:
            return asyncio.ensure_future(pair.client.post("/api/chat", json=chat(**more)))

        nobody = (await pair.get("/health"))["queue"]
        _, idle, _ = await run("ps", *port_of(pair.url))
        pair.script({"match": {"path": CHAT}, "hold": "all", "nth": 1})
        tasks = [ask()]
        await pair.until_asked(CHAT, 1)
        tasks += [ask(stream=True), ask(), ask()]
        async with asyncio.timeout(30):
            while (shown := (await pair.get("/health"))["queue"])["waiting"] < 3:
                pass
        status_code, status, _ = await run("status", *port_of(pair.url))
        _, busy, _ = await run("ps", *port_of(pair.url))
        pair.release("all")
        answers = await gather_all(*tasks)

    assert {"waiting": 0, "interactive": 0, "batch": 0} == nobody
    assert {"waiting": 3, "interactive": 1, "batch": 2} == shown
    told = "3 requests wait for a slot (1 interactive, 2 batch)"
    assert 0 == status_code
    assert told in status
    assert told in busy
    assert "for a slot" not in idle
    assert [200] * 4 == [answer.status_code for answer in answers]
