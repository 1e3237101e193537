"""
Explaining a request: the gateway runs it against a played host, and what it did is put together.

It runs in a thread of its own, whose trace function slows nothing else down. Nothing is sent to LM
Studio but questions for its lists of models, and those only when no list is given.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import msgspec

from ..settings.schema import Settings
from .asked import Asked
from .assembling import Assembly, Way
from .host import Host
from .hosts import ONLY, Lists, PlayedHosts, ask_hosts, united
from .index import load_index
from .models import Models, with_openai
from .problems import NotExplained
from .report import Explanation
from .running import MakeApp, alive, names_in, run_watched, send_watched, settings_for
from .trace import Trace

_CHANGING = ("download", "unload")
"""What a host is asked for by a request after which nothing is as it was."""

HostT = TypeVar("HostT", bound=Host)
MakeHost = Callable[[Models], Host]
"""Makes the host that an explanation is made against, for a list of models."""


def explain(
    asked: Asked,
    settings: Settings,
    make_app: MakeApp,
    models: Models | Lists | None = None,
    make_host: MakeHost | None = None,
) -> Explanation:
    """
    Return what becomes of a request with these settings, by the application that `make_app` makes.

    Without `models`, each host is asked for its lists. A list of a file stands for one host;
    `Lists` have several. `make_host` replaces the host that is
    played. Raises NotExplained for settings of a case that are none.
    """
    wanted = _with(settings, asked)
    with ThreadPoolExecutor(1, thread_name_prefix="explain") as thread:
        return thread.submit(
            lambda: asyncio.run(_explain(asked, wanted, make_app, models, make_host))
        ).result()


def explain_each(
    asks: Sequence[Asked], settings: Settings, make_app: MakeApp, lists: Lists
) -> list[Explanation]:
    """
    Return what becomes of each of several small requests, in order, as `explain` does.

    They are for one application, because to make one takes longer than to watch a request. Another
    one is made after a request that has changed which models there are, so that each finds what the
    first one found; a model that one has loaded stays loaded for the next.
    """
    found: list[Explanation] = []
    with ThreadPoolExecutor(1, thread_name_prefix="explain") as thread:
        while len(found) < len(asks):
            rest = asks[len(found) :]
            some = _explain_some(rest, settings, make_app, lists)
            found += thread.submit(asyncio.run, some).result()
    return found


async def _explain_some(
    asks: Sequence[Asked], settings: Settings, make_app: MakeApp, lists: Lists
) -> list[Explanation]:
    """Explain the first requests by one application, at least one of them."""
    found: list[Explanation] = []
    index, listed = load_index(), united(lists.there)
    async with (
        _playing(settings, PlayedHosts(lists.there, None)) as (host, used),
        alive(make_app(used)) as app,
    ):
        names = await names_in(app, host)
        for asked in asks:
            trace = Trace(index)
            with trace.watching():
                sent = await send_watched(app, asked, host, trace)
            assembly = Assembly(asked, Way(asked), trace, host.seen, sent, index)
            notes = [*_notes(asked, settings, listed), *lists.left_out]
            found.append(assembly.explanation(listed, notes))
            # A download goes on in the background, and asks the host.
            if any(one.purpose in _CHANGING for one in host.seen):
                break
            if await names_in(app, host) != names:
                break
    return found


@asynccontextmanager
async def _playing(settings: Settings, host: HostT) -> AsyncIterator[tuple[HostT, Settings]]:
    """Have a host play, and yield it with the settings of a gateway in front of it."""
    with TemporaryDirectory(prefix="olgate-explain-", ignore_cleanup_errors=True) as folder:
        async with host:
            yield host, settings_for(settings, host.url, Path(folder), host.urls)


async def _explain(
    asked: Asked,
    settings: Settings,
    make_app: MakeApp,
    models: Models | Lists | None,
    make_host: MakeHost | None,
) -> Explanation:
    if models is None and asked.lists:
        models = Models("file", asked.source, with_openai(dict(asked.lists)))
    if isinstance(models, Models):
        lists = Lists({ONLY: models})
    else:
        lists = models or await ask_hosts(settings, name_in(asked))
    listed = united(lists.there)
    way = Way(asked)
    index = load_index()
    trace = Trace(index)
    host: Host = PlayedHosts(lists.there, asked.answer)
    if make_host is not None:
        host = make_host(listed)
    async with _playing(settings, host) as (_, used):
        with trace.watching():
            sent = await run_watched(asked, used, make_app, host, trace)
    assembly = Assembly(asked, way, trace, host.seen, sent, index)
    notes = [*_notes(asked, settings, listed), *lists.left_out]
    if isinstance(models, Models) and len(settings.hosts) > 1:
        notes.append("the list stands for one host; the gateway has several")
    return assembly.explanation(listed, notes)


def _with(settings: Settings, asked: Asked) -> Settings:
    """Return settings with those that a case states."""
    if not asked.settings:
        return settings
    merged = _merge(msgspec.to_builtins(settings), asked.settings)
    try:
        return msgspec.convert(merged, Settings)
    except msgspec.ValidationError as problem:
        raise NotExplained(f"the settings of {asked.source} can't be used: {problem}") from None


def _merge(base: Any, more: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(more, dict):
        return more
    return {**base, **{key: _merge(base.get(key), value) for key, value in more.items()}}


def name_in(asked: Asked) -> str | None:
    """Return the model that a request names, None if it names none."""
    try:
        value = json.loads(asked.body or b"")
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    name = value.get("model") or value.get("name")
    return name if isinstance(name, str) else None


def _notes(asked: Asked, settings: Settings, models: Models) -> list[str]:
    notes = []
    if models.source == "assumed":
        notes.append(
            f"{models.where}; the name is taken for a model of which nothing is known. "
            "Give a list with --models FILE for its capabilities"
        )
    if settings.store.url is not None:
        notes.append("a store in Redis is not read here, so derived models are not known")
    if settings.listen.keys or settings.keys:
        notes.append("access keys are not checked here")
    if asked.answer is None:
        notes.append("no answer of LM Studio's was given, so the way back is not shown (--answer)")
    return notes
