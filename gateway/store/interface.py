"""
The interface of a store for everything that must survive a restart: aliases, the times when models
were first seen, and own instances.

Documents are bytes that only their writers read. Several gateways may share a store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol


class Store(Protocol):
    """
    A store of aliases, of the times when models were first seen, and of loaded instances.

    `host` is the address of an LM Studio, `gateway` the name of one running process. Each call is
    done as a whole or not at all. Every method but `close` raises StoreFailure when the store
    can't be used.
    """

    async def aliases(self) -> dict[str, bytes]:
        """Return the document of every alias by its name, in the form that names compare in."""
        ...

    async def put_alias(self, name: str, document: bytes) -> None:
        """Keep an alias, in place of one with the same name."""
        ...

    async def delete_alias(self, name: str) -> None:
        """Delete an alias; a missing name is not an error."""
        ...

    async def note_first_seen(self, host: str, keys: Iterable[str], at_ns: int) -> dict[str, int]:
        """
        Keep `at_ns` (nanoseconds since the epoch) for each model key that has no time yet.

        Returns the time of every key of that host.
        """
        ...

    async def announce(self, gateway: str) -> None:
        """Show that a gateway is alive, until `withdraw` or the end of its process."""
        ...

    async def withdraw(self, gateway: str) -> None:
        """Show that a gateway is not alive any more."""
        ...

    async def update_instances(
        self, host: str, gateway: str, changed: Mapping[str, bytes | None]
    ) -> None:
        """
        Keep instances under their identifiers as the gateway's own; None deletes one.

        A gateway's deletion leaves another gateway's instance with that identifier alone.
        """
        ...

    async def take_over_instances(self, host: str, gateway: str) -> list[bytes]:
        """Give the instances of all dead gateways to this one, and return their documents."""
        ...

    async def instances_of_others(self, host: str, gateway: str) -> set[str]:
        """Return the identifiers of instances of all other gateways that are alive."""
        ...

    def close(self) -> None:
        """Finish the work under way and close the store."""
        ...
