"""
Every setting: its type, its default and its meaning.

Each table has its class in `tables`. The docstring below a field is what the user reads of it:
`reference` makes the table of settings, the JSON Schema and the default file of them. They are
written anew by `nox -s codegen`.
"""

from __future__ import annotations

import msgspec

from .tables.answers import AnswerSettings
from .tables.hosts import FleetSettings, HostSettings, PlacementSettings, UpstreamSettings
from .tables.keys import KeySettings
from .tables.kinds import secret_shown
from .tables.limits import LimitSettings
from .tables.listen import ListenSettings, PortSettings
from .tables.models import DownloadSettings, ModelSettings
from .tables.process import InspectSettings, LogSettings, RouteSettings
from .tables.queue import QueueSettings
from .tables.store import StoreSettings

__all__ = [
    "SECRETS",
    "AnswerSettings",
    "DownloadSettings",
    "FleetSettings",
    "HostSettings",
    "InspectSettings",
    "KeySettings",
    "LimitSettings",
    "ListenSettings",
    "LogSettings",
    "ModelSettings",
    "PlacementSettings",
    "PortSettings",
    "QueueSettings",
    "RouteSettings",
    "Settings",
    "StoreSettings",
    "UpstreamSettings",
    "secret_shown",
]

SECRETS = frozenset({"upstream.token", "listen.keys", "store.url"})
"""Paths (`section.key`) whose value is never shown. Each can also come from a file: `…_file`."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings, in one section for each subject."""

    listen: ListenSettings = ListenSettings()
    upstream: UpstreamSettings = UpstreamSettings()
    hosts: dict[str, HostSettings] = {}
    """
    Several hosts behind one gateway, each in a table `[hosts.NAME]`. Without any, the host of
    `upstream.url` is the only one.
    """
    keys: dict[str, KeySettings] = {}
    """
    Access keys with names, each in a table `[keys.NAME]`. With any, each request needs one of them
    or of `listen.keys`.
    """
    fleet: FleetSettings = FleetSettings()
    answers: AnswerSettings = AnswerSettings()
    models: ModelSettings = ModelSettings()
    placement: PlacementSettings = PlacementSettings()
    queue: QueueSettings = QueueSettings()
    downloads: DownloadSettings = DownloadSettings()
    pull: dict[str, str] = {}
    """
    Models' names, and where `/api/pull` downloads each: a key of LM Studio's online catalogue, or a
    link to Hugging Face.
    """
    aliases: dict[str, str] = {}
    """Your own names for models, and the model that each stands for: a name or LM Studio's key."""
    store: StoreSettings = StoreSettings()
    limits: LimitSettings = LimitSettings()
    routes: RouteSettings = RouteSettings()
    log: LogSettings = LogSettings()
    inspect: InspectSettings = InspectSettings()
