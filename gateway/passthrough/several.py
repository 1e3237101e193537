"""
What is passed on where there are several hosts: lists of all of them, and whose an instance is.

The rows of the generated table say which routes these are (`home` and `union` in
`runtime.patching`).
"""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

import msgspec
from msgspec import Raw

from ..faults import UpstreamFailure
from ..fleet.fleet import Fleet
from ..fleet.host import Host
from ..fleet.ticket import Ticket
from ..runtime.context import RequestContext
from ..runtime.patching import PassedOn, changed, due
from ..settings.schema import Settings
from ..wire.lenient import UNREADABLE
from .hiding import HIDE_MODELS
from .json_members import join_members, members_of

Members = dict[str, Raw]
_items = msgspec.json.Decoder(list[Raw]).decode


class _Seen(NamedTuple):
    members: Members
    at: float


class SeveralHosts:
    """Answers lists for all hosts, and finds the host of a name that is not a request's model."""

    def __init__(self, fleet: Fleet, settings: Settings) -> None:
        self._fleet = fleet
        self._wait_s = settings.fleet.list_wait_s
        self._forget_s = settings.fleet.forget_s
        self._seen: dict[tuple[str, str], _Seen] = {}
        """The last list of each host, by the host and the route."""
        self._asking: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def find_home(
        self, route: PassedOn, values: dict[str, str], body: object, ticket: Ticket
    ) -> None:
        """Choose a host that has what the route's `home` names, if any has it."""
        named: object = values.get(route.home)
        if named is None and isinstance(body, bytes):
            raw = (members_of(body) or {}).get(route.home)
            try:
                named = None if raw is None else msgspec.json.decode(raw)
            except UNREADABLE:
                return
        if isinstance(named, str) and named.strip():
            await self._fleet.choose(ticket, named)

    async def united(self, route: PassedOn, context: RequestContext) -> bytes | None:
        """
        Return the list of all hosts that answer in time or have answered lately, None without any.

        The first host in the order of the settings gives what else stands in the answer.
        """
        assert route.union is not None
        await self._ask(route.path)
        oldest = time.monotonic() - self._forget_s
        lists: list[tuple[Host, Members]] = []
        for host in self._fleet.hosts:
            seen = self._seen.get((host.name, route.path))
            if seen is not None and seen.at >= oldest:
                lists.append((host, seen.members))
        if not lists:
            return None
        member, by, joins = route.union
        members = {
            **lists[0][1],
            member: Raw(msgspec.json.encode(_joined(lists, member, by, joins))),
        }
        after = changed(members, due(route.answer, context), context)
        shown: Members = members if after is None else after
        if context.grant is not None and context.grant.hides_models:
            shown = changed(shown, (HIDE_MODELS,), context) or shown
        return join_members(shown)

    async def _ask(self, path: str) -> None:
        """Ask all hosts that are there, and wait for a bounded time for those that are quick."""
        waited: dict[asyncio.Task[None], Host] = {}
        for host in self._fleet.hosts:
            if host.is_away:
                continue
            key = (host.name, path)
            task = self._asking.get(key)
            if task is None:
                task = self._asking[key] = asyncio.create_task(self._fetch(host, path))
            if not host.is_late:
                waited[task] = host
        if waited:
            _, pending = await asyncio.wait(waited, timeout=self._wait_s)
            for task in pending:
                self._fleet.note_late(waited[task])

    async def _fetch(self, host: Host, path: str) -> None:
        try:
            data = await host.upstream.fetch("GET", path)
        except UpstreamFailure as failure:
            if failure.is_stated:
                # It lacks the route: what it answered before an update is not true any more.
                self._seen.pop((host.name, path), None)
            return
        finally:
            del self._asking[host.name, path]
        members = members_of(data)
        if members is not None:
            self._seen[host.name, path] = _Seen(members, time.monotonic())


def _joined(
    lists: list[tuple[Host, Members]], member: str, by: str, joins: str
) -> list[Raw | Members]:
    """Return the items of all hosts' lists; those that are one have the first one's members."""
    found: dict[object, Raw | Members] = {}
    for host, members in lists:
        try:
            items = _items(members.get(member, b"[]"))
        except UNREADABLE:
            continue
        for number, item in enumerate(items):
            own = members_of(bytes(item)) or {}
            name = _value(own.get(by))
            if isinstance(name, str) and not host.serves_name(name):
                continue
            key = name if isinstance(name, str) else (host.name, number)
            known = found.get(key)
            if known is None:
                found[key] = item
            elif joins:
                first = known if isinstance(known, dict) else members_of(bytes(known)) or {}
                found[key] = _with_items(first, own, joins)
    return list(found.values())


def _with_items(first: Members, other: Members, name: str) -> Members:
    """Return an item whose list of a name has the other item's as well."""
    try:
        items = [*_items(first.get(name, b"[]")), *_items(other.get(name, b"[]"))]
    except UNREADABLE:
        return first
    return {**first, name: Raw(msgspec.json.encode(items))}


def _value(raw: Raw | None) -> object:
    try:
        return None if raw is None else msgspec.json.decode(raw)
    except UNREADABLE:
        return None
