"""
What the page shows, as plain records: no secret, and nothing of what was asked or answered.

Times are seconds since the epoch. Texts are as clients and hosts sent them: `rendering` escapes
them.
"""

from __future__ import annotations

import msgspec


class LoadedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A loaded instance; `until` is when it is unloaded, None is never or not known."""

    name: str
    context: int
    slots: int
    until: float | None


class HostShown(msgspec.Struct, frozen=True, kw_only=True):
    """A host; `state` is up, suspect, down, drained or unknown."""

    name: str
    url: str
    state: str
    dialect: str
    reason: str
    tier: int
    running: int | None
    waiting: int
    models: int
    loaded: tuple[LoadedModel, ...]
    can_drain: bool


class RunningRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that runs; `tokens` counts the events of its stream so far."""

    id: str
    what: str
    model: str
    host: str
    who: str
    since: float
    state: str
    tokens: int
    queued_s: float | None
    """Seconds that it has waited for a slot; None if it has not, or waits now."""


class QueuedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """
    A request that waits for a slot; `since` is when its wait began.

    `kind` is interactive or batch, and `priority` that of its key.
    """

    id: str
    what: str
    model: str
    host: str
    who: str
    since: float
    kind: str
    priority: int


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """The requests that wait, the oldest first; `more` are not shown."""

    requests: tuple[QueuedRequest, ...]
    more: int


class ActionShown(msgspec.Struct, frozen=True, kw_only=True):
    """
    What somebody has begun on the page; `state` is running, done or failed.

    `total` and `completed` are bytes of a download, 0 where nobody states them.
    """

    id: str
    what: str
    at: float
    state: str
    text: str
    total: int
    completed: int


class EndedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request that has ended."""

    id: str
    what: str
    model: str
    host: str
    who: str
    at: float
    took_s: float
    queued_s: float | None
    """Seconds of `took_s` in which it waited for a slot; None if it has not."""
    result: str
    is_failed: bool
    is_kept: bool
    """Whether its bodies are kept (`inspect.requests`)."""
    tokens_in: int | None
    tokens_out: int | None


class ModelShown(msgspec.Struct, frozen=True, kw_only=True):
    """A model under the name that clients use; `hosts` are those that have it."""

    name: str
    key: str
    size_bytes: int
    details: str
    can: str
    is_loaded: bool
    hosts: str


class RouteView(msgspec.Struct, frozen=True, kw_only=True):
    """
    What one route would make of a model's name; `verdict` is sent, answered or refused.

    `text` says where it would go or why not, `made` which values a derived model brings.
    """

    route: str
    verdict: str
    text: str
    asked: str
    name: str
    key: str
    host: str
    context: int
    can: str
    made: tuple[str, ...]


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """An explanation in lines, or of each route of a model, or the reason why there is none."""

    problem: str = ""
    lines: tuple[str, ...] = ()
    routes: tuple[RouteView, ...] = ()


class SettingShown(msgspec.Struct, frozen=True, kw_only=True):
    """A setting in force and where it comes from; a secret is shown as set or not set."""

    path: str
    value: str
    source: str


class ProcessShown(msgspec.Struct, frozen=True, kw_only=True):
    """
    Another process of the gateway; `silent_s` is 0 for one that answers.

    Requests of one that is silent for too long are not shown.
    """

    number: int
    silent_s: int
    is_shown: bool


class About(msgspec.Struct, frozen=True, kw_only=True):
    """
    The gateway itself; `store` says where it keeps things, or why it can't.

    `processes` are the other ones of a gateway that has several.
    """

    version: str
    started: float
    store: str
    is_store_well: bool
    processes: tuple[ProcessShown, ...] = ()


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What one of several processes does, for the page that another one shows."""

    hosts: tuple[HostShown, ...]
    actions: tuple[ActionShown, ...]
    running: tuple[RunningRequest, ...]
    queue: Queue
    recent: tuple[EndedRequest, ...]


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the page shows; each field is a section of it."""

    about: About
    hosts: tuple[HostShown, ...]
    actions: tuple[ActionShown, ...]
    running: tuple[RunningRequest, ...]
    queue: Queue
    recent: tuple[EndedRequest, ...]
    models: tuple[ModelShown, ...]
    settings: tuple[SettingShown, ...]
