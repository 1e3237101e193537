"""
A pull to the hosts that the setting `downloads.to` names; their progress is the sum.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Protocol

from ..catalogue.download_sources import download_names
from ..catalogue.downloads import NO_DOWNLOADS, Downloads, Job
from ..faults import Refusal, afresh
from ..types import internal
from .draining import Draining
from .host import Host


class Hosts(Protocol):
    """The fleet, as far as a pull needs it."""

    hosts: tuple[Host, ...]
    draining: Draining


class Sum:
    """One download on several hosts. `total` and `completed` are bytes of all of them."""

    def __init__(self, hosts: int) -> None:
        self._hosts = hosts
        self._jobs: dict[str, Job] = {}
        self._done: set[str] = set()

    def note(self, host: str, job: Job) -> None:
        """Take note of a host's job."""
        self._jobs[host] = job
        if job.is_done:
            self._done.add(host)

    @property
    def digest(self) -> str:
        """The digest of the download, the same on every host."""
        return next(iter(self._jobs.values())).digest

    @property
    def total(self) -> int:
        """Bytes of all hosts, as far as they state them."""
        return sum(job.total for job in self._jobs.values())

    @property
    def completed(self) -> int:
        """Bytes that are there, on all hosts."""
        return sum(job.total if job.is_done else job.completed for job in self._jobs.values())

    @property
    def is_done(self) -> bool:
        """Whether every host has the model."""
        return len(self._done) == self._hosts


class Pulls:
    """The downloads of all hosts."""

    def __init__(self, fleet: Hosts, to: tuple[str, ...]) -> None:
        """Download to "best", to "all", or to the hosts of these names."""
        self._fleet = fleet
        self._to = to

    async def follow(self, wish: internal.DownloadWish) -> AsyncGenerator[Job | Sum, None]:
        """
        Download to the hosts of the setting, and yield the state after each update and at the end.

        Raises Refusal and UpstreamFailure as the first host that fails does.
        """
        hosts = self._chosen(wish)
        if len(hosts) == 1:
            async with aclosing(hosts[0].downloads.follow(wish)) as jobs:
                async for job in jobs:
                    yield job
            return
        total = Sum(len(hosts))
        news: asyncio.Queue[tuple[str, Job] | Exception | None] = asyncio.Queue()
        tasks = [
            asyncio.create_task(_read(host.name, host.downloads, wish, news)) for host in hosts
        ]
        try:
            running = len(tasks)
            while running:
                item = await news.get()
                if item is None:
                    running -= 1
                elif isinstance(item, Exception):
                    raise afresh(item)
                else:
                    total.note(*item)
                    yield total
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def aclose(self) -> None:
        """Do nothing: the hosts close their downloads."""

    def _chosen(self, wish: internal.DownloadWish) -> Sequence[Host]:
        able = [
            host
            for host in self._allowed(wish)
            if not host.is_away
            and host.catalogue.dialect == "v1"
            and not self._fleet.draining.has(host)
        ]
        if "all" in self._to:
            chosen = able
        elif self._to in ((), ("best",)):
            chosen = sorted(able, key=lambda host: (host.is_late, host.settings.tier))[:1]
        else:
            chosen = [host for host in able if host.name in self._to]
            missing = [name for name in self._to if name not in {host.name for host in able}]
            if missing:
                raise Refusal(
                    503,
                    f"downloads.to names {', '.join(missing)}, which can't download now: see "
                    "/health, or name another host",
                )
        if not chosen:
            raise Refusal(501, NO_DOWNLOADS)
        return chosen

    def _allowed(self, wish: internal.DownloadWish) -> list[Host]:
        """
        Return the hosts that are used for what is to be downloaded.

        Raises Refusal (400) if there is none, or `downloads.to` names another.
        """
        refused = [host.name for host in self._fleet.hosts if not may_have(host, wish)]
        named = [name for name in self._to if name in refused]
        if named or len(refused) == len(self._fleet.hosts):
            raise not_used_for(wish, named or refused)
        return [host for host in self._fleet.hosts if host.name not in refused]


def may_have(host: Host, wish: internal.DownloadWish) -> bool:
    """Return whether a host is used for what is to be downloaded, by `hosts.NAME.models`."""
    return host.serves_name(*download_names(wish))


def not_used_for(wish: internal.DownloadWish, hosts: Sequence[str]) -> Refusal:
    """Return the refusal of a download to hosts that are not used for the model."""
    settings = " and ".join(f"hosts.{name}.models" for name in hosts)
    verb = "leaves" if len(hosts) == 1 else "leave"
    return Refusal(
        400,
        f"{wish.model} is not downloaded, because {settings} {verb} it out: change that, or pull "
        "a model that fits",
    )


async def _read(
    name: str,
    downloads: Downloads,
    wish: internal.DownloadWish,
    news: asyncio.Queue[tuple[str, Job] | Exception | None],
) -> None:
    """Pass one host's updates on, and then its end."""
    try:
        async with aclosing(downloads.follow(wish)) as jobs:
            async for job in jobs:
                news.put_nowait((name, job))
        news.put_nowait(None)
    except Exception as problem:
        news.put_nowait(problem)
