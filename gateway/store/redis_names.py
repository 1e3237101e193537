"""
The names in a Redis as one gateway knows them: aliases, pulled names, and first sightings.

They are in memory, too, so that a server that has lost them can have them again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress

from ..faults import StoreFailure
from ..observability.journal import get_logger
from . import redis_scripts as scripts
from .interface import AliasChanges
from .redis_link import RedisLink, flat, unflat

NOBODY = ""
"""The gateway of a call that is made for none."""


class RedisNames:
    """The names, as of the last `read`."""

    def __init__(self, link: RedisLink) -> None:
        """Know nothing yet."""
        self._link = link
        self.count = -1
        """How many changes of names the server had had; -1 before they were read."""
        self.aliases: dict[str, bytes] = {}
        self.pulled: dict[str, bytes] = {}
        self.seen: dict[str, dict[str, int]] = {}
        self._numbers: dict[str, int] = {}
        """The count with which each alias was put."""
        self._must_tell_all = False
        self._log = get_logger()

    async def read(self) -> None:
        """Read the names that have changed since the last time."""
        answer = await self._link.run(scripts.NAMES, NOBODY, self.count)
        if len(answer) > 1:
            count, aliases, new_aliases, pulled, new_pulled = answer
            self._numbers = {name: int(number) for name, number in unflat(aliases).items()}
            self.aliases = _merged(self.aliases, new_aliases, self._numbers)
            self.pulled = _merged(self.pulled, new_pulled, unflat(pulled))
            self.count = count

    def changes(self, since: int) -> AliasChanges | None:
        """Return what has changed of the aliases, as `Store.changed_aliases` does."""
        if self.count == since and not self._must_tell_all:
            return None
        after = since if since < self.count and not self._must_tell_all else 0
        self._must_tell_all = False
        put = {name: text for name, text in self.aliases.items() if self._numbers[name] > after}
        return AliasChanges(self.count, frozenset(self.aliases), put)

    async def change(self, kind: str, name: str, document: bytes | None) -> None:
        """Write a name of the kind `alias` or `pulled`; None deletes it."""
        given = b"" if document is None else document
        await self._link.run(scripts.CHANGE_NAME, NOBODY, kind, name, given)
        with suppress(StoreFailure):
            await self.read()

    async def note_seen(self, host: str, times: Mapping[str, int]) -> dict[str, int]:
        """Keep the times of keys that have none, and return all times of a host."""
        given = [each for key, at in times.items() for each in (key, at)]
        answer = await self._link.run(scripts.NOTE_SEEN, NOBODY, *given, host=host)
        self.seen[host] = {key: int(at) for key, at in unflat(answer).items()}
        return dict(self.seen[host])

    async def all_seen(self) -> dict[str, dict[str, int]]:
        """Return the times of all hosts."""
        start = self._link.layout.key("seen", "")
        found = {}
        for key in await self._link.keys(f"{start}*"):
            times = await self._link.command("HGETALL", key)
            pairs = times if isinstance(times, dict) else unflat(times)
            found[key.removeprefix(start)] = {
                name.decode() if isinstance(name, bytes) else name: int(at)
                for name, at in pairs.items()
            }
        return found

    async def forget_seen(self) -> None:
        """Delete the times of all hosts."""
        for key in await self._link.keys(f"{self._link.layout.key('seen', '')}*"):
            await self._link.command("DEL", key)

    def doubt(self) -> None:
        """Read all names anew: the count may be that of other changes."""
        self.count = -1
        self._must_tell_all = True

    async def restore(self) -> None:
        """Write all names again, unless another gateway has written more of them."""
        try:
            is_done = await self._link.run(
                scripts.RESTORE,
                NOBODY,
                self.count,
                len(self.aliases),
                *flat(self.aliases),
                *flat(self.pulled),
            )
            for host, times in list(self.seen.items()):
                await self.note_seen(host, times)
        except StoreFailure as failure:
            self._log.warning("could not write again what was lost", reason=str(failure))
            return
        if is_done:
            self._log.warning(
                "the store had lost changes, and has them again",
                aliases=len(self.aliases),
                pulled=len(self.pulled),
            )

    async def replace(
        self, aliases: Mapping[str, bytes], pulled: Mapping[str, bytes], *, keeps: bool
    ) -> None:
        """Write the names of a backup or of another store; with `keeps` only those not there."""
        await self._link.run(
            scripts.REPLACE, NOBODY, int(keeps), len(aliases), *flat(aliases), *flat(pulled)
        )


def _merged(
    known: Mapping[str, bytes], new: list[bytes], names: Collection[str]
) -> dict[str, bytes]:
    """Return the documents of the names that there are: those that are new, and known ones."""
    return {name: text for name, text in {**known, **unflat(new)}.items() if name in names}
