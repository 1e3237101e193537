"""
The gate that checks access keys, if the settings contain any.

A client's key is read here and goes nowhere else: not to LM Studio, and not into the log. The
settings decide which texts may be keys, and read them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import sha256
from hmac import compare_digest

from ..observability.record import current
from ..settings.schema import Settings
from ..wire.writing import JSON
from .asgi import ExtraHeaders, Scope, header
from .dialects import error_body
from .edge import EdgeAnswer
from .routes import HEALTH, RELOAD

SENT_AS_X_API_KEY = "/v1/messages"
"""The path on which Anthropic's clients send their key in another header."""


class KeyGate:
    """Refuses requests without one of the keys; without keys, it accepts every request."""

    def __init__(self, settings: Settings) -> None:
        """Store digests only: they have one length, which a comparison in constant time needs."""
        self._digests = _digests(settings.listen.keys)
        # A reload is asked for with a key of before or of after it, which `reloading` checks.
        self._open = (RELOAD, HEALTH) if settings.routes.open_health else (RELOAD,)

    def prepare(self, settings: Settings) -> Callable[[], None]:
        """Prepare other keys, and return the function that puts them in force."""
        digests = _digests(settings.listen.keys)

        def use() -> None:
            self._digests = digests

        return use

    def __call__(self, scope: Scope, settings: Settings) -> EdgeAnswer | ExtraHeaders:
        """Be the gate."""
        path: str = scope["path"]
        if not self._digests or path in self._open:
            return ()
        shown = _shown_keys(scope, path)
        for each in shown:
            if place := _place_of(each, self._digests):
                current().key = place
                return ()
        ways = "in the header `Authorization: Bearer KEY`"
        if path.startswith(SENT_AS_X_API_KEY):
            ways += " or `x-api-key: KEY`"
        what = "this key is not known to it" if shown else "none was sent"
        body = error_body(path, 401, f"this gateway needs a key {ways}, and {what}")
        return EdgeAnswer(401, body, ((b"content-type", JSON), (b"www-authenticate", b"Bearer")))


def shows_one_of(scope: Scope, keys: Iterable[str]) -> bool:
    """Return whether a request sends one of some keys."""
    digests = _digests(keys)
    return any(_place_of(each, digests) for each in _shown_keys(scope, scope["path"]))


def _place_of(shown: str, digests: list[bytes]) -> int:
    """
    Return the place of a key among others, from 1; 0 if it is none of them.

    Compares with every key, so that the time taken does not reveal which one is similar.
    """
    digest = _digest(shown)
    found = [compare_digest(digest, each) for each in digests]
    return found.index(True) + 1 if any(found) else 0


def _digests(keys: Iterable[str]) -> list[bytes]:
    return [_digest(key) for key in keys]


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogatepass")).digest()


def _shown_keys(scope: Scope, path: str) -> list[str]:
    """Return the keys that a request sends: Anthropic's clients may use either header."""
    scheme, _, key = header(scope, b"authorization").strip().partition(" ")
    keys = [key.strip()] if scheme.lower() == "bearer" else []
    if path.startswith(SENT_AS_X_API_KEY):
        keys.append(header(scope, b"x-api-key").strip())
    return [key for key in keys if key]
