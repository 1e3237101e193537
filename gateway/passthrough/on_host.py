"""
A prepared request on one host: it is sent, and the answer goes to the client, changed by rules.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from ..calls.shared import recovery_for
from ..engine.model_check import ModelCheck
from ..engine.run import Services
from ..faults import Refusal, UpstreamFailure, afresh
from ..fleet.failover import may_move
from ..observability.record import current
from ..runtime.patching import Change
from ..server.dialects import MOUNTS
from ..upstream.answers import RawAnswer
from ..wire.writing import ANSWER_AT_ONCE
from .answers import Start, look_at, patch_answer
from .hiding import HIDE_MODELS
from .passing import Passing
from .preparing import WARNING
from .remembered import Remembered
from .rewriting import EventRewriter
from .sending import Rewriting, conclude

_OUR_TOKEN_REFUSED: Final = (401, 403)
"""A client's key is not forwarded, so with these LM Studio refuses the gateway's token."""

_CONDITIONAL: Final = (
    b"if-none-match",
    b"if-modified-since",
    b"if-range",
    b"range",
    b"accept-encoding",
)
"""Request headers that can get an answer without a body, a part of it, or a packed one."""


class OnHost:
    """Sends requests to their hosts."""

    def __init__(self, services: Services, check: ModelCheck, remembered: Remembered) -> None:
        self._fleet = services.fleet
        self._turns = services.turns
        self._check = check
        self._remembered = remembered

    async def serve(self, passing: Passing) -> UpstreamFailure | None:
        """
        Send a request to its host and the answer to the client; return a failure to move for.

        A model that was unloaded meanwhile is loaded again, once. Raises UpstreamFailure for faults
        of the wire, and Refusal for a route that is not there.
        """
        scope, route, context = passing.scope, passing.route, passing.context
        grant, lease, client = context.grant, passing.lease, passing.client
        target: str = scope["raw_path"].decode("latin-1")
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode("latin-1")
        path = passing.path
        headers = list(scope["headers"])
        hides = grant is not None and lease is None and grant.hides_models
        hidden = (HIDE_MODELS,) if hides else ()
        gives = route.gives if passing.ticket is not None else ()
        is_changed = bool(passing.changes or hidden)
        if is_changed or gives:
            headers = [item for item in headers if item[0] not in _CONDITIONAL]
        may_repeat = lease is not None and isinstance(passing.body, bytes)
        rewriting, marks = _rewriting(passing)
        to_client = partial(
            conclude,
            path=path,
            client=client,
            sign_of_life_s=context.settings.answers.sign_of_life_s,
            is_ollama=context.settings.answers.openai == "ollama" and path.startswith(MOUNTS),
            when_whole=passing.leave_host,
        )
        while True:
            exchange = passing.host.upstream.forward(scope["method"], target, headers, passing.body)
            async with exchange as answer:
                chunks = answer.chunks()
                start = await look_at(
                    answer,
                    chunks,
                    is_inference=lease is not None,
                    most_changed=context.settings.limits.body_bytes if is_changed else 0,
                    named_by=route.answered_by,
                )
                failure = start.failure
                if failure is not None and self.may_move(failure, passing):
                    return failure
                self._judge(answer, start, passing)
                how = None if failure is None else recovery_for(failure)
                if failure is None or lease is None or not may_repeat or how is None:
                    if start.is_whole:
                        start = await self._patched(answer, start, passing, hidden)
                    if passing.keep is not None and start.is_whole and failure is None:
                        # Only what has status 200 is read whole.
                        passing.may_keep(answer.content_type, b"".join(start.held))
                    for text in context.warnings:
                        client.add_header(WARNING, text)
                    given = None
                    if gives and failure is None:
                        given = self._remembered.listener(route, passing.host)
                    await to_client(
                        answer, start, answer.each, rewriting=rewriting, marks=marks, given=given
                    )
                    if passing.ticket is not None:
                        passing.ticket.note_end(failure)
                    return None
            if not await lease.recover(failure, how):
                # Read whole above, or an event stream of which nothing follows its error.
                await to_client(answer, start, None)
                return None
            current().retries += 1

    async def _patched(
        self, answer: RawAnswer, start: Start, passing: Passing, hidden: tuple[Change, ...]
    ) -> Start:
        """
        Return the start of an answer that was read whole, as rules change it and with what is
        hidden.

        A long one is changed in a thread: vectors are read, number by number.
        """
        context = passing.context

        def patch() -> Start:
            patched = patch_answer(answer, start, passing.changes, passing.rewrites, context)
            return patch_answer(answer, patched, hidden, (), context) if hidden else patched

        if sum(map(len, start.held)) <= ANSWER_AT_ONCE:
            return patch()
        return await self._turns.apart(patch)

    def may_move(self, failure: UpstreamFailure, passing: Passing) -> bool:
        """Return whether a request goes to another host, and take a retry if it does."""
        return (
            passing.ticket is not None
            and not passing.client.is_started
            # A load or an unload is meant for the host that it was sent to.
            and not passing.route.changes_models
            and isinstance(passing.came, bytes | None)
            and may_move(self._fleet, passing.ticket, failure, passing.context.started_ns)
        )

    def _judge(self, answer: RawAnswer, start: Start, passing: Passing) -> None:
        """
        Warn the client of an answer by another model.

        Raises what has the client's request not answered by the host's words: UpstreamFailure where
        it refuses the gateway's token, and Refusal for a route that it lacks.
        """
        failure = start.failure
        if failure is not None and failure.fault == "unknown_endpoint":
            if passing.route.lacking is not None:
                raise afresh(passing.route.lacking)
            if not passing.route.method:
                # Nobody says that there is such a route; a described one is missed (501).
                raise Refusal(404, f"LM Studio has no such route: {failure.message}")
        if answer.status in _OUR_TOKEN_REFUSED:
            if failure is None:
                raise UpstreamFailure("no reason given", status=answer.status)
            raise afresh(failure)
        if failure is None and passing.lease is not None and start.model:
            warning = self._check.warning(
                passing.context.model, start.model, passing.host.catalogue
            )
            if warning is not None:
                passing.client.add_header(WARNING, warning)


def _rewriting(passing: Passing) -> tuple[Rewriting | None, tuple[bytes, ...] | None]:
    """
    Return what makes the rewriter of a stream, and the marks of the events that it must see.

    The marks are None if it must see every event. Only streams of models are rewritten.
    """
    if passing.lease is None:
        return None, None if passing.on_stream else ()
    marks: tuple[bytes, ...] | None = None if passing.on_stream else ()
    for one in passing.rewrites:
        marks = None if marks is None or not one.marks else marks + one.marks
    make = partial(
        EventRewriter, passing.on_stream, passing.rewrites, passing.context, passing.path
    )
    return make, marks
