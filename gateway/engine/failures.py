"""
The end of a request that failed with an exception: the answer to the client, the log line and the
count.

The engine and the passthrough share it. The caller's `refuse` writes the error in its dialect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ..calls.shared import refusal_for
from ..faults import GOING_DOWN, INTERNAL, ClientGone, Refusal, UpstreamFailure
from ..observability.journal import get_logger
from ..observability.record import INTERNAL_FAULT, STATED, current
from ..runtime.context import RequestContext
from ..settings.schema import Settings
from .client import Client


class Failures:
    """Ends requests that failed."""

    def __init__(self, settings: Settings) -> None:
        """LM Studio's own words may quote a request: `log.bodies` says whether they are logged."""
        self._shows_bodies = settings.log.bodies
        self._log = get_logger()

    async def conclude(
        self,
        problem: BaseException,
        client: Client,
        refuse: Callable[[Refusal], Awaitable[None]],
        context: RequestContext,
        path: str,
    ) -> bool:
        """
        Tell the client of the exception that is being handled; call it in an `except` clause.

        `refuse` sends an error in the caller's envelope, whether the answer has begun or not.
        Return False for what has to be raised again: a request that is cancelled, and what ends
        the process. Raises what `refuse` raises.
        """
        match problem:
            case Refusal():
                await refuse(problem)
            case UpstreamFailure():
                current().fault = problem.fault or STATED
                self._log.warning(
                    "upstream failure",
                    path=path,
                    fault=problem.fault,
                    status=problem.status,
                    reason=self.reason(problem),
                )
                await refuse(refusal_for(problem, context))
            case ClientGone():
                client.leave()
            case asyncio.CancelledError():
                # A client that left gets nothing; one that stays is told why its stream ends.
                if client.is_started and not client.is_gone:
                    await refuse(Refusal(503, GOING_DOWN))
                return False
            case Exception():
                current().fault = INTERNAL_FAULT
                self._log.exception("request failed (internal error)", path=path)
                await refuse(Refusal(500, INTERNAL))
            case _:
                return False
        return True

    def reason(self, failure: UpstreamFailure) -> str:
        """Return a failure's message as it may be logged."""
        return failure.loggable(bodies=self._shows_bodies)
