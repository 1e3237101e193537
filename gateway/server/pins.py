"""
The gate that notes which host a request is to be served by (`x-olgate-host`).

Whether there is such a host is looked up after all gates, so that nobody without a key learns the
names of hosts.
"""

from __future__ import annotations

from ..settings.schema import Settings
from .asgi import HOST, ExtraHeaders, Scope, client_of, header


def note_pin(scope: Scope, _settings: Settings) -> ExtraHeaders:
    """Be the gate; it is called for requests that have the header."""
    client_of(scope).pinned = header(scope, HOST).strip() or None
    return ()
