"""
The sessions of browsers that have shown a key.

A cookie holds a random text and nothing of the key. The key itself stays in this process, because
it is shown to the gate for keys with each request of the page: a key that is taken back opens
nothing from then on.
"""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from hashlib import sha256
from secrets import token_bytes, token_urlsafe

NAME = "olgate_session"
"""The cookie's name."""
LASTS_S = 12 * 3600
"""Seconds after which a session ends, whether it was used or not."""
MOST = 64
"""How many sessions there are at a time; one more ends the oldest."""


class Sessions:
    """Keys by the digests of the texts in cookies, so that no comparison tells of a text."""

    def __init__(self, secret: bytes | None = None) -> None:
        """Share `secret` with the other processes of the gateway; None is one of its own."""
        self._keys: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        self._secret = secret or token_bytes(32)

    def open(self, key: str) -> str:
        """Begin a session for a key that was accepted, and return the text for its cookie."""
        token = token_urlsafe(32)
        self.keep(digest_of(token), key, LASTS_S)
        return token

    def keep(self, digest: bytes, key: str, lasts_s: float) -> None:
        """Keep a session, which another process may have opened, for some seconds."""
        self._keys[digest] = (key, time.monotonic() + lasts_s)
        while len(self._keys) > MOST:
            self._keys.popitem(last=False)

    def known(self) -> list[tuple[bytes, str, float]]:
        """Return the digest, the key and the seconds left of each session, the oldest first."""
        now = time.monotonic()
        return [(each, key, until - now) for each, (key, until) in self._keys.items()]

    def key_of(self, token: str) -> str | None:
        """Return the key of a session; None if there is no such session any more."""
        known = self._keys.get(digest_of(token))
        if known is None:
            return None
        key, until = known
        if time.monotonic() >= until:
            self.end(digest_of(token))
            return None
        return key

    def form_token(self, token: str) -> str:
        """
        Return the text that a form of a session's page must bring; `token` is the cookie's.

        "" is the session of who has shown no key: the text tells then that its page is one of this
        process, which no other site's page can read.
        """
        told = token.encode("utf-8", "surrogatepass")
        return hmac.new(self._secret, told, sha256).hexdigest()

    def is_form_token(self, given: str, token: str) -> bool:
        """Return whether a form has brought that text; the time tells nothing of it."""
        sent = given.encode("utf-8", "surrogatepass")
        return hmac.compare_digest(sent, self.form_token(token).encode("ascii"))

    def end(self, digest: bytes) -> None:
        """End the session whose text has this digest, if there is one."""
        self._keys.pop(digest, None)


def token_in(cookies: str) -> str | None:
    """
    Return the session's text from the header `cookie`.

    >>> token_in("a=b; olgate_session=xyz"), token_in("a=b")
    ('xyz', None)
    """
    for each in cookies.split(";"):
        name, _, value = each.strip().partition("=")
        if name == NAME:
            return value
    return None


def cookie_for(token: str, *, is_secure: bool) -> str:
    """
    Return the header `set-cookie` for a session; an empty text ends it.

    Scripts can't read it, and no other site's page sends it.
    """
    lasts_s = LASTS_S if token else 0
    secure = "; Secure" if is_secure else ""
    return f"{NAME}={token}; Path=/olgate/; Max-Age={lasts_s}; HttpOnly; SameSite=Strict{secure}"


def digest_of(token: str) -> bytes:
    """Return what a session is known by."""
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
