"""
The state of one request that is passed on, which the parts of the passthrough share.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TypeAlias

from ..fleet.host import Host
from ..fleet.ticket import Ticket
from ..lifecycle.lifecycle import Lease
from ..runtime.context import RequestContext
from ..runtime.patching import Change, PassedOn, Rewrite
from ..server.asgi import AsgiClient, Scope

Body: TypeAlias = bytes | AsyncIterator[bytes] | None
"""A body: whole, in pieces that can be sent once, or None."""


@dataclass(slots=True)
class Passing:
    """One request on its way: as it came, and as it goes to the host that serves it."""

    scope: Scope
    path: str
    """The decoded path."""
    client: AsgiClient
    route: PassedOn
    values: dict[str, str]
    """The path's parameters."""
    context: RequestContext
    host: Host
    ticket: Ticket | None = None
    """Where there are several hosts: how one of them is chosen."""
    has_body: bool = False
    is_streamed: bool = False
    """Whether its client wants a stream of events."""
    came: Body = None
    """The body as it came, where another host may need other changes of it; else None."""
    body: Body = None
    """The body as it is sent."""
    changes: tuple[Change, ...] = ()
    """What is changed in a whole answer."""
    on_stream: tuple[Change, ...] = ()
    """What is changed in each event of a stream."""
    rewrites: tuple[Rewrite, ...] = ()
    keep: Callable[[bytes, bytes], None] | None = None
    """Keeps the answer by its content type and its body, where that may be done."""
    lease: Lease | None = None
    """Keeps the model in memory, where the request uses one."""

    def may_keep(self, content_type: bytes, body: bytes) -> None:
        """Keep an answer with status 200 that is sent as it is to whoever asks for the same."""
        if self.keep is not None and not (self.context.warnings or self.route.warning):
            self.keep(content_type, body)

    def release(self) -> None:
        """Use the model no more; a second call does nothing."""
        if self.lease is not None:
            self.lease.release()
            self.lease = None

    def leave_host(self) -> None:
        """Let others use the host: its answer is here, and the client may take its time."""
        self.release()
        if self.ticket is not None:
            self.ticket.leave()

    def begin_again(self) -> None:
        """Be as it came, for another host."""
        self.release()
        self.body = self.came
        self.context.warnings.clear()
