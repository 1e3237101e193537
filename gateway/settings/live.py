"""
The settings in force, and the reload that replaces some of them while the gateway runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

import msgspec

from .paths import HINTS, HOSTS, KEYS, MAPS, SECTIONS, TABLES
from .schema import QueueSettings, Settings
from .written import value_of

CERTIFICATE = ("listen.tls_certificate", "listen.tls_key")
"""Files that a reload reads again although their names are the same."""

_OF_QUEUE = tuple(f"queue.{key}" for key in QueueSettings.__struct_fields__)
RELOADED = frozenset(
    {"listen.keys", "listen.keys_file", KEYS, "log.level", *CERTIFICATE, *_OF_QUEUE, *MAPS}
)
"""The settings, and the free-form sections, that a reload puts in force."""

Prepare: TypeAlias = Callable[[Settings], Callable[[], None]]
"""
Prepares the use of new settings, and returns the function that puts them in force.

Raises SettingsProblem when they cannot be used; then nothing has changed.
"""


class Change(NamedTuple):
    """What a reload found: settings that are in force now, and those that need a restart."""

    changed: tuple[str, ...]
    needs_restart: tuple[str, ...]


class LiveSettings:
    """The settings in force. Requests that run keep the ones with which they began."""

    def __init__(self, settings: Settings, reread: Callable[[], Settings] | None = None) -> None:
        """`reread` reads all sources anew, or raises SettingsProblem; None never reads anew."""
        self.current = settings
        self.sources: Mapping[str, str] = {}
        """Where each setting comes from, by `section.key`, as far as anybody has said."""
        self._reread = reread
        self._watchers: list[Prepare] = []

    def watch(self, prepare: Prepare) -> None:
        """Have a user of settings prepare and use those of every reload."""
        self._watchers.append(prepare)

    def reread(self) -> Settings:
        """Return what the sources say now. Raises SettingsProblem."""
        return self._reread() if self._reread is not None else self.current

    def use(self, wanted: Settings) -> Change:
        """
        Put settings in force, as far as a reload can; all of them or none.

        Raises SettingsProblem when one of them cannot be used.
        """
        differing = _differing(self.current, wanted)
        changed = tuple(path for path in differing if _is_reloaded(path, self.current, wanted))
        merged = _merged(self.current, wanted)
        put_in_force = [prepare(merged) for prepare in self._watchers]
        for act in put_in_force:
            act()
        self.current = merged
        self.sources = {**self.sources, **dict.fromkeys(changed, "read anew at a reload")}
        return Change(changed, tuple(path for path in differing if path not in changed))


def _is_reloaded(path: str, current: Settings, wanted: Settings) -> bool:
    """Return whether a reload puts a setting in force: hosts only if there are tables of them."""
    if path == HOSTS:
        return bool(current.hosts and wanted.hosts)
    return path in RELOADED or (path == "upstream.url" and bool(current.hosts and wanted.hosts))


def _differing(one: Settings, other: Settings) -> list[str]:
    paths = [path for path in HINTS if value_of(one, path) != value_of(other, path)]
    return paths + [name for name in (*MAPS, *TABLES) if getattr(one, name) != getattr(other, name)]


def _merged(current: Settings, wanted: Settings) -> Settings:
    """Return the current settings with those that a reload changes."""
    sections = {
        name: msgspec.structs.replace(
            getattr(current, name),
            **{
                key: value_of(wanted, f"{name}.{key}")
                for key in kind.__struct_fields__
                if _is_reloaded(f"{name}.{key}", current, wanted)
            },
        )
        for name, kind in SECTIONS.items()
    }
    maps = {
        name: getattr(wanted if _is_reloaded(name, current, wanted) else current, name)
        for name in (*MAPS, *TABLES)
    }
    return Settings(**sections, **maps)
