"""
The route by which kept exchanges are looked at.

They hold what people asked, so they are shown to callers who may use the gateway with a key, and
without keys to callers on this machine only; to no web page in any case.
"""

from __future__ import annotations

from ..observability.inspector import Inspector
from ..settings.live import LiveSettings
from ..wire.writing import encode, encode_error
from .addresses import is_loopback
from .asgi import Scope, header
from .routes import OWN


def make_inspector(live: LiveSettings, *skipped: str) -> Inspector | None:
    """
    Return the inspector that the settings ask for; None if they ask for none.

    Requests whose paths begin with one of `skipped` are not kept, nor are those for kept ones.
    """
    settings = live.current
    wanted = settings.inspect
    if not wanted.requests:
        return None
    secrets = [*settings.listen.keys, settings.upstream.token or ""]
    secrets += [host.token or "" for host in settings.hosts.values()]
    return Inspector(wanted.requests, wanted.body_bytes, (OWN, *skipped), secrets)


class Inspections:
    """Answers with what an inspector has kept."""

    def __init__(self, inspector: Inspector, live: LiveSettings) -> None:
        self._inspector = inspector
        self._live = live

    def answer(self, scope: Scope, identifier: str) -> tuple[int, bytes]:
        """
        Return the status and the body of an answer: all exchanges, or one by its id.

        A key that is wanted has been checked by then (`keys`).
        """
        address, *_ = scope.get("client") or ("",)
        settings = self._live.current
        has_keys = bool(settings.listen.keys or settings.keys)
        if header(scope, b"origin") or not (has_keys or is_loopback(address)):
            return 403, encode_error(
                "kept exchanges are shown to callers on this machine, or with one of the "
                "gateway's keys (listen.keys), and to no web page"
            )
        if not identifier:
            return 200, encode({"exchanges": self._inspector.summaries()})
        found = self._inspector.find(identifier)
        if found is None:
            return 404, encode_error(
                f"no exchange {identifier} is kept; the last {self._live.current.inspect.requests} "
                "are (inspect.requests)"
            )
        return 200, encode(found)
