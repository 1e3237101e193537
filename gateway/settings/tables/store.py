"""
The place of the store.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from .kinds import shown_without


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The place of the store, which holds aliases and loaded instances."""

    path: str | None = None
    """
    The SQLite file for derived models and for instances that the gateway loaded; `:memory:`
    keeps nothing. If no file is named, the command `olgate` uses `olgate.sqlite3` in the
    platform's data folder.
    """
    url: str | None = None
    """
    A Redis or Valkey instead of the file, for gateways on several machines: `redis://HOST:PORT/DB`,
    `rediss://` for TLS, `unix://PATH`, `redis+sentinel://HOST,HOST/SERVICE`, or
    `redis+cluster://HOST`. It needs the extra `olgate[redis]`.
    """
    url_file: str | None = None
    """A file with the URL of `store.url`, which may have a password in it."""
    prefix: str = "olgate"
    """
    The first part of all keys in Redis. Gateways with the same one share what is there; use another
    one for another group of gateways.
    """
    lease_s: Annotated[float, Meta(ge=0.2, le=3600)] = 10.0
    """
    Seconds after which the others on a Redis take a gateway for dead that is not heard of; they
    take over what it loaded. Use the same for all gateways of a store.
    """
    timeout_s: Annotated[float, Meta(ge=0.05, le=60)] = 2.0
    """Seconds that Redis may take for an answer; then it counts as away."""

    def __repr__(self) -> str:
        """Show everything except the URL, which may have a password in it."""
        return shown_without(self, "url")
