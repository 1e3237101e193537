"""
One host: everything that the gateway has of one LM Studio, or of another server of its kind.

Nothing in it knows of other hosts. `fleet` holds the hosts and chooses between them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from math import inf
from typing import Final

from ..catalogue.aliases import Aliases
from ..catalogue.catalogue import Catalogue
from ..catalogue.downloads import Downloads
from ..catalogue.first_seen import FirstSeen
from ..catalogue.presence import Presence
from ..catalogue.pulled_names import PulledNames
from ..catalogue.rows import CapabilityWords
from ..catalogue.slots import SLOTS, slots_of
from ..catalogue.view import View
from ..faults import Refusal, StoreFailure, UpstreamFailure, afresh
from ..lifecycle.lifecycle import Lifecycle
from ..lifecycle.ownership import Ownership
from ..lifecycle.sharing import Sharing
from ..observability.journal import get_logger
from ..queueing.waiting import SlotQueue
from ..settings.host_keys import keys_of
from ..settings.hosts import serves
from ..settings.schema import HostSettings, Settings
from ..store.hosts import host_identity
from ..store.interface import Store
from ..types import internal
from ..upstream.client import Upstream
from ..wire.hops import Name

_WITH_TIMES: Final = ("v1", "v0")
"""The dialects of hosts that have the routes below `/api/v0`."""
LACKS_WHOLE_S: Final = 600.0
"""
Seconds for which a host is believed to lack the routes that answer in one piece. It may be updated
or replaced without a word, and a request that asks for them in vain is asked once more.
"""


class Names:
    """What all hosts share: who the gateway is, the store, and the names that are kept in it."""

    def __init__(
        self, store: Store, settings: Settings, gateway: str, hop: Name, words: CapabilityWords
    ) -> None:
        """Be the gateway `gateway` to the store, and `hop` to other gateways (`wire.hops`)."""
        self.store = store
        self.aliases = Aliases(store, settings.aliases)
        self.pulled = PulledNames(store)
        self.gateway = gateway
        self.hop = hop
        self.queue = SlotQueue(settings.queue)
        """The requests that wait for slots of any host."""
        self.capability_words = words
        self._log = get_logger()

    async def start(self) -> None:
        """Show other gateways that this one is alive, once for all hosts, and read the aliases."""
        try:
            await self.store.announce(self.gateway)
        except StoreFailure as failure:
            self._log.warning(
                "could not show other gateways that this one is alive", reason=str(failure)
            )
        await self.aliases.refresh()

    async def aclose(self) -> None:
        """Stop showing other gateways that this one is alive, once all hosts are closed."""
        # The end of the process shows it as well.
        with suppress(StoreFailure):
            await self.store.withdraw(self.gateway)


class Host:
    """One host: how it is called and reached, what it has, and what is loaded there."""

    def __init__(
        self, name: str, settings: HostSettings, process: Settings, names: Names, number: int = 0
    ) -> None:
        """Open nothing yet. `process` are all settings, `settings` those of this host."""
        self.name = name
        self.number = number
        """Its place among the hosts."""
        self.settings = settings
        self.upstream = Upstream(settings, names.hop, keys_of(process, name))
        self.identity = host_identity(self.upstream.url)
        """Its name in the store."""
        self.catalogue = Catalogue(
            self.upstream,
            process.models,
            names.aliases,
            FirstSeen(names.store, self.identity),
            names.pulled,
            names.capability_words,
            process.limits.list_s,
        )
        is_named = bool(process.hosts)
        self.presence = Presence(self.upstream, self.catalogue, name if is_named else None)
        self.lifecycle = Lifecycle(
            self.upstream,
            self.catalogue,
            process.models,
            Ownership(names.store, self.identity, names.gateway, announces=False),
            Sharing(names.store, self.identity, names.gateway),
            names.queue,
            self._count_slots,
        )
        self.upstream.when_unreachable = self.lifecycle.send_away
        self.downloads = Downloads(self.upstream, self.catalogue, process.downloads)

        self._held_of: View | None = None
        self._held = 0
        """How many models are loaded by the list `_held_of`."""
        self.running = 0
        """The requests of this gateway that run here, where there are several hosts."""
        self.elsewhere = 0
        """The requests of other gateways that run here."""
        self.loading: dict[str, int] = {}
        """How many requests wait for a model that is not loaded yet, by `instances_of`."""
        self.is_idle = asyncio.Event()
        """Whether the last request has ended of a host that is to be removed."""
        self.seen_at = -inf
        """When it last sent its list, on the monotonic clock."""
        self.is_away = False
        """Whether its list cannot be had; it is asked from time to time."""
        self.is_late = False
        """Whether its list was not there in time; nobody waits for the next one."""
        self._lacks_whole_until = -inf
        """Until when it is believed to lack the routes that answer in one piece, with times."""
        self.failure: UpstreamFailure | None = None
        """Why its list could not be had the last time."""
        self._log = get_logger(host=name)
        self._warned: set[str] = set()

    def watch(
        self,
        tell: Callable[[Host, bool], None],
        changed: Callable[[], None],
        outdated: Callable[[], None],
    ) -> None:
        """
        Follow the host among others, after its presence has begun to.

        `tell` is called after each fetch of its list, with whether it is well, and for a request
        for which no connection could be opened; `changed` when the list is another one, and
        `outdated` when it is not to be believed any more.
        """
        catalogue, upstream = self.catalogue, self.upstream
        fetched, unreachable = catalogue.when_fetched, upstream.when_unreachable

        def note_fetch(failure: BaseException | None) -> None:
            if fetched is not None:
                fetched(failure)
            self._note_fetch(failure)
            tell(self, failure is None)

        def note_unreachable() -> None:
            if unreachable is not None:
                unreachable()
            tell(self, False)

        catalogue.when_fetched, upstream.when_unreachable = note_fetch, note_unreachable
        catalogue.when_changed, catalogue.when_outdated = changed, outdated

    @property
    def gives_whole(self) -> bool:
        """
        Whether it may be asked for an answer in one piece that states its times: it is an LM
        Studio with `/api/v0`, as far as is known (docs/facts/lmstudio.md#v0-answers).
        """
        lacks_it = time.monotonic() < self._lacks_whole_until
        return not lacks_it and self.catalogue.dialect in _WITH_TIMES

    def note_lack_of_whole(self) -> None:
        """Note that it has said that it lacks these routes."""
        self._lacks_whole_until = time.monotonic() + LACKS_WHOLE_S

    def held(self) -> int:
        """Return how many models it has loaded, as of its last list."""
        view = self.catalogue.view
        if view is not self._held_of:
            rows = [] if view is None else view.rows
            self._held_of, self._held = view, sum(1 for row in rows if row.instances)
        return self._held

    def serves(self, row: internal.CatalogueRow) -> bool:
        """Return whether its settings let it be used for a model."""
        return self.serves_name(row.key, row.name)

    def serves_name(self, *names: str) -> bool:
        """Return whether its settings let it be used for a model of these names."""
        return not self.settings.models or serves(self.settings.models, *names)

    def slots(self) -> int:
        """Return how many requests its loaded models run at once, all of them together."""
        view = self.catalogue.view
        rows = [] if view is None else view.rows
        loaded = {row.instances_of: row for row in rows if row.instances}
        return sum(slots_of(self.settings, row) for row in loaded.values())

    def note_late(self) -> None:
        """Note that its list was not there in time."""
        if not self.is_late:
            self.is_late = True
            self._log.info("the host is silent; it counts as it was last seen")

    def _note_fetch(self, failure: BaseException | None) -> None:
        self.is_away = failure is not None
        if failure is None:
            self.is_late = False
            self.failure = None
            self.seen_at = time.monotonic()
            self._warn_of_patterns()
        elif isinstance(failure, UpstreamFailure):
            self.failure = afresh(failure)

    def _warn_of_patterns(self) -> None:
        """Log once each pattern of the settings that no model of the host matches."""
        rows = self.catalogue.view.rows if self.catalogue.view is not None else []
        for pattern in self.settings.models if rows else ():
            plain = (pattern.removeprefix("!"),)
            if pattern in self._warned or any(serves(plain, row.key, row.name) for row in rows):
                continue
            self._warned.add(pattern)
            self._log.warning(
                "a pattern matches no model",
                pattern=pattern,
                do=f"compare hosts.{self.name}.models with `olgate models`",
            )

    def _count_slots(self, row: internal.CatalogueRow | None) -> int:
        """Return how many requests a model runs at a time, 0 if nobody says."""
        return slots_of(self.settings, row, SLOTS if self.catalogue.dialect == "v1" else 0)

    async def start(self) -> None:
        """Adopt the instances that an earlier process left."""
        await self.lifecycle.start()

    async def aclose(self) -> None:
        """Stop timers and close connections."""
        await self.presence.aclose()
        self.catalogue.close()
        await self.downloads.aclose()
        await self.lifecycle.aclose()
        await self.upstream.aclose()


def find_host(hosts: Iterable[Host], name: str) -> Host:
    """Return the host of a name. Raises Refusal (404), which lists the names, if there is none."""
    names = []
    for host in hosts:
        if host.name == name:
            return host
        names.append(host.name)
    known = ", ".join(names)
    raise Refusal(404, f"no host is called {name[:64]!r}; the hosts are: {known}")
