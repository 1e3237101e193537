"""
The catalogue: one cached view of LM Studio's models, and the resolution of names in it.

The view is fetched once, however many requests wait for it. The host's answers, and never a
version, tell its dialect: native v1, else v0, else the plain OpenAI list.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import Any, Literal

import msgspec

from ..calls import host
from ..faults import UpstreamFailure
from ..names import grammar, suggestions
from ..observability.journal import get_logger
from ..observability.record import background
from ..runtime.outcome import FetchCall
from ..settings.schema import ModelSettings
from ..types import internal
from ..upstream.answers import lacks_route
from ..upstream.client import Upstream
from ..upstream.identity import explain
from .aliases import Alias, Aliases, alias_row
from .first_seen import FirstSeen
from .name_warnings import NameWarnings
from .pulled_names import PulledNames
from .rows import CapabilityWords
from .templates import Templates
from .view import Dialect, View, build_view, fold

_DIALECTS: tuple[tuple[Dialect, Callable[[], FetchCall[Any, internal.HostModels]]], ...] = (
    ("v1", host.list_v1),
    ("v0", host.list_v0),
    ("openai", host.list_openai),
)
_TRUST_FACTOR = 12
"""A loaded model is trusted for this many times the cache time of the list."""
_BACKGROUND_DELAY_S = 0.25
"""
Delay in seconds before a background refresh, so that it does not compete with the request that
triggered it.
"""
_SILENT = ("first_byte_timeout", "silence_timeout")
"""The faults of a host that took the request and does not answer it."""


class Catalogue:
    """The host's models. All times are from the monotonic clock, in seconds."""

    def __init__(
        self,
        upstream: Upstream,
        settings: ModelSettings,
        aliases: Aliases,
        first_seen: FirstSeen,
        pulled: PulledNames,
        capability_words: CapabilityWords,
        list_s: float = 10.0,
    ) -> None:
        """
        Fetch lists with `upstream`; `aliases`, `first_seen` and `pulled` add what the host lacks.

        `capability_words` names the capabilities that clients see. A fetch may take `list_s`
        seconds; 0 is no limit.
        """
        self._list_s = list_s
        self._capability_words = capability_words
        self._upstream = upstream
        self._settings = settings
        self.max_age_s = settings.catalogue_ttl_s
        """Seconds for which a list is believed."""
        self._aliases = aliases
        self._first_seen = first_seen
        self.pulled = pulled
        """The names that were pulled; `update_made` must follow a change."""
        self._templates = Templates()
        self.view: View | None = None
        """The last list, however old; None before the first."""
        self._listed: tuple[View, list[internal.CatalogueRow]] | None = None
        """The last list that was asked for, with the view that it is of."""
        self._fetching: asyncio.Task[View] | None = None
        self._patient: asyncio.Task[View] | None = None
        """A fetch for loads alone, which may take longer than `list_s`."""
        self._refresh_timer: asyncio.TimerHandle | None = None
        self._knows_dialect = False
        self._watchers: list[Callable[[list[internal.CatalogueRow]], None]] = []
        self.when_fetched: Callable[[BaseException | None], None] | None = None
        """Called after every fetch, with its failure."""
        self.when_changed: Callable[[], None] | None = None
        """Called when the view has become another one."""
        self.when_outdated: Callable[[], None] | None = None
        """Called when the view is not to be believed any more."""
        self._warnings = NameWarnings()
        self._without_model: set[str] = set()
        self._log = get_logger()

    @property
    def dialect(self) -> Dialect | None:
        """The dialect of the host's last answer; None before the first."""
        return self.view.dialect if self.view else None

    @property
    def keeps_names(self) -> bool:
        """Whether there are any aliases or derived models."""
        return bool(self._aliases.kept or self._aliases.configured)

    def nearest(self, name: str) -> list[str]:
        """Return the listed names most similar to an unknown one, without asking the host."""
        return suggestions.nearest(name, [row.name for row in self.view.rows] if self.view else [])

    def watch(self, watcher: Callable[[list[internal.CatalogueRow]], None]) -> None:
        """Call a function with the rows of every new view."""
        self._watchers.append(watcher)

    def close(self) -> None:
        """Start no further background refresh."""
        if self._refresh_timer is not None:
            self._refresh_timer.cancel()

    def invalidate(self) -> None:
        """Drop the cache: a model was loaded, unloaded or downloaded."""
        # A fetch that is running may still return the old state: the requests that wait for it get
        # that list, but no others do.
        self._fetching = self._patient = None
        if self.view is not None:
            self.view = self.view.outdated()
        if self.when_outdated is not None:
            self.when_outdated()

    async def rows(
        self, *, fresh: bool = False, until: float | None = None
    ) -> list[internal.CatalogueRow]:
        """
        Return a row for each of LM Studio's own models.

        `fresh` asks the host even if the cached view is valid. With `until`, a monotonic time, a
        host that takes longer for its list than clients wait has time until then: a load has.
        Raises UpstreamFailure.
        """
        try:
            return (await self._look(0.0 if fresh else self._settings.catalogue_ttl_s)).rows
        except UpstreamFailure as failure:
            if until is None or failure.fault not in _SILENT or time.monotonic() >= until:
                raise
        if self._patient is None:
            self._patient = asyncio.create_task(self._fetch(until - time.monotonic()))
            self._patient.add_done_callback(self._end_fetch)
        return (await asyncio.shield(self._patient)).rows

    async def listed(self) -> list[internal.CatalogueRow]:
        """
        Return the rows for listings: derived models and those they do not hide, newest first.

        A host that is silent is listed as it was last seen. The list is kept until something in it
        changes, so it must not be changed. Raises UpstreamFailure.
        """
        try:
            view = await self._look(self._settings.catalogue_ttl_s)
        except UpstreamFailure as failure:
            if self.view is None or failure.fault not in _SILENT:
                raise
            view = self.view
            self._log.warning("LM Studio is silent; listed as last seen", reason=failure.message)
        if self.view is not None and self.view.rows is view.rows:
            # After a fetch, the names that there are now are added to the view that it returns.
            view = self.view
        if self._listed is None or self._listed[0] is not view:
            self._listed = (view, _in_order(view))
        return self._listed[1]

    def listed_now(self) -> list[internal.CatalogueRow] | None:
        """Return what `listed` returned last if it still holds, and is not to be asked for soon."""
        view, listed = self.view, self._listed
        if view is None or listed is None or listed[0] is not view:
            return None
        is_young = time.monotonic() - view.taken_at <= self._settings.catalogue_ttl_s / 2
        return listed[1] if is_young else None

    async def made(self) -> list[internal.CatalogueRow]:
        """Return the derived models. Raises UpstreamFailure."""
        view = await self._look(self._settings.catalogue_ttl_s)
        return list(view.made.values())

    def made_named(self, name: str) -> internal.CatalogueRow | None:
        """Return the derived model of a name in the cached view."""
        return self.view.made.get(fold(name)) if self.view is not None else None

    async def keep(self, alias: Alias) -> None:
        """
        Store a derived model. Raises StoreFailure.

        A name that a model has in other letters stays as that model has it
        (docs/facts/ollama.md#rename-by-case).
        """
        parsed = grammar.parse(alias.name)
        assert parsed is not None, "a plan checks the name before it is kept"
        kept = self._aliases.kept.get(parsed.folded)
        known = kept.name if kept else _listed_name(self.view, parsed.folded)
        await self._aliases.keep(msgspec.structs.replace(alias, name=known or alias.name))
        self.update_made()

    async def forget(self, name: str) -> None:
        """Delete a derived model. Raises StoreFailure."""
        await self._aliases.forget(name)
        self.update_made()

    async def kept_name(self, name: str) -> Literal["stored", "configured", "none"]:
        """
        Return whether a name is an alias, even if its model is gone from the host.

        "stored" is a derived model, "configured" a name of the settings file.
        """
        parsed = grammar.parse(name.strip())
        if parsed is None:
            return "none"
        if any(parsed.folded == folded for folded, _ in self._aliases.configured_names()):
            return "configured"
        await self._aliases.refresh()
        return "stored" if parsed.folded in self._aliases.kept else "none"

    async def find(self, name: str, *, trust_loaded: bool = False) -> internal.CatalogueRow | None:
        """
        Return the row of a name, None if no model has it.

        The order is: a derived model, an exact key or variant of LM Studio, Ollama's grammar in any
        letter case, the name without an instance's number. A similar name is never used. A name
        outside the grammar can only be an exact key, so the host is not asked again for it.

        With `trust_loaded`, a model that was loaded in the last list counts as loaded although the
        list is too old, and the list is refreshed in the background. If the model was unloaded, LM
        Studio loads it by itself or says so, and the usual recovery follows.

        Raises UpstreamFailure if the host cannot be asked.
        """
        if trust_loaded and (row := self.find_loaded(name)) is not None:
            return row
        text = name.strip()
        if grammar.parse(text) is None:
            try:
                view = await self._look(self._settings.catalogue_ttl_s)
            except UpstreamFailure:
                return None
            return view.exact.get(text)
        view = await self._look(self._settings.catalogue_ttl_s)
        row = view.match(text)
        if row is None and time.monotonic() - view.taken_at > 1.0:
            # The model may be new. Asking at most once a second is cheap enough.
            row = (await self._look(0.0)).match(text)
        if row is None:
            self._log.info("unknown model", asked=text, nearest=self.nearest(text))
        else:
            self._warnings.look_at(text, row)
        return row

    def find_loaded(self, name: str) -> internal.CatalogueRow | None:
        """
        Return the row of a name if it was loaded in the last list, unless that is too old.

        It is what `find` returns that trusts the list, without waiting for anything.
        """
        text = name.strip()
        view, ttl_s = self.view, self._settings.catalogue_ttl_s
        if view is None or (age_s := time.monotonic() - view.taken_at) > ttl_s * _TRUST_FACTOR:
            return None
        row = view.match(text)
        if row is None or not row.instances:
            return None
        if age_s > ttl_s / 2:
            self.refresh_later()
        self._warnings.look_at(text, row)
        return row

    def key_for(self, identifier: str) -> str | None:
        """
        Return LM Studio's key of the model that an answer names, None if unknown.

        `identifier` may be a key, a variant or an instance's identifier. The host is not asked.
        """
        if self.view is None:
            return None
        row = self.view.exact.get(identifier) or self.view.match(identifier)
        return row.key if row is not None else None

    async def _look(self, max_age_s: float) -> View:
        view = self.view
        if view is not None and (age_s := time.monotonic() - view.taken_at) <= max_age_s:
            if age_s > max_age_s / 2:
                # Refreshed before it expires, so that no request waits while there is traffic.
                self.refresh_later()
            return view
        # Shielded: a client that leaves must not fail the others that wait for the same view.
        return await asyncio.shield(self.fetch())

    def refresh_later(self) -> None:
        """Refresh in the background; the result is not on the request's record."""
        if self._refresh_timer is None and self._fetching is None:
            self._refresh_timer = asyncio.get_running_loop().call_later(
                _BACKGROUND_DELAY_S, self.fetch, context=background()
            )

    def fetch(self) -> asyncio.Task[View]:
        """Return the fetch that is running; start one if there is none."""
        if self._refresh_timer is not None:
            self._refresh_timer.cancel()
            self._refresh_timer = None
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch(self._list_s or inf))
            self._fetching.add_done_callback(self._end_fetch)
        return self._fetching

    def _end_fetch(self, task: asyncio.Task[View]) -> None:
        is_current = task in (self._fetching, self._patient)
        if task is self._fetching:
            self._fetching = None
        elif task is self._patient:
            self._patient = None
        if task.cancelled():
            return
        failure = task.exception()
        if failure is None and is_current:
            self.view = task.result()
            # Aliases that were stored or deleted in the meantime would be missing in it.
            self.update_made()
            for watcher in self._watchers:
                watcher(self.view.rows)
        elif failure is None and self.view is None:
            self.view = task.result().outdated()
            self.update_made()
        if self.when_fetched is not None:
            self.when_fetched(failure)

    async def _fetch(self, limit_s: float) -> View:
        last: UpstreamFailure | None = None
        # A host that was unreachable may have been updated.
        known = self.dialect if self._knows_dialect else None
        self._knows_dialect = False
        over_at = time.monotonic() + limit_s
        for dialect, call in sorted(_DIALECTS, key=lambda item: item[0] != known):
            left_s = max(round(over_at - time.monotonic(), 2), 0.01)
            try:
                models = await self._upstream.ask(
                    call(), timeout_s=left_s if left_s < inf else None
                )
            except UpstreamFailure as failure:
                last = failure
                if lacks_route(failure, names_thing=False):
                    continue
                break
            self._knows_dialect = True
            await self._first_seen.note(model.key for model in models.models)
            await self._aliases.refresh()
            await self.pulled.refresh()
            view = build_view(
                dialect,
                time.monotonic(),
                models,
                self._first_seen.at,
                self._settings.insert_architectures,
                self._capability_words,
            )
            view = replace(view, pulled=self.pulled.keys)
            self._templates.attach(view.rows)
            return replace(view, made=self._made_in(view))
        assert last is not None
        try:
            last = await explain(self._upstream, last)
            raise last
        finally:
            # A raised exception holds this frame, which must not hold the exception.
            del last

    def update_made(self) -> None:
        """Have the cached view show the aliases that there are now."""
        if self.view is not None:
            self.view = replace(self.view, pulled=self.pulled.keys)
            self.view = replace(self.view, made=self._made_in(self.view))
            if self.when_changed is not None:
                self.when_changed()

    def _made_in(self, view: View) -> dict[str, internal.CatalogueRow]:
        """Return the rows of aliases whose models the host has."""
        made: dict[str, internal.CatalogueRow] = {}
        for folded, alias in self._aliases.kept.items():
            base = view.exact.get(alias.request_key)
            if base is not None:
                made[folded] = alias_row(alias, base)
        for folded, (name, stands_for) in self._aliases.configured_names():
            base = made.get(fold(stands_for)) or view.match(stands_for)
            if base is None:
                # Said again only after the model was there in between.
                if name not in self._without_model:
                    self._without_model.add(name)
                    self._log.info("configured alias without a model", name=name, model=stands_for)
            else:
                self._without_model.discard(name)
                made[folded] = msgspec.structs.replace(base, name=name)
        return made


def _in_order(view: View) -> list[internal.CatalogueRow]:
    hidden = {row.name.lower() for row in view.made.values()}
    listed = [
        *view.made.values(),
        *(row for row in view.rows if row.name.lower() not in hidden),
    ]
    # Seconds are what Ollama sorts by (docs/facts/ollama.md#tags); equal ones keep the host's
    # order.
    return sorted(listed, key=lambda row: row.modified_at[:19], reverse=True)


def _listed_name(view: View | None, folded: str) -> str | None:
    for row in view.rows if view is not None else []:
        parsed = grammar.parse(row.name)
        if parsed is not None and parsed.folded == folded:
            return row.name
    return None
