"""
The gate that checks access keys, if the settings contain any, and what a key may do. A request by a
port of `listen.more` has the key that the port stands for, unless it sends another known one.

A client's key is read here and goes nowhere else: not to LM Studio, and not into the log. The
settings decide which texts may be keys, and read them; `access` knows whose a key is.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from urllib.parse import parse_qsl

from ..access.counting import Excess, is_limited
from ..access.keyring import Grant, Keyring
from ..access.shared import KeyCounts
from ..observability.record import Record, current
from ..settings.schema import KeySettings, Settings
from ..wire.writing import JSON
from .asgi import PORT, ExtraHeaders, Scope, client_of, header
from .dialects import error_body
from .edge import EdgeAnswer
from .routes import CONSOLE_OPEN, HEALTH, RELOAD

SENT_AS_X_API_KEY = "/v1/messages"
"""The path on which Anthropic's clients send their key in another header."""

ADMIN = "/olgate/"
"""What is below this path changes the gateway, and wants a key that may."""

_NAMES_OF_KEYS = frozenset(
    ("access_token", "api-key", "api_key", "apikey", "auth", "authorization", "key", "token")
)
"""Parameters of a query under which keys are sent elsewhere."""
_MOST_PARAMETERS = 100

_JSON = (b"content-type", JSON)


class KeyGate:
    """Refuses requests without one of the keys; without keys, it accepts every request."""

    def __init__(self, settings: Settings, counts: KeyCounts | None = None) -> None:
        """Count what named keys use in `counts`, those of this process by default."""
        self._keys = Keyring(settings)
        self._counts = counts or KeyCounts()
        # A reload is asked for with a key of before or of after it, which `reloading` checks.
        self._open: tuple[str, ...] = (RELOAD,)
        if settings.routes.open_health:
            self._open += (HEALTH,)
        if settings.routes.console:
            self._open += CONSOLE_OPEN

    @property
    def is_needed(self) -> bool:
        """Whether a request must send a key at all."""
        return not self._keys.is_empty

    def prepare(self, settings: Settings) -> Callable[[], None]:
        """Prepare other keys, and return the function that puts them in force."""
        keys = Keyring(settings)

        def use() -> None:
            self._keys = keys

        return use

    def owner_now(self, scope: Scope) -> str | None:
        """
        Return whose key a request has, if that key may do everything: its place in the list.

        "" if there are no keys. None for every other request: the gate says what becomes of it.
        """
        keys = self._keys
        if keys.is_empty:
            return None if PORT in scope else ""
        if PORT in scope or scope.get("query_string"):
            return None
        for each in shown_keys(scope, scope["path"]):
            if (owner := keys.owner_of(each)) is not None:
                return str(owner) if isinstance(owner, int) else None
        return None

    def __call__(self, scope: Scope, settings: Settings) -> EdgeAnswer | ExtraHeaders:
        """Be the gate."""
        path: str = scope["path"]
        keys = self._keys
        port = scope.get(PORT)
        if path in self._open or (keys.is_empty and port is None):
            return ()
        if scope.get("query_string") and _has_key(scope, keys):
            text = "a key in an address ends up in logs: send it in the header `Authorization: "
            return _refuse(path, 401, f"{text}Bearer KEY`, and use another one from now on")
        shown = shown_keys(scope, path)
        for each in shown:
            owner = keys.owner_of(each)
            if isinstance(owner, int):
                current().key = str(owner)
                return ()
            if owner is not None:
                return self._admit(scope, path, owner, keys.named(owner))
        if port is not None:
            return self._admit_by_port(scope, path, port.key)
        ways = "in the header `Authorization: Bearer KEY`"
        if path.startswith(SENT_AS_X_API_KEY):
            ways += " or `x-api-key: KEY`"
        what = "this key is not known to it" if shown else "none was sent"
        return _refuse(path, 401, f"this gateway needs a key {ways}, and {what}")

    def _admit_by_port(self, scope: Scope, path: str, name: str) -> EdgeAnswer | ExtraHeaders:
        """Let in what came by a port that stands for a key, and sends no key of its own."""
        settings = self._keys.named(name)
        if settings is None:
            text = f"this port stands for the key {name} (listen.more), which is not there any more"
            return _refuse(path, 403, text)
        if path.startswith(ADMIN):
            text = "what changes the gateway needs a key that is sent, also on a port that stands"
            return _refuse(path, 401, f"{text} for one: `Authorization: Bearer KEY`")
        return self._admit(scope, path, name, settings)

    def _admit(
        self, scope: Scope, path: str, name: str, settings: KeySettings | None
    ) -> EdgeAnswer | ExtraHeaders:
        """Let a named key in as far as it may go."""
        assert settings is not None
        client = client_of(scope)
        client.record.key = name
        grant = Grant(name, settings, self._counts)
        if path.startswith(ADMIN) and not settings.admin:
            return _refuse(path, 403, "this key may not change the gateway (keys.NAME.admin)")
        if not grant.allows_path(path):
            return _refuse(path, 403, "this key may not use this route (keys.NAME.routes)")
        client.grant = grant
        if is_limited(settings):
            client.admission = partial(_count, path, grant, client.record)
        return ()


async def _count(path: str, grant: Grant, record: Record) -> EdgeAnswer | None:
    """Count a request that is about to be served, or refuse it for a limit of its key."""
    if (excess := await grant.begin()) is not None:
        return _too_much(path, excess, grant.settings)
    record.grant = grant
    return None


def shown_keys(scope: Scope, path: str) -> list[str]:
    """Return the keys that a request sends: Anthropic's clients may use either header."""
    scheme, _, key = header(scope, b"authorization").strip().partition(" ")
    keys = [key.strip()] if scheme.lower() == "bearer" else []
    if path.startswith(SENT_AS_X_API_KEY):
        keys.append(header(scope, b"x-api-key").strip())
    return [key for key in keys if key]


def _has_key(scope: Scope, keys: Keyring) -> bool:
    """Return whether a query has a key in it, or what is meant to be one."""
    query = scope["query_string"].decode("latin-1")
    try:
        given = parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        return False
    return any(
        name.lower() in _NAMES_OF_KEYS or keys.owner_of(value) is not None for name, value in given
    )


def _too_much(path: str, excess: Excess, settings: KeySettings) -> EdgeAnswer:
    most = getattr(settings, excess.limit)
    text = (
        f"this key has reached its limit of {most} (keys.NAME.{excess.limit}): "
        f"try again in {excess.retry_s} s"
    )
    answer = _refuse(path, 429, text)
    retry = (b"retry-after", str(excess.retry_s).encode("ascii"))
    return answer._replace(headers=(*answer.headers, retry))


def _refuse(path: str, status: int, text: str) -> EdgeAnswer:
    headers: ExtraHeaders = (_JSON,)
    if status == 401:
        headers = (_JSON, (b"www-authenticate", b"Bearer"))
    return EdgeAnswer(status, error_body(path, status, text), headers)
