"""
Who may see the page, and who may act on it.

With keys the gate for keys decides: a browser shows one by a form, and after that by a cookie.
Every other page of the web is refused, and so is a key in an address. A form that changes
something needs a token as well, which only a page of the same session has.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

import msgspec

from ..server.addresses import is_loopback
from ..server.asgi import ExtraHeaders, Scope, body_pieces, header
from ..server.edge import EdgeAnswer
from ..server.keys import KeyGate
from ..server.origins import check_host
from ..server.routes import CONSOLE_EVENTS, CONSOLE_PATHS
from ..settings.live import LiveSettings
from ..settings.schema import Settings
from .answering import Refused
from .sessions import Sessions, token_in

COOKIE = b"cookie"
"""The header that brings a session."""
TOKEN = "token"
"""The field of a form that says which session its page is of."""
MOST_FORM = 8192
"""Bytes that a form may have, unless it says otherwise."""

Form = dict[str, str]

_NEAR_ONLY = (
    "Without keys, this page is shown to browsers on the gateway's own machine only. Set "
    "listen.keys (OLGATE_LISTEN_KEYS), and it asks for one of them."
)
_FOREIGN = "Pages of other origins may not use this one. Open it by its own address."
_QUERY = (
    "Nothing belongs in the address of this page. A key least of all: it ends up in logs and "
    "histories. If there was one, replace it, and open /olgate/ without it."
)
_OLD = (
    "This form is not one of the page as it is now: the gateway has started anew, or another "
    "session has begun. Load the page again."
)


class Admission:
    """Decides who is let in."""

    def __init__(self, live: LiveSettings, keys: KeyGate, secret: bytes | None = None) -> None:
        """Ask `keys`, which are those of `live`; `secret` is shared with other processes."""
        self._live = live
        self._keys = keys
        self.sessions = Sessions(secret)

    @property
    def needs_key(self) -> bool:
        """Whether a key must be shown at all."""
        return self._keys.is_needed

    def note_session(self, scope: Scope, settings: Settings) -> ExtraHeaders:
        """
        Be the gate for requests with a cookie: show the gate for keys the key of a session.

        Only the page's own requests may use one.
        """
        if not is_of_page(scope["path"]) or header(scope, b"authorization"):
            return ()
        token = token_in(header(scope, COOKIE))
        key = None if token is None else self.sessions.key_of(token)
        if key is not None:
            scope["headers"] = [*scope["headers"], shown_key(key)]
        return ()

    def form_token(self, scope: Scope) -> str:
        """Return the token for the forms of a page: that of its session."""
        return self.sessions.form_token(token_in(header(scope, COOKIE)) or "")

    def refuse(self, scope: Scope) -> Refused | None:
        """Refuse what no key could open."""
        if scope.get("query_string"):
            return Refused(400, "A key in the address", _QUERY)
        if header(scope, b"origin") and not _is_own_origin(scope):
            return Refused(403, "Another origin", _FOREIGN)
        address, *_ = scope.get("client") or ("",)
        if not self._keys.is_needed and not (is_loopback(address) and _has_near_name(scope)):
            return Refused(403, "Not from here", _NEAR_ONLY)
        return None

    def refuse_key(self, scope: Scope) -> Refused | None:
        """Refuse a request whose key the gate for keys does not let in."""
        # At the page's own path the gate lets everybody in.
        asked = {**scope, "path": CONSOLE_EVENTS}
        answer = self._keys(asked, self._live.current)
        if not isinstance(answer, EdgeAnswer):
            return None
        if not header(scope, b"authorization"):
            return Refused(401, "A key, please", "This gateway has keys. Show one of them.", True)
        if answer.status == 401:
            return Refused(401, "A key, please", "This key is not known. Show another one.", True)
        return Refused(answer.status, "Not with this key", _sentence(answer.body), True)

    def refuse_post(self, scope: Scope) -> Refused | None:
        """Refuse a form that the gateway's page did not send: browsers always tell of which."""
        return None if _is_own_origin(scope) else Refused(403, "Another origin", _FOREIGN)

    async def read_form(
        self, scope: Scope, receive: Any, most_bytes: int = MOST_FORM
    ) -> Form | Refused:
        """
        Return the fields of a form that a page of this session has sent, or why it is refused.

        Nothing is read of a request that is refused for its caller. Raises ClientGone.
        """
        refused = self.refuse(scope) or self.refuse_post(scope) or self.refuse_key(scope)
        if refused is not None:
            return refused
        form = await read_fields(receive, most_bytes)
        if isinstance(form, Refused):
            return form
        if not self.sessions.is_form_token(
            form.get(TOKEN, ""), token_in(header(scope, COOKIE)) or ""
        ):
            return Refused(403, "An old form", _OLD)
        return form


def is_of_page(path: str) -> bool:
    """Return whether a path belongs to the page, so that its cookie counts there."""
    return path in CONSOLE_PATHS


def shown_key(key: str) -> tuple[bytes, bytes]:
    """Return the header that shows a key."""
    return b"authorization", b"Bearer " + key.encode("utf-8", "surrogatepass")


async def read_fields(receive: Any, most_bytes: int = MOST_FORM) -> Form | Refused:
    """Return the fields of a form, the first of each name, or why not. Raises ClientGone."""
    body = b""
    async for piece in body_pieces(receive):
        body += piece
        if len(body) > most_bytes:
            return Refused(400, "No form", f"The form may have {most_bytes} bytes at most.", True)
    try:
        found = parse_qs(body.decode("ascii"), max_num_fields=8)
    except ValueError:
        return Refused(400, "No form", "This is not one of the page's forms.", True)
    return {name: values[0] for name, values in found.items()}


def _is_own_origin(scope: Scope) -> bool:
    host = header(scope, b"host")
    return header(scope, b"origin") in (f"http://{host}", f"https://{host}")


def _has_near_name(scope: Scope) -> bool:
    """
    Return whether a browser knows the gateway by a name of this machine.

    An attacker's name that leads to 127.0.0.1 would be this machine's page to the browser.
    """
    return not isinstance(check_host(scope, _NEAR), EdgeAnswer)


_NEAR = Settings()
"""The settings of a gateway that only this machine can reach."""


def _sentence(body: bytes) -> str:
    """Return the text of an error in Ollama's dialect."""
    try:
        error = msgspec.json.decode(body)["error"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return "The gateway refuses it."
    return error if isinstance(error, str) else "The gateway refuses it."
