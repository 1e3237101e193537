"""
The hosts of a gateway, and the choice of the one that serves a request.

With one host nothing of this room is entered for a request: its own catalogue and lifecycle serve.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from math import inf
from typing import Any

from ..catalogue.catalogue import Catalogue
from ..catalogue.downloads import Downloads
from ..catalogue.presence import HostState
from ..faults import StartProblem, afresh
from ..observability.journal import get_logger
from ..observability.record import background, current
from ..settings.hosts import hosts_of
from ..settings.paths import OF_UPSTREAM
from ..settings.schema import HostSettings, Settings
from ..settings.sources import SettingsProblem
from ..store.hosts import host_identity
from ..types import internal
from .draining import Draining
from .ejection import EjectionRules, Ejections
from .host import Host, Names, find_host
from .offers import Offers
from .placing import Placing
from .pulls import Pulls
from .retry_budget import RetryBudget
from .sessions import Sessions
from .ticket import Ticket
from .union import Union

GONE = -1
"""The number of a host that was removed."""

Row = internal.CatalogueRow


class Fleet:
    """All hosts, in the order of the settings."""

    def __init__(self, settings: Settings, names: Names) -> None:
        """Make the hosts of the settings, which no two of may be one; nothing is opened yet."""
        self._settings = settings
        self._names = names
        self.queue = names.queue
        """The requests that wait for slots of all hosts."""
        self.hosts: tuple[Host, ...] = ()
        self.union = Union(settings, names.pulled, lambda: self.hosts)
        self.union.when_late = self.note_late
        self.retries = RetryBudget(settings.placement.retry_percent, settings.placement.retry_least)
        self.sessions = Sessions(names.store.board, settings.fleet.session_s)
        self.draining = Draining(names.store.board)
        self._looked: dict[object, tuple[int, ...]] = {}
        """What `look_again` has found for requests that are alike, while homes are offered."""
        self.offers = Offers(self.queue, self.union.refresh)
        self.offers.when_offering = self._looked.clear
        self.union.when_changed.append(self.offers.note)
        self.draining.when_taken_back = self.offers.note
        self.draining.when_drained = lambda host: host.lifecycle.send_away()
        self._must_probe = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = get_logger()
        self._use_hosts(
            tuple(
                Host(name, of_host, settings, names) for name, of_host in hosts_of(settings).items()
            )
        )

    def _use_hosts(self, hosts: tuple[Host, ...]) -> None:
        """Have these hosts from now on."""
        for number, host in enumerate(hosts):
            host.number = number
        self.hosts = hosts
        self.first = hosts[0]
        """The host of every request, if there is only one."""
        self.is_one = len(hosts) == 1 and not self.first.settings.models
        """Whether nothing has to be chosen: requests have no ticket then."""
        self.models: Catalogue | Union = self.first.catalogue if self.is_one else self.union
        """The models of all hosts."""
        self.downloads: Downloads | Pulls = (
            self.first.downloads if self.is_one else Pulls(self, self._settings.downloads.to)
        )
        self.running: list[int] = [host.running + host.elsewhere for host in hosts]
        """The requests that run on each host, those of other gateways included."""
        self.ejections = Ejections(
            [host.settings.tier for host in hosts], EjectionRules(), random.random
        )
        self.draining.use(hosts, is_one=self.is_one)
        for host in hosts:
            if host.is_away:
                self.ejections.note_failure(host.number, "connect", time.monotonic())
        self._placing = Placing(
            hosts,
            self.union.names.changed,
            self.running,
            self.ejections,
            self.draining,
            self._settings.placement.spread,
        )
        self.union.note_change()

    async def start(self, *, tells_of_hosts: bool) -> None:
        """Adopt the instances that an earlier process left, and with `tells_of_hosts` log hosts."""
        await self._names.start()
        for host in self.hosts:
            await self._start_host(host, tells=tells_of_hosts or not self.is_one)
        if not self.is_one:
            self._keep(self._probe())

    async def aclose(self) -> None:
        """Stop timers and close connections."""
        await self.offers.aclose()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for host in self.hosts:
            await host.aclose()
        await self.sessions.aclose()
        await self._names.aclose()

    def prepare(self, settings: Settings) -> Callable[[], None]:
        """
        Return the function that puts reloaded hosts in force. Raises SettingsProblem.

        A host that stays is the same object; one that goes ends its requests first.
        """
        wanted = hosts_of(settings)
        made: dict[str, Host] = {}
        try:
            refuse_twins({name: host.url for name, host in wanted.items()})
            for name, of_host in wanted.items():
                known = self.named(name)
                if known is None or not _is_same_server(known.settings, of_host):
                    made[name] = Host(name, of_host, settings, self._names)
        except StartProblem as problem:
            raise SettingsProblem(str(problem)) from None

        def use() -> None:
            if self._settings.hosts == settings.hosts:
                return
            before, was_one = self.hosts, self.is_one
            hosts: list[Host] = []
            for name, of_host in wanted.items():
                host = made.get(name) or self.named(name)
                assert host is not None, "one that is not made is there"
                host.settings = of_host
                hosts.append(host)
            self._settings = settings
            self._use_hosts(tuple(hosts))
            for host in before:
                if host not in hosts:
                    self._keep(self._drain(host, is_counted=not was_one))
                elif was_one and not self.is_one:
                    host.presence.start()
                    self._watch(host)
            for host in made.values():
                self._keep(self._start_host(host, tells=True))
            if was_one and not self.is_one:
                self._keep(self._probe())

        return use

    async def _start_host(self, host: Host, *, tells: bool) -> None:
        await host.start()
        if tells:
            host.presence.start()
        if not self.is_one:
            self._watch(host)

    def _watch(self, host: Host) -> None:
        host.watch(self._note_host, lambda: self._note_list(host), self.union.note_outdated)

    async def _drain(self, host: Host, *, is_counted: bool) -> None:
        """Close a host that is none any more, once its requests have ended or had their time."""
        host.number = GONE
        self._log.info("the host is removed", host=host.name, running=host.running)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.limits.drain_s):
                if host.running or not is_counted:
                    await host.is_idle.wait()
        await host.aclose()

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Run work in the background, without the record of the request that caused it."""
        task = asyncio.get_running_loop().create_task(work, context=background())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def named(self, name: str) -> Host | None:
        """Return the host of a name."""
        return next((host for host in self.hosts if host.name == name), None)

    # -- choosing -----------------------------------------------------------------------------

    def ticket(self, pinned: str | None = None) -> Ticket | None:
        """
        Return what a request needs for its way to a host, None if there is only one.

        Raises Refusal (404) for a pinned host that there is not.
        """
        host = None if pinned is None else find_host(self.hosts, pinned)
        if self.is_one:
            return None
        return Ticket(self, None if host is None else host.number)

    async def choose(self, ticket: Ticket, name: str, *, trust_loaded: bool = False) -> Row | None:
        """
        Choose the host of a request for a model, and return the model's row there.

        None if no host has the model, or the pinned one has not. Raises UpstreamFailure if the
        hosts that have it can't be reached.
        """
        homes = await self.union.homes(name, trust_loaded=trust_loaded)
        if homes is None:
            return None
        ticket.name, ticket.homes = name, homes.hosts
        sent_to = ticket.sent_to
        if (
            sent_to is not None
            and sent_to.number in homes.rows
            and sent_to.number not in self.draining.numbers
        ):
            # It has a slot there.
            ranked: tuple[int, ...] = (sent_to.number,)
        else:
            ranked = self._placing.rank(ticket, homes)
        if ranked and self.ejections.shut_until[ranked[0]] == inf:
            # Every home is away. One may be back since it was last asked.
            await self.union.ask_again(homes.rows)
            homes = self.union.names.resolve(name.strip()) or homes
            ranked = self._placing.rank(ticket, homes)
            if ranked and self.ejections.shut_until[ranked[0]] == inf:
                failure = self.hosts[ranked[0]].failure
                ticket.host = self.hosts[ranked[0]]
                if failure is not None:
                    raise afresh(failure)
        if not ranked:
            if ticket.last_failure is not None:
                raise afresh(ticket.last_failure)
            return None
        host = self.hosts[ranked[0]]
        row = homes.rows[host.number]
        ticket.ranked, ticket.rows = ranked, homes.rows
        ticket.take(host, row)
        current().host = host.name
        return row

    def look_again(self, ticket: Ticket) -> None:
        """Note in the ticket of a request that waits which hosts could serve it best now."""
        homes = self.union.names.resolve(ticket.name.strip())
        if homes is None:
            return
        # Many requests that wait are alike; the order of their hosts does not matter here.
        tried = frozenset(ticket.tried)
        alike = (homes.key, ticket.mask, ticket.context, ticket.pinned, tried)
        ranked = self._looked.get(alike)
        if ranked is None:
            ranked = self._looked[alike] = self._placing.rank(ticket, homes)
        ticket.homes, ticket.rows, ticket.ranked = homes.hosts, homes.rows, ranked

    def default(self, ticket: Ticket) -> Host:
        """Choose the host of a request that names no model."""
        ticket.homes = frozenset(range(len(self.hosts)))
        host = self.hosts[self._placing.rank_any(ticket)]
        ticket.take(host, None)
        current().host = host.name
        return host

    # -- seats --------------------------------------------------------------------------------

    def take_seat(self, host: Host, row: Row | None) -> None:
        """Count a request that runs on a host."""
        self._count(host, 1)
        if row is not None and not row.instances:
            key = row.instances_of
            host.loading[key] = host.loading.get(key, 0) + 1
            if host.loading[key] == 1:
                self._placing.note_loading(host, key)

    def give_back(self, host: Host, row: Row | None) -> None:
        """Count it no more."""
        self._count(host, -1)
        if row is not None and not row.instances:
            key = row.instances_of
            host.loading[key] -= 1
            if not host.loading[key]:
                del host.loading[key]
                self._placing.note_loading(host, key)

    def _count(self, host: Host, more: int) -> None:
        host.running += more
        if host.number != GONE:
            self.running[host.number] += more
        elif not host.running:
            host.is_idle.set()

    def set_elsewhere(self, counts: Mapping[str, int]) -> None:
        """Say how many requests other gateways run on each host, by its name."""
        for host in self.hosts:
            host.elsewhere = counts.get(host.name, 0)
            self.running[host.number] = host.running + host.elsewhere

    # -- all hosts ----------------------------------------------------------------------------

    def state_of(self, host: Host) -> str:
        """Return whether a host gets requests: up, suspect, down or drained."""
        if self.draining.has(host):
            return "drained"
        return self.ejections.state(host.number, time.monotonic())

    async def look(self, limit_s: float) -> list[tuple[Host, HostState]]:
        """Ask every host whether it is there, all at once, each within `limit_s` seconds."""
        states = await asyncio.gather(*(host.presence.look(limit_s) for host in self.hosts))
        return list(zip(self.hosts, states, strict=True))

    # -- health -------------------------------------------------------------------------------

    def note_late(self, host: Host) -> None:
        """Note that a host's list was not there in time: others come first until it is."""
        host.note_late()
        if host.number != GONE:
            self._placing.late.add(host.number)

    def _note_list(self, host: Host) -> None:
        if host.number != GONE:
            self.union.note_change(host)

    def _note_host(self, host: Host, is_well: bool) -> None:
        if host.number == GONE:
            return
        if is_well:
            self._placing.late.discard(host.number)
        if self.union.names.is_news(host):
            self.union.note_change(host)
        now = time.monotonic()
        before = self.ejections.state(host.number, now)
        self.ejections.note_probe(host.number, now, is_well=is_well)
        after = self.ejections.state(host.number, now)
        if not is_well:
            self.union.note_outdated()
            host.is_away = True
            self._must_probe.set()
        if before != after:
            self._log.info("a host's state has changed", host=host.name, before=before, now=after)
            self.offers.note()

    async def _probe(self) -> None:
        """Ask hosts that are away whether they are back, each in its own pauses."""
        while True:
            pause_s = self.ejections.next_probe_at() - time.monotonic()
            self._must_probe.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if pause_s == inf else max(pause_s, 0.0)):
                    await self._must_probe.wait()
            for number in self.ejections.due(time.monotonic()):
                self.hosts[number].catalogue.fetch()


def _is_same_server(one: HostSettings, other: HostSettings) -> bool:
    """Return whether a host with other settings is reached and asked as before."""
    return all(getattr(one, key) == getattr(other, key) for key in OF_UPSTREAM)


def refuse_twins(urls: Mapping[str, str]) -> None:
    """Raise StartProblem if two hosts, given as addresses by their names, are one."""
    known: dict[str, str] = {}
    for name, url in urls.items():
        other = known.setdefault(host_identity(url), name)
        if other != name:
            raise StartProblem(
                f"the hosts {other} and {name} have one address ({url}), so a model would be "
                "counted and loaded twice; remove one of them"
            )
