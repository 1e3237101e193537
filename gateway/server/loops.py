"""
The gate that stops a request which has come back to the gateway that sent it.

That happens if `upstream.url` leads to the gateway itself, or to another gateway that leads back.
Without this gate each such request would cause the next one until no file can be opened.
"""

from __future__ import annotations

from ..settings.schema import Settings
from ..wire import hops
from ..wire.writing import JSON
from .asgi import ExtraHeaders, Scope
from .dialects import error_body
from .edge import EdgeAnswer

LOOP = (
    "this request has come back to the gateway that sent it: upstream.url leads to the gateway "
    "itself; set it to the address of LM Studio (--upstream, LMSTUDIO_URL)"
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
        body = error_body(scope["path"], 508, LOOP)
        return EdgeAnswer(508, body, ((b"content-type", JSON), own))
