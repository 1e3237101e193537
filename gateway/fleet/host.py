"""
One host: everything that the gateway has of one LM Studio, or of another server of its kind.

Nothing in it knows of other hosts. `fleet` holds the hosts and chooses between them.
"""

from __future__ import annotations

from ..catalogue.aliases import Aliases
from ..catalogue.catalogue import Catalogue
from ..catalogue.downloads import Downloads
from ..catalogue.first_seen import FirstSeen
from ..catalogue.presence import Presence
from ..catalogue.pulled_names import PulledNames
from ..catalogue.rows import CapabilityWords
from ..lifecycle.lifecycle import Lifecycle
from ..lifecycle.ownership import Ownership
from ..lifecycle.sharing import Sharing
from ..settings.schema import HostSettings, Settings
from ..store.hosts import host_identity
from ..store.interface import Store
from ..upstream.client import Upstream


class Names:
    """What all hosts share: who the gateway is, the store, and the names that are kept in it."""

    def __init__(
        self, store: Store, settings: Settings, gateway: str, hop: str, words: CapabilityWords
    ) -> None:
        """Be the gateway `gateway` to the store, and `hop` to other gateways (`wire.hops`)."""
        self.store = store
        self.aliases = Aliases(store, settings.aliases)
        self.pulled = PulledNames(store)
        self.gateway = gateway
        self.hop = hop
        self.capability_words = words


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
        self.upstream = Upstream(settings, names.hop)
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
        self.presence = Presence(self.upstream, self.catalogue)
        self.lifecycle = Lifecycle(
            self.upstream,
            self.catalogue,
            process.models,
            Ownership(names.store, self.identity, names.gateway),
            Sharing(names.store, self.identity, names.gateway),
        )
        self.downloads = Downloads(self.upstream, self.catalogue, process.downloads)

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
