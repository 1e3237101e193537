"""
Ollama's rules for the Origin and the Host of a request, as gates of the edge.

They keep web pages that a user visits away from a gateway on the user's own machine.
(docs/facts/ollama.md#hosts, docs/facts/ollama.md#origins)
"""

from __future__ import annotations

from ..settings.schema import Settings
from .addresses import classify_address, is_loopback, own_names
from .asgi import PORT, ExtraHeaders, Scope, header
from .edge import EdgeAnswer, Gate

LOCAL_NAMES = ("localhost", "127.0.0.1", "0.0.0.0")
APPLICATION_SCHEMES = ("app", "file", "tauri", "vscode-webview", "vscode-file")
LOCAL_SUFFIXES = (".localhost", ".local", ".internal")
DEFAULT_ORIGINS = (
    *(f"{scheme}://{name}" for name in LOCAL_NAMES for scheme in ("http", "https")),
    *(f"{scheme}://{name}:*" for name in LOCAL_NAMES for scheme in ("http", "https")),
    *(f"{scheme}://*" for scheme in APPLICATION_SCHEMES),
)
ALLOWED_METHODS = b"GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS"
ALLOWED_HEADERS = (
    b"Authorization,Content-Type,User-Agent,Accept,X-Requested-With,Openai-Beta,"
    b"X-Stainless-Arch,X-Stainless-Async,X-Stainless-Custom-Poll-Interval,"
    b"X-Stainless-Helper-Method,X-Stainless-Lang,X-Stainless-Os,X-Stainless-Package-Version,"
    b"X-Stainless-Poll-Helper,X-Stainless-Retry-Count,X-Stainless-Runtime,"
    b"X-Stainless-Runtime-Version,X-Stainless-Timeout"
)
PREFLIGHT_LASTS_S = 43200

_FORBIDDEN = EdgeAnswer(403)
_DONE = EdgeAnswer(204)


def check_origin(scope: Scope, settings: Settings) -> EdgeAnswer | ExtraHeaders:
    """
    Refuse a foreign Origin, answer a preflight, and let a page of an allowed Origin read the
    answer.

    A request without an Origin, or with the gateway's own, passes and gets none of these headers.
    """
    origin = header(scope, b"origin")
    if not origin:
        return ()
    host = header(scope, b"host")
    if origin in (f"http://{host}", f"https://{host}"):
        return ()
    if "*" in settings.listen.origins:
        allowed: ExtraHeaders = ((b"access-control-allow-origin", b"*"),)
        varies: ExtraHeaders = ()
    elif any(_matches(origin, rule) for rule in (*settings.listen.origins, *DEFAULT_ORIGINS)):
        allowed = ((b"access-control-allow-origin", origin.encode("latin-1")),)
        varies = ((b"vary", b"Origin"),)
    else:
        return _FORBIDDEN
    if scope["method"] != "OPTIONS":
        return (*allowed, *varies)
    asked = (
        (b"vary", b"Access-Control-Request-Method"),
        (b"vary", b"Access-Control-Request-Headers"),
    )
    return EdgeAnswer(
        204,
        b"",
        (
            *allowed,
            (b"access-control-allow-methods", ALLOWED_METHODS),
            (b"access-control-allow-headers", ALLOWED_HEADERS),
            (b"access-control-max-age", str(PREFLIGHT_LASTS_S).encode("ascii")),
            *((*varies, *asked) if varies else ()),
        ),
    )


def check_host(scope: Scope, settings: Settings) -> EdgeAnswer | ExtraHeaders:
    """
    Refuse a Host that is not this machine, if only this machine can reach the gateway.

    Otherwise an attacker's name that resolves to 127.0.0.1 would count as the gateway's own page. A
    gateway that listens on the network has to accept names that it does not know.
    """
    port = scope.get(PORT)
    if not is_loopback(settings.listen.host if port is None or port.host is None else port.host):
        return ()
    host = _without_port(header(scope, b"host")).lower()
    is_near = classify_address(host)
    if is_near is not None:
        return () if is_near else _FORBIDDEN
    if host and host not in own_names() and not host.endswith(LOCAL_SUFFIXES):
        return _FORBIDDEN
    return _DONE if scope["method"] == "OPTIONS" else ()


GATES: tuple[Gate, ...] = (check_origin, check_host)
"""In Ollama's order: a foreign Origin is refused whatever the Host is."""


def _matches(origin: str, rule: str) -> bool:
    """Return whether an origin matches a rule; one `*` in the rule stands for any text."""
    head, star, tail = rule.partition("*")
    if not star:
        return origin == rule
    long_enough = len(origin) >= len(head) + len(tail)
    return long_enough and origin.startswith(head) and origin.endswith(tail)


def _without_port(host: str) -> str:
    """
    Return a host without its port, whatever the port is, as Go does.

    Brackets go with the port, so that `[::1]` alone is not an address (docs/facts/ollama.md#hosts).
    """
    name, colon, port = host.rpartition(":")
    if not colon or not {"[", "]"}.isdisjoint(port):
        return host
    if name.startswith("[") and name.endswith("]"):
        return name[1:-1]
    return name if {":", "[", "]"}.isdisjoint(name) else host
