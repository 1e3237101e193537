"""
The models of all hosts as one list, and the homes of a name.

It takes the place of a `Catalogue` where there are several hosts. A host that is silent or away
holds up nothing for longer than `fleet.list_wait_s`, and counts as it was last seen; what a host
had that is away for `fleet.forget_s` is forgotten.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Any, Final, Literal

import msgspec

from ..catalogue.aliases import Alias
from ..catalogue.pulled_names import PulledNames
from ..catalogue.view import Dialect, View
from ..faults import UpstreamFailure, afresh
from ..names import grammar, suggestions
from ..observability.journal import get_logger
from ..observability.record import background
from ..settings.schema import Settings
from ..types import internal
from .homes import Homes, HomesOfNames
from .host import Host

Row = internal.CatalogueRow

_TRUST_FACTOR = 12
"""A loaded model is trusted for this many times the cache time of the list, as on one host."""
_LOOK_SHARE = 1 / 8
"""The share of the cache time for which a look at the ages of all lists holds."""
_AGAIN_S = 1.0
"""Seconds between two searches for a name that no host has."""


class Union:
    """The models of all hosts."""

    def __init__(
        self, settings: Settings, pulled: PulledNames, hosts: Callable[[], Sequence[Host]]
    ) -> None:
        """Unite the lists of `hosts()`, which may change."""
        self.pulled = pulled
        self._hosts = hosts
        self.max_age_s = settings.models.catalogue_ttl_s
        """Seconds for which a list is believed."""
        self._wait_s = settings.fleet.list_wait_s
        self.names = HomesOfNames(hosts, settings.fleet.forget_s)
        """Finds the homes of names in the lists."""
        self._searched_at = -inf
        self._listed: tuple[list[tuple[int, int]], list[tuple[int, View]], list[Row]] | None = None
        """The last list, and what it is of."""
        self._fresh_until = -inf
        """Until when no list is too old, on the monotonic clock, as of the last look at all."""
        self._trusted: dict[str, tuple[float, int]] = {}
        """
        Until when a model counts as loaded, by `Homes.key`, as of the last look at its homes, and
        the number of a host where it is loaded.
        """
        self.when_changed: list[Callable[[], None]] = []
        self.when_late: Callable[[Host], None] = Host.note_late
        """Called with a host whose list was not there in time."""
        self._log = get_logger()

    # -- as a catalogue -----------------------------------------------------------------------

    @property
    def dialect(self) -> Dialect | None:
        """LM Studio's newest dialect that any host speaks; None before the first answer."""
        spoken = {host.catalogue.dialect for host in self._hosts()}
        order: tuple[Dialect, ...] = ("v1", "v0", "openai")
        return next((dialect for dialect in order if dialect in spoken), None)

    @property
    def keeps_names(self) -> bool:
        """Whether there are any aliases or derived models."""
        return self._hosts()[0].catalogue.keeps_names

    def nearest(self, name: str) -> list[str]:
        """Return the listed names most similar to an unknown one, without asking the hosts."""
        names = dict.fromkeys(row.name for _, view in self.names.views() for row in view.rows)
        return suggestions.nearest(name, list(names))

    def invalidate(self) -> None:
        """Drop what is cached of all hosts' lists."""
        for host in self._hosts():
            host.catalogue.invalidate()

    async def rows(self, *, fresh: bool = False) -> list[Row]:
        """Return a row for each model of any host. Raises UpstreamFailure if no host answers."""
        await self.refresh(0.0 if fresh else self.max_age_s)
        return _own(self._hosts(), self._best())

    async def made(self) -> list[Row]:
        """Return the derived models. Raises UpstreamFailure if no host answers."""
        await self.refresh(self.max_age_s)
        return _made(self._hosts(), self._best())

    async def listed(self) -> list[Row]:
        """
        Return the rows for listings: derived models and those they do not hide, newest first.

        A name has one row: the details are those of the best home, and it can what any home can.
        The list is kept until something in it changes, so it must not be changed.
        Raises UpstreamFailure if no host answers.
        """
        await self.refresh(self.max_age_s)
        hosts, best = self._hosts(), self._best()
        of = _identities(hosts, best)
        if self._listed is None or self._listed[0] != of:
            # The views are held, so that no other one is taken for one of them.
            self._listed = (of, best, _in_order(hosts, best))
        return self._listed[2]

    def listed_now(self) -> list[Row] | None:
        """Return what `listed` returned last if it still holds, and no host is to be asked now."""
        if self._listed is None or time.monotonic() >= self._fresh_until:
            return None
        of = _identities(self._hosts(), self._best())
        return self._listed[2] if self._listed[0] == of else None

    async def find(self, name: str, *, trust_loaded: bool = False) -> Row | None:
        """Return the row of a name at its best home, None if no host has it."""
        homes = await self.homes(name, trust_loaded=trust_loaded)
        if homes is None:
            return None
        order = [number for number, _ in self._best()]
        return homes.rows[min(homes.rows, key=order.index)]

    async def kept_name(self, name: str) -> Literal["stored", "configured", "none"]:
        """Return whether a name is an alias, even if no host has its model."""
        return await self._hosts()[0].catalogue.kept_name(name)

    async def keep(self, alias: Alias) -> None:
        """Store a derived model, for all hosts. Raises StoreFailure."""
        homes = self.names.resolve(alias.name)
        first = 0 if homes is None else min(homes.rows)
        # A name that a model has in other letters stays as that model has it.
        await self._hosts()[first].catalogue.keep(alias)
        self.update_made()

    async def forget(self, name: str) -> None:
        """Delete a derived model. Raises StoreFailure."""
        await self._hosts()[0].catalogue.forget(name)
        self.update_made()

    def update_made(self) -> None:
        """Have the cached views show the aliases that there are now."""
        for host in self._hosts():
            host.catalogue.update_made()

    # -- homes --------------------------------------------------------------------------------

    async def homes(self, name: str, *, trust_loaded: bool = False) -> Homes | None:
        """
        Return the hosts that have the model of a name, None if none has it.

        With `trust_loaded`, hosts are not asked if the model was loaded somewhere in the last list.
        Raises UpstreamFailure if no host has ever answered.
        """
        text = name.strip()
        found = self.names.resolve(text)
        if found is not None and trust_loaded and self._is_trusted(found):
            return found
        await self.refresh(self.max_age_s)
        found = self.names.resolve(text)
        if found is None and grammar.parse(text) is not None:
            now = time.monotonic()
            if now - self._searched_at > _AGAIN_S:
                # The model may be new. Asking at most once a second is cheap enough.
                self._searched_at = now
                await self.refresh(0.0 if self.max_age_s else inf)
                found = self.names.resolve(text)
        if found is None:
            self._log.info("unknown model", asked=text, nearest=self.nearest(text))
        return found

    def note_change(self, host: Host | None = None) -> None:
        """Take note that a host has another list; with None that all have, or other names."""
        self.names.note_change(host)
        if host is None:
            self.note_outdated()
        else:
            # The new list is younger than the old one, so only what it said before has to be
            # looked at again.
            loaded_there = [key for key, at in self._trusted.items() if at[1] == host.number]
            for key in loaded_there:
                del self._trusted[key]
        for act in self.when_changed:
            act()

    def note_outdated(self) -> None:
        """Take note that a host's list is not to be believed any more, or the host is away."""
        self._fresh_until = -inf
        self._trusted.clear()

    async def refresh(self, max_age_s: float) -> None:
        """
        Ask the hosts whose lists are too old, and wait for them for a bounded time.

        Hosts that are away, or that were silent the last time, are not waited for. While nothing at
        all is known, the first answer is waited for. Raises UpstreamFailure if there is none.
        """
        now = time.monotonic()
        if max_age_s and now < self._fresh_until:
            return
        asked: dict[asyncio.Task[View], Host] = {}
        for host in self._hosts():
            view = host.catalogue.view
            age_s = inf if view is None else now - view.taken_at
            if age_s <= max_age_s:
                if age_s > max_age_s / 2:
                    host.catalogue.refresh_later()
            elif not host.is_away:
                task = host.catalogue.fetch()
                if not host.is_late:
                    asked[task] = host
        if asked:
            _, pending = await asyncio.wait(asked, timeout=self._wait_s)
            for task in pending:
                self.when_late(asked[task])
        if next(self.names.views(), None) is None:
            await self._await_first()
        elif not asked:
            # The look costs time for each host, and so not every request makes it.
            self._fresh_until = now + max_age_s * _LOOK_SHARE

    async def ask_again(self, numbers: Iterable[int]) -> None:
        """Ask hosts that are away, within the time for a list: one may be back."""
        hosts = self._hosts()
        tasks = [hosts[number].catalogue.fetch() for number in numbers]
        if tasks:
            await asyncio.wait(tasks, timeout=self._wait_s)

    # -- inside -------------------------------------------------------------------------------

    async def _await_first(self) -> None:
        hosts = self._hosts()
        waiting = {host.catalogue.fetch() for host in hosts}
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if any(not task.cancelled() and task.exception() is None for task in done):
                return
        for host in hosts:
            if host.failure is not None:
                raise afresh(host.failure)
        raise UpstreamFailure("no host answers", fault="connect")

    def _is_trusted(self, homes: Homes) -> bool:
        """Return whether a model is loaded somewhere by a list that is not too old."""
        holds_s = self.max_age_s * _LOOK_SHARE
        now = time.monotonic()
        until, number = self._trusted.get(homes.key, (-inf, -1))
        if now < until:
            return True
        if now < until + holds_s:
            # The request does not wait for the look at all homes.
            self._trusted[homes.key] = now + holds_s, number
            asyncio.get_running_loop().call_soon(self._look_at, homes, context=background())
            return True
        return self._look_at(homes)

    def _look_at(self, homes: Homes) -> bool:
        """Look whether a model is loaded somewhere, and have lists that get old fetched."""
        hosts, now = self._hosts(), time.monotonic()
        trusted = None
        for number, row in homes.rows.items():
            host = hosts[number]
            view = host.catalogue.view
            if view is None or host.is_away:
                continue
            age_s = now - view.taken_at
            is_young = age_s <= self.max_age_s * _TRUST_FACTOR
            if trusted is None and row.instances and is_young:
                trusted = number
            if age_s > self.max_age_s / 2:
                host.catalogue.refresh_later()
        if trusted is None:
            self._trusted.pop(homes.key, None)
            return False
        self._trusted[homes.key] = now + self.max_age_s * _LOOK_SHARE, trusted
        return True

    def _best(self) -> list[tuple[int, View]]:
        """Return hosts and their lists, the best homes first: there, of a low tier, in order."""
        hosts = self._hosts()
        return sorted(
            self.names.views(),
            key=lambda item: (hosts[item[0]].is_away, hosts[item[0]].settings.tier, item[0]),
        )


def _identities(hosts: Sequence[Host], best: list[tuple[int, View]]) -> list[tuple[int, int]]:
    """Return which views of hosts with which settings a list is of, in their order."""
    return [(id(hosts[number].settings), id(view)) for number, view in best]


def _own(hosts: Sequence[Host], best: Iterable[tuple[int, View]]) -> list[Row]:
    """Return the rows that the hosts list themselves, derived models left out."""
    return _united(filter(hosts[number].serves, view.rows) for number, view in best)


def _made(hosts: Sequence[Host], best: Iterable[tuple[int, View]]) -> list[Row]:
    return _united(filter(hosts[number].serves, view.made.values()) for number, view in best)


def _in_order(hosts: Sequence[Host], best: list[tuple[int, View]]) -> list[Row]:
    made = _made(hosts, best)
    hidden = {row.name.lower() for row in made}
    listed = [*made, *(row for row in _own(hosts, best) if row.name.lower() not in hidden)]
    return sorted(listed, key=lambda row: row.modified_at[:19], reverse=True)


def _united(lists: Iterable[Iterable[Row]]) -> list[Row]:
    """Return one row for each name, the first one, with what the others can as well."""
    found: dict[str, Row] = {}
    for rows in lists:
        for row in rows:
            name = row.name.lower()
            known = found.get(name)
            found[name] = row if known is None else with_more(known, row)
    return list(found.values())


def with_more(row: Row, other: Row) -> Row:
    """
    Return a row that is able to do what the other one is, and loaded where that is.

    What a host does not tell of its model, as a server with the OpenAI API, the other one tells.
    """
    added = [word for word in other.shown_capabilities if word not in row.shown_capabilities]
    # What a host that tells nothing else has as a size is guessed from the name.
    told: dict[str, Any] = {}
    if other.architecture and not row.architecture:
        told["size_bytes"] = other.size_bytes
    for name in _TOLD:
        if not getattr(row, name):
            told[name] = getattr(other, name)
    return msgspec.structs.replace(
        row,
        capabilities=_most_capable(row.capabilities, other.capabilities),
        shown_capabilities=[*row.shown_capabilities, *added],
        instances=[*row.instances, *other.instances],
        **told,
    )


_TOLD: Final = (
    "architecture",
    "family",
    "format",
    "quantization",
    "parameter_size",
    "parameter_count",
    "size_bytes",
    "max_context_length",
    "listed_context_length",
    "reasoning_options",
    "reasoning_default",
)
"""Fields of a row that a host may leave empty."""


def _most_capable(
    one: internal.Capabilities, other: internal.Capabilities
) -> internal.Capabilities:
    order: tuple[internal.Verdict, ...] = ("yes", "unknown", "no")
    return internal.Capabilities(
        **{
            name: min(getattr(one, name), getattr(other, name), key=order.index)
            for name in internal.Capabilities.__struct_fields__
        }
    )
