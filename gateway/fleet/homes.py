"""
The homes of a name: the hosts that have its model, brought up to date host by host.

A search among all hosts costs time for each of them. It is made once for a name; later, only hosts
whose lists have changed are looked at again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from ..catalogue.view import View, fold
from ..types import internal
from .changed import ChangedHosts
from .host import Host

Row = internal.CatalogueRow

_MOST_NAMES = 4096
"""Names whose homes are remembered."""


class Homes(NamedTuple):
    """
    The hosts that have the model of a name: the row on each, by the host's number.

    `key` is the same for names of the same models. `hosts` are the keys of `rows`, made once for
    all requests.
    """

    key: str
    rows: dict[int, Row]
    hosts: frozenset[int]


class Fit(NamedTuple):
    """A model that a name stands for on a host: how well the name fits, 0 for best, and its row."""

    rank: int
    row: Row


class HomesOfNames:
    """Finds the homes of names in the last lists of the hosts."""

    def __init__(self, hosts: Callable[[], Sequence[Host]], forget_s: float) -> None:
        """Look at `hosts()`, which may change; one that is away for `forget_s` is forgotten."""
        self.changed = ChangedHosts()
        """Which hosts have other homes than before."""
        self._hosts = hosts
        self._forget_s = forget_s
        self._known: dict[str, _OfName] = {}
        self._seen: set[int] = set()
        """The numbers of the hosts that had a list and were not forgotten at their last change."""

    def resolve(self, text: str) -> Homes | None:
        """
        Return the homes of a name as the hosts were last seen.

        The better a name fits, the more it counts: a host where it is an exact key comes before one
        where it is that only in other letters. Hosts that have the very same model are homes, too.
        """
        known, count = self._known.get(text), self.changed.count
        if known is not None:
            if known.count == count:
                return known.homes
            changed = self.changed.since(known.count)
            if changed is not None:
                known.count = count
                for number in changed:
                    known.put(number, self._fit(text, number))
                return known.bring_up_to_date()
        if len(self._known) >= _MOST_NAMES:
            self._known.clear()
        found = ((number, self._fit(text, number)) for number, _ in self.views())
        known = self._known[text] = _OfName(text, found, count)
        return known.homes

    def views(self) -> Iterator[tuple[int, View]]:
        """Yield the last list of each host that has one and is not forgotten, by its number."""
        oldest = time.monotonic() - self._forget_s
        for host in self._hosts():
            view = host.catalogue.view
            if view is not None and (not host.is_away or host.seen_at >= oldest):
                yield host.number, view

    def note_change(self, host: Host | None) -> None:
        """Take note that a host has another list, or with None that all hosts may have."""
        if host is None:
            self.changed.note_all()
            self._seen = {number for number, _ in self.views()}
            return
        self.changed.note(host.number)
        self._seen.discard(host.number)
        if self._view_of(host.number) is not None:
            self._seen.add(host.number)

    def is_news(self, host: Host) -> bool:
        """Return whether a host is forgotten that was not at its last change, or the reverse."""
        return (self._view_of(host.number) is not None) != (host.number in self._seen)

    def _view_of(self, number: int) -> View | None:
        host = self._hosts()[number]
        is_known = not host.is_away or host.seen_at >= time.monotonic() - self._forget_s
        return host.catalogue.view if is_known else None

    def _fit(self, text: str, number: int) -> Fit | None:
        view = self._view_of(number)
        row = None if view is None else view.match(text)
        if view is None or row is None or not self._hosts()[number].serves(row):
            return None
        return Fit(_precedence(view, text, row), row)


class _OfName:
    """The homes of one name, as of the change `count`."""

    __slots__ = ("_fits", "_kinds", "_must_choose", "_shown", "_text", "count", "homes")

    def __init__(self, text: str, found: Iterable[tuple[int, Fit | None]], count: int) -> None:
        self.count = count
        self.homes: Homes | None = None
        self._text = text
        self._fits = {number: fit for number, fit in found if fit is not None}
        self._kinds = Counter(_kind_of(fit) for fit in self._fits.values())
        """How many hosts there are for each fit and model."""
        self._must_choose = False
        """Whether another fit may be the best one now."""
        self._shown = -1
        """The host whose row gives the key."""
        self._choose()

    def put(self, number: int, fit: Fit | None) -> None:
        """Have another fit on a host, None for none."""
        before = self._fits.get(number)
        if fit == before:
            return
        if before is not None:
            del self._fits[number]
            self._kinds[_kind_of(before)] -= 1
        if fit is not None:
            self._fits[number] = fit
            self._kinds[_kind_of(fit)] += 1
        homes = self.homes
        if self._must_choose or homes is None or number == self._shown:
            self._must_choose = True
            return
        best = self._fits[self._shown].rank
        is_gone = before is not None and before.rank == best and not self._kinds[_kind_of(before)]
        # Of hosts where the name fits as well, the first one gives the key.
        is_new = fit is not None and (
            fit.rank < best
            or (fit.rank == best and (number < self._shown or self._kinds[_kind_of(fit)] == 1))
        )
        if is_gone or is_new:
            self._must_choose = True
            return
        # A copy, because requests hold the old one; it is made without a look at each host.
        rows = dict(homes.rows)
        rows.pop(number, None)
        if fit is not None and (fit.rank == best or self._kinds[best, fit.row.request_key] > 0):
            rows[number] = fit.row
        is_same = (number in rows) == (number in homes.rows)
        self.homes = Homes(homes.key, rows, homes.hosts if is_same else frozenset(rows))

    def bring_up_to_date(self) -> Homes | None:
        """Return the homes after all fits were put."""
        if self._must_choose:
            self._choose()
        return self.homes

    def _choose(self) -> None:
        """Look at all hosts for the best fit."""
        self._must_choose, self.homes = False, None
        if not self._fits:
            return
        self._shown = min(self._fits, key=lambda number: (self._fits[number].rank, number))
        best, row = self._fits[self._shown]
        keys = {fit.row.request_key for fit in self._fits.values() if fit.rank == best}
        rows = {
            number: fit.row
            for number, fit in self._fits.items()
            if fit.rank == best or fit.row.request_key in keys
        }
        key = row.request_key if len(keys) == 1 else f"{row.request_key}\n{self._text}"
        if row.made is not msgspec.UNSET:
            key = f"{key}\n{row.name}"
        self.homes = Homes(key, rows, frozenset(rows))


def _kind_of(fit: Fit) -> tuple[int, str]:
    return fit.rank, fit.row.request_key


def _precedence(view: View, text: str, row: Row) -> int:
    """Return how well a name fits a row that it stands for, 0 for the best (`View.match`)."""
    if view.made.get(folded := fold(text)) is row:
        return 0
    if view.exact.get(text) is row:
        return 1
    return 2 if view.folded.get(folded) is row else 3
