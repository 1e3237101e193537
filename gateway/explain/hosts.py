"""
The hosts that an explanation is made against, one for each that the gateway has, and their lists.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, NamedTuple, Self

from ..settings.schema import Settings
from .asked import Answered
from .host import PlayedHost, Request
from .models import OPENAI, Models, ask_models, rows_of

ONLY = ""
"""The name of the host where the settings have no table of hosts."""


class Lists(NamedTuple):
    """LM Studio's lists by the names of hosts, and why a host has none."""

    there: Mapping[str, Models]
    left_out: tuple[str, ...] = ()


async def ask_hosts(settings: Settings, asked: str | None) -> Lists:
    """
    Ask each host for its lists, all at once; a host that does not answer is left out.

    If none answers, the name `asked` is taken for a model of the first one.
    """
    if not settings.hosts:
        return Lists({ONLY: await ask_models(settings.upstream, asked)})
    names = list(settings.hosts)
    found = await asyncio.gather(*(ask_models(settings.hosts[name], asked) for name in names))
    lists = dict(zip(names, found, strict=True))
    there = {name: one for name, one in lists.items() if one.source == "host"}
    if not there:
        return Lists({names[0]: lists[names[0]]})
    silent = [name for name in names if name not in there]
    return Lists(
        there, tuple(f"the host {name} is left out: {lists[name].where}" for name in silent)
    )


def united(lists: Mapping[str, Models]) -> Models:
    """Return what to say of all lists together."""
    if len(lists) == 1:
        return next(iter(lists.values()))
    keys = {str(row.get("key", row.get("id"))) for one in lists.values() for row in rows_of(one)}
    data = [{"id": key, "object": "model"} for key in sorted(keys)]
    where = ", ".join(f"{one.where} ({name})" for name, one in lists.items())
    return Models("host", where, {OPENAI: {"object": "list", "data": data}})


class PlayedHosts:
    """All hosts of a gateway, played; each has the models of its list, and all give one answer."""

    def __init__(self, lists: Mapping[str, Models], answer: Answered | None) -> None:
        self.seen: list[Request] = []
        self.reached = asyncio.Event()
        self._hosts = {
            name: PlayedHost(models, answer, seen=self.seen, reached=self.reached, name=name)
            for name, models in lists.items()
        }
        self._stack = AsyncExitStack()

    @property
    def url(self) -> str:
        """The address of the first one."""
        return next(iter(self._hosts.values())).url

    @property
    def urls(self) -> dict[str, str]:
        """The addresses by the names in the settings; none where there is no table of hosts."""
        return {name: host.url for name, host in self._hosts.items() if name != ONLY}

    async def __aenter__(self) -> Self:
        """Listen, each on a port of its own."""
        for host in self._hosts.values():
            await self._stack.enter_async_context(host)
        return self

    async def __aexit__(self, *exc: Any) -> None:
        """Close."""
        await self._stack.aclose()
