"""
A look at a shared store, for `olgate doctor`.
"""

from __future__ import annotations

from typing import NamedTuple

from ..faults import StartProblem
from ..settings.schema import StoreSettings
from ..settings.written import shown_url
from .redis_client import StoreUrlProblem, close, explain, is_too_old, look, make_client, try_it
from .redis_scripts import VERSION, Layout


class RedisReport(NamedTuple):
    """
    What is known of a shared store.

    `server` is its kind and version, `version` that of olgate's keys there, None before the first
    gateway. `problem` says why it can't be used, with the next step, and is empty otherwise.
    `gateways` have a lease.
    """

    where: str
    server: str
    version: int | None
    problem: str
    gateways: int


async def inspect_redis(settings: StoreSettings) -> RedisReport:
    """Look at a shared store. The only trace is a key that goes away within a second."""
    assert settings.url is not None
    where, layout = shown_url(settings.url), Layout(settings.prefix)
    server, version, gateways = "", None, 0
    try:
        client = make_client(settings.url, settings.timeout_s)
    except StartProblem as problem:
        return RedisReport(where, server, version, str(problem), gateways)
    try:
        facts = await look(client)
        server = f"{facts.kind} {facts.version}"
        if is_too_old(facts):
            raise StoreUrlProblem(f"{server} is too old: use Redis 6 or later, or Valkey")
        found = await client.get(layout.key("schema"))
        version = None if found is None else int(found)
        if version is not None and version > VERSION:
            raise StoreUrlProblem(f"a newer olgate has written it (version {version}): update this")
        gateways = int(await client.eval(_COUNT, 1, layout.key("alive")))
        await try_it(client, layout)
    except StartProblem as problem:
        return RedisReport(where, server, version, str(problem), gateways)
    except Exception as error:
        text = explain(error, settings.url).text
        return RedisReport(where, server, version, text, gateways)
    finally:
        await close(client)
    return RedisReport(where, server, version, "", gateways)


_COUNT = """
local time = redis.call('TIME')
return redis.call('ZCOUNT', KEYS[1], time[1] * 1000 + math.floor(time[2] / 1000), '+inf')
"""
