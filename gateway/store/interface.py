"""
The interface of a store for everything that must survive a restart, or that gateways share:
aliases, names of downloads, the times when models were first seen, own instances, and instances in
use.

Documents are bytes that only their writers read. Several gateways may share a store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

import msgspec

from ..access.shared import Meter

FRESH_S = 2.0
"""Seconds for which a gateway's word on its running requests counts; it tells twice a second."""

LOAD_S = 600.0
"""Seconds after its begin for which a load without a known end may still be running."""

WANTED_S = 5.0
"""Seconds for which an unload is wanted that a use has stopped; it is tried again sooner."""

Counts: TypeAlias = dict[str, int]
"""How many requests run on each model of a host, by LM Studio's keys."""


def _nothing() -> None:
    """Do nothing when something has changed."""


@dataclass(frozen=True)
class Watcher:
    """
    What a store calls when other gateways may have changed what a gateway knows.

    `names_changed` is for aliases and pulled names. `instances_changed` is for a gateway whose
    instances may be another one's now, or whose uses may not be shown any more, since it was taken
    for dead or the store was away.
    """

    names_changed: Callable[[], None] = _nothing
    instances_changed: Callable[[], None] = _nothing


class Board(Protocol):
    """
    What gateways on one store tell each other for placing requests.

    Of it only the drained hosts must survive a restart. Every method raises StoreFailure.
    """

    async def exchange_requests(
        self, gateway: str, running: Mapping[str, Counts]
    ) -> dict[str, Counts]:
        """
        Tell how many requests run through a gateway, by the identity of the host.

        Returns the sum of what the other living gateways told within `FRESH_S`.
        """
        ...

    async def put_session(self, session: str, host: str, lasts_s: float) -> None:
        """Keep for some seconds which host gave an answer its identifier, a word of its own."""
        ...

    async def session(self, session: str) -> str | None:
        """Return the host that gave an identifier, None if nobody knows it any more."""
        ...

    async def put_drained(self, host: str, *, is_drained: bool) -> None:
        """Keep, by its identity, whether a host is drained for all gateways."""
        ...

    async def drained(self) -> frozenset[str]:
        """Return the identities of the drained hosts."""
        ...


def sum_of(words: Iterable[bytes]) -> dict[str, Counts]:
    """
    Return the sum of what gateways told; what can't be read is left out.

    >>> sum_of([b'{"a": {"m": 1}}', b'{"a": {"m": 2, "n": 1}}', b"?"])
    {'a': {'m': 3, 'n': 1}}
    """
    sums: dict[str, Counter[str]] = {}
    for word in words:
        try:
            told = msgspec.json.decode(word, type=dict[str, Counts])
        except msgspec.MsgspecError:
            continue
        for host, counts in told.items():
            sums.setdefault(host, Counter()).update(counts)
    return {host: dict(counts) for host, counts in sums.items()}


class AliasChanges(NamedTuple):
    """
    What became of the aliases since a change.

    `number` counts all changes of the store, `names` has the name of every alias, and `documents`
    those that were put since.
    """

    number: int
    names: frozenset[str]
    documents: dict[str, bytes]


class Store(Protocol):
    """
    A store of aliases, of the times when models were first seen, and of loaded instances.

    `host` is the identity of an LM Studio (`hosts`), `gateway` the name of one running process.
    Each call is done as a whole or not at all. A call that only reads does not wait for another
    process that writes. Every method that is awaited raises StoreFailure when the store can't be
    used, but `trouble`, `may_load_unclaimed` and `aclose`.
    """

    @property
    def board(self) -> Board:
        """What gateways tell each other for placing requests."""
        ...

    @property
    def meter(self) -> Meter | None:
        """What counts the use of keys for all gateways; None if nobody can share the store."""
        ...

    def watch(self, watcher: Watcher) -> None:
        """Have a watcher told of what other gateways change; a store may not notice."""
        ...

    async def trouble(self) -> str:
        """Return why nothing can be written now, in a sentence; empty if it can."""
        ...

    async def may_load_unclaimed(self, host: str, gateway: str, identifier: str) -> bool:
        """
        Return whether a gateway may load what it could not claim, since the store failed.

        Of several gateways that can't ask each other only one may: the one that had claimed the
        load before, if any had, else one that all of them choose alike.
        """
        ...

    async def aliases(self) -> dict[str, bytes]:
        """Return the document of every alias by its name, in the form that names compare in."""
        ...

    async def changed_aliases(self, since: int) -> AliasChanges | None:
        """
        Return what has changed since the change of a number, None if nothing has.

        0 is before all changes. So is a number that the store has not reached: an older copy of it
        was put in its place.
        """
        ...

    async def put_alias(self, name: str, document: bytes) -> None:
        """Keep an alias, in place of one with the same name."""
        ...

    async def delete_alias(self, name: str) -> None:
        """Delete an alias; a missing name is not an error."""
        ...

    async def pulled(self) -> dict[str, bytes]:
        """Return the document of every pulled name, in the form that names compare in."""
        ...

    async def put_pulled(self, name: str, document: bytes) -> None:
        """Keep what a pulled name became, in place of what it was before."""
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
        self,
        host: str,
        gateway: str,
        changed: Mapping[str, bytes | None],
        loaded: Collection[str] = (),
    ) -> None:
        """
        Keep instances under their identifiers as the gateway's own; None deletes one.

        Those in `loaded` were loaded just now, so an instance with that identifier that another
        gateway had is gone. Else another gateway's instance with that identifier is left alone.
        """
        ...

    async def claim_load(self, host: str, gateway: str, identifier: str, document: bytes) -> bool:
        """
        Keep a document under an identifier, unless another gateway has one there.

        The identifier stands for a load. So of several gateways only one loads a model; the others
        get False. What a dead gateway left there has to be taken over first: its load may go on.
        """
        ...

    async def take_over_instances(self, host: str, gateway: str) -> list[bytes]:
        """Give the instances of all dead gateways to this one, and return their documents."""
        ...

    async def instances_of_others(self, host: str, gateway: str) -> set[str]:
        """Return the identifiers of instances of all other gateways that are alive."""
        ...

    async def others_alive(self, gateway: str) -> bool:
        """Return whether any other gateway that is alive has announced itself."""
        ...

    async def use_instances(
        self, host: str, gateway: str, uses: Mapping[str, bool], at: float
    ) -> set[str]:
        """
        Show which instances the gateway uses (True), and which it used until now (False).

        `at` is the time in seconds since the epoch. Returns those that another living gateway is
        unloading. They don't count as used by this gateway, which must load them again.
        """
        ...

    async def claim_unload(self, host: str, gateway: str, identifier: str) -> float | None:
        """
        Show that the gateway is unloading an instance, unless another living gateway uses it.

        Returns None if another one uses it, or has it as its own; who uses it learns by
        `wanted_unloads` that it is waited for. Else nobody else begins to use it until
        `end_unload`, and the result is when another gateway used it last, in seconds since the
        epoch, 0 for never.
        """
        ...

    async def wanted_unloads(self, host: str, gateway: str) -> set[str]:
        """
        Return the instances that another living gateway is unloading, or could not unload for being
        used, not longer ago than `WANTED_S`.
        """
        ...

    async def end_unload(self, host: str, gateway: str, identifier: str) -> None:
        """Show that the gateway is not unloading an instance any more, however that ended."""
        ...

    async def aclose(self) -> None:
        """Finish the work under way and close the store."""
        ...
