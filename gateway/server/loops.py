"""
The gate that stops a request which has come back to the gateway that sent it.

That happens if the address of a host leads to the gateway itself, or to another gateway that leads
back.
Without this gate each such request would cause the next one until no file can be opened.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from ..settings.host_keys import UPSTREAM_KEYS, keys_of
from ..settings.hosts import hosts_of
from ..settings.schema import Settings
from ..wire import hops
from ..wire.writing import JSON
from .asgi import ExtraHeaders, Scope, header
from .dialects import error_body
from .edge import EdgeAnswer

WAYS = "--upstream, LMSTUDIO_URL"
"""Other ways to say `upstream.url`."""


def loop_text(settings: Settings, authority: str) -> str:
    """
    Return what a request is told that came back, with the setting that leads to the gateway.

    `authority` is whom the request is for by its header `Host`: most likely as that setting has it.
    """
    hosts = hosts_of(settings)
    leading = [
        name for name, host in hosts.items() if urlsplit(host.url).netloc == authority
    ] or hosts
    found = list(dict.fromkeys(keys_of(settings, name) for name in leading))
    keys = " or ".join(each.key("url") for each in found)
    ways = f" ({WAYS})" if found == [UPSTREAM_KEYS] else ""
    return (
        f"this request has come back to the gateway that sent it: {keys} leads to the gateway "
        f"itself; set it to the address of LM Studio{ways}"
    )


class LoopGate:
    """
    Knows the gateway's own name, and answers 508 to a request that came through it before.

    It is called for requests that have the header `hops.HEADER`, which clients' requests never do.
    """

    def __init__(self, name: hops.Name) -> None:
        """Take the name that the gateway's own requests have (`hops.new_name`)."""
        self._name = name

    def __call__(self, scope: Scope, settings: Settings) -> EdgeAnswer | ExtraHeaders:
        """Refuse a request that came back; tell any other gateway the own name in the answer."""
        own = (hops.HEADER, self._name.encode("ascii"))
        names = hops.names_in(scope["headers"])
        self._name.note_caller(names)
        if not hops.is_loop(names, self._name):
            return (own,)
        text = loop_text(settings, header(scope, b"host"))
        body = error_body(scope["path"], 508, text)
        return EdgeAnswer(508, body, ((b"content-type", JSON), own))
