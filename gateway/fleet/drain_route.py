"""
The routes that drain a host and take it back: `POST /olgate/drain` and `POST /olgate/undrain`.

The header `x-olgate-host` names the host, as it does everywhere. The gate for keys has checked by
then that a key may change the gateway.
"""

from __future__ import annotations

from ..faults import Refusal, StoreFailure
from ..server.addresses import is_loopback
from ..server.asgi import Scope, client_of, header
from ..settings.live import LiveSettings
from ..wire.writing import encode, encode_error
from .fleet import Fleet

_NEAR_ONLY = (
    "without keys (listen.keys), hosts are drained for callers on the gateway's own machine only, "
    "and for no web page"
)
_NO_NAME = "name the host in the header x-olgate-host"


class DrainRoute:
    """Drains hosts for callers that may."""

    def __init__(self, fleet: Fleet, live: LiveSettings) -> None:
        self._fleet = fleet
        self._live = live

    async def answer(self, scope: Scope, *, drains: bool) -> tuple[int, bytes]:
        """Drain the host that a request names, or take it back; return a status and a body."""
        settings = self._live.current
        address, *_ = scope.get("client") or ("",)
        has_keys = bool(settings.listen.keys or settings.keys)
        if header(scope, b"origin") or not (has_keys or is_loopback(address)):
            return 403, encode_error(_NEAR_ONLY)
        name = client_of(scope).pinned
        if name is None:
            return 400, encode_error(_NO_NAME)
        draining = self._fleet.draining
        try:
            host = await (draining.begin(name) if drains else draining.end(name))
        except Refusal as refusal:
            return refusal.status, encode_error(refusal.error)
        except StoreFailure as failure:
            return 503, encode_error(
                f"which hosts are drained is in the store, which can't be used now: {failure}"
            )
        state = self._fleet.state_of(host)
        running = host.running + host.elsewhere
        return 200, encode({"host": host.name, "state": state, "running": running})
