"""
The engine: it reads a request, runs its plan, calls the upstream and translates the answer.

It works on records (endpoints, outcomes, translators) and never names an endpoint. The one-shot
answer is the fold of the frames, also where LM Studio gave it in one piece.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, cast

import msgspec

from ..calls.shared import recovery_for
from ..faults import OtherHost, Refusal, UpstreamFailure
from ..fleet.failover import end, go_elsewhere, may_move, move
from ..fleet.needs import note_needs
from ..observability.journal import get_logger
from ..observability.record import Record, current
from ..runtime.context import EMPTY, RequestContext
from ..runtime.outcome import Answer, FetchCall, Outcome, Report, StreamCall
from ..settings.schema import Settings
from ..upstream.answers import lacks_route, read_answer, read_answer_in_steps
from ..upstream.joining import Joiner
from ..wire import float32
from ..wire.client_api import ClientApi
from ..wire.reading import AT_ONCE, IN_STEPS
from ..wire.splitting import Steps
from ..wire.writing import (
    ANSWER_AT_ONCE,
    encode,
    encode_in_steps,
    give_numbers,
    make_numbers,
)
from .client import Client
from .endpoint import BodyReader, Endpoint, UnreadBody, read_in_steps
from .failures import Failures
from .kept import KeptAnswer, KeptAnswers
from .limits import check_counts, check_depth
from .model_check import ModelCheck
from .run import Run, Services
from .shortening import encode_and_shorten
from .stream import Frames


class Relay:
    """Serves the generated endpoints from the hosts."""

    def __init__(
        self,
        api: ClientApi,
        settings: Settings,
        services: Services,
        check: ModelCheck,
    ) -> None:
        self._api = api
        self._settings = settings
        self._services = services
        self._check = check
        self._failures = Failures(settings)
        self.kept = KeptAnswers(services)
        self._log = get_logger()

    def use(self, settings: Settings) -> None:
        """Use other settings for the requests to come."""
        self._settings = settings
        self.kept.clear()

    async def serve(
        self,
        endpoint: Endpoint,
        body: list[bytes] | AsyncIterator[bytes],
        user_agent: str,
        client: Client,
        path: Mapping[str, str] = EMPTY,
    ) -> None:
        """
        Answer one request; a failure becomes an error answer or, after the first line, an error
        line.

        `body` has one item, the whole body, which is taken from it, so that it is in memory no
        longer than it is needed; or it is an iterator of the pieces if the endpoint `reads_bytes`.
        `path` holds the values of the path's parameters.
        """
        settings = self._settings
        context = RequestContext(settings, user_agent, path)
        context.grant = client.grant
        run = Run(context, self._services)
        is_streamed = False
        request: Any = None
        record = current()
        record.work = context
        try:
            if client.pinned is not None or not self._services.fleet.is_one:
                run.ticket = self._services.fleet.ticket(client.pinned)
            keep = None
            if endpoint.keeps and client.pinned is None:
                asked = body[0] if isinstance(body, list) and endpoint.keeps == "request" else b""
                kept = self.kept.find(endpoint, context.grant, asked, user_agent)
                if kept is not None:
                    await _give(kept, context, client)
                    return
                keep = self.kept.keeper(endpoint, context.grant, asked, user_agent)
            if not isinstance(body, list):
                run.incoming = body
            elif endpoint.reader is not None:
                request = self._read_now(endpoint.reader, body, run)
                if request is IN_STEPS:
                    request = await self._read_in_steps(endpoint.reader, body, run)
            run.request, run.wants_stream = request, endpoint.wants_stream
            if run.ticket is not None:
                note_needs(run.ticket, request, endpoint.needs)
            early_s = settings.answers.early_headers_s
            if early_s is not None and endpoint.wants_stream and endpoint.wants_stream(request):
                client.start_after(early_s)
            while True:
                outcome = None
                try:
                    outcome = await endpoint.plan(request, run)
                    if run.ticket is not None:
                        _tell_host(run, client)
                    if run.warnings:
                        self._send_warnings(run, client)
                    match outcome:
                        case StreamCall():
                            is_streamed = outcome.streamed
                            await self._stream(outcome, request, run, client)
                        case FetchCall():
                            await self._fetch(outcome, run, client)
                        case Answer():
                            await self._answer(outcome, run, client, keep)
                        case Report():
                            is_streamed = True
                            await self._tell(outcome, client)
                    break
                except UpstreamFailure as failure:
                    if self._lacks_whole(failure, run, client):
                        # The same plan now asks for a stream.
                        run.host.note_lack_of_whole()
                        if run.ticket is not None:
                            go_elsewhere(run.ticket)
                    elif self._may_move(failure, outcome, run, client):
                        assert run.ticket is not None
                        move(run.ticket, failure)
                    else:
                        raise
                except OtherHost:
                    assert run.ticket is not None
                    go_elsewhere(run.ticket)
                if run.lease is not None:
                    run.lease.release()
                    run.lease = None
        except BaseException as problem:
            if run.ticket is not None:
                run.ticket.note(problem)
                _tell_host(run, client)
            if isinstance(problem, Refusal) and problem.is_late:
                is_streamed = endpoint.is_late_streamed(request)
            refuse = partial(self._refuse, run=run, client=client, is_streamed=is_streamed)
            if not await self._failures.conclude(problem, client, refuse, context, endpoint.path):
                raise
        finally:
            client.stop_waiting()
            record.work = None
            _note(context, record)
            if run.lease is not None:
                run.lease.release()
            if run.ticket is not None:
                end(self._services.fleet, run.ticket)

    def _read_now(self, reader: BodyReader | UnreadBody, body: list[bytes], run: Run) -> Any:
        """
        Take the whole body from the list, and return the request that it is.

        Returns IN_STEPS, and leaves the body in the list, where that takes too long.
        """
        if len(body[0]) > AT_ONCE:
            return IN_STEPS
        limits = run.context.settings.limits
        check_depth(body[0], limits)
        request = reader.read(body[0])
        if request is not IN_STEPS:
            body.clear()
            check_counts(request, limits)
        return request

    async def _read_in_steps(
        self, reader: BodyReader | UnreadBody, body: list[bytes], run: Run
    ) -> Any:
        """Do the same for a body of any size."""
        limits = run.context.settings.limits
        run.is_large = True
        size = len(body[0])
        steps = read_in_steps(reader, body.pop(), limits)
        request = await self._services.turns.run(steps, size)
        check_counts(request, limits)
        return request

    async def _answer(
        self,
        outcome: Answer,
        run: Run,
        client: Client,
        keep: Callable[[KeptAnswer], None] | None,
    ) -> None:
        """Send an answer of the plan's own; `keep` its bytes, if they can be kept."""
        api, answer = self._api, outcome.body
        if answer is None:
            await client.answer(outcome.status, api.bodiless_type, b"")
        elif isinstance(answer, str):
            data = answer.encode()
            self._keep(outcome, run, keep, api.text_type, data)
            await client.answer(outcome.status, api.text_type, data)
        elif client.is_started or outcome.is_streamed:
            await client.finish(api.encode_line(answer))
        else:
            kind = api.report_type if outcome.is_late else api.answer_type
            data = api.encode(answer)
            self._keep(outcome, run, keep, kind, data)
            await client.answer(outcome.status, kind, data)

    def _keep(
        self,
        outcome: Answer,
        run: Run,
        keep: Callable[[KeptAnswer], None] | None,
        kind: bytes,
        data: bytes,
    ) -> None:
        context = run.context
        # Other settings may be in force by now, and nothing of before is kept then.
        if keep is not None and outcome.status == 200 and context.settings is self._settings:
            keep(KeptAnswer(kind, data, context.resolved))

    # -- progress -----------------------------------------------------------------------------

    async def _tell(self, report: Report[Any, msgspec.Struct], client: Client) -> None:
        last: msgspec.Struct | None = None
        # Closed when the client leaves: resources must not wait for the garbage collector.
        async with aclosing(cast("AsyncGenerator[Any, None]", report.records)) as records:
            async for record in records:
                last = report.translate(record)
                if report.streamed:
                    pending = client.push(self._api.encode_line(last))
                    if pending is not None:
                        await pending
        if report.streamed:
            await client.finish()
        elif last is not None:
            await client.answer(200, self._api.report_type, self._api.encode(last))

    # -- one answer ---------------------------------------------------------------------------

    async def _fetch(self, call: FetchCall[Any, msgspec.Struct], run: Run, client: Client) -> None:
        body = None
        if call.body is not None:
            body = encode(call.body) if not run.is_large else await self._encoded(call.body)
        turns = self._services.turns
        while True:
            try:
                upstream = run.host.upstream
                pieces = await upstream.fetch_unchecked(call.method, call.path, body)
                answered_ns = time.perf_counter_ns()
                is_large = sum(map(len, pieces)) > ANSWER_AT_ONCE
                if not is_large:
                    source = read_answer(call, pieces)
                elif (found := await turns.run(read_answer_in_steps(call, pieces))) is None:
                    source = await turns.apart(read_answer, call, pieces)
                else:
                    source = found
                break
            except UpstreamFailure as failure:
                if not await self._recover(failure, run, client):
                    raise
        del pieces
        run.context.first_event_ns = answered_ns
        if run.ticket is not None:
            run.ticket.note_answer()
        self._check_model(run, client, source)
        if not is_large:
            answer, encoded = _written(call, source, self._api)
        elif found is not None and float32.is_loaded():
            answer, encoded = await turns.run(_written_in_steps(call, source, self._api))
        else:
            # In the thread, what reads and writes numbers is loaded first.
            answer, encoded = await turns.apart(_written_slowly, call, source, self._api)
        current().note_counts(self._api.counts, answer, getattr(source, "usage", None))
        # The client may take its time to read, and large answers are in memory once then.
        del source, answer
        _leave_host(run)
        await client.answer(200, self._api.answer_type, encoded)

    # -- a stream -----------------------------------------------------------------------------

    async def _stream(
        self, call: StreamCall[Any, Any], request: Any, run: Run, client: Client
    ) -> None:
        if not run.is_large:
            body = encode(call.body)
        elif run.ticket is not None or not run.context.asks_for_stream:
            # Another host may need the request whole, or this one for a stream.
            body = await self._encoded(call.body)
        else:
            steps = encode_and_shorten(call.body, request)
            body = await self._services.turns.run(steps, client.held_bytes)
        while True:
            joiner = None if call.streamed else Joiner(call.pieces)
            try:
                upstream = run.host.upstream
                async with upstream.stream(call.method, call.path, body, joiner) as events:
                    run.context.first_event_ns = time.perf_counter_ns()
                    run.context.is_whole = events.one_shot is not None
                    if run.is_large and call.streamed:
                        # It is not sent again: that would keep a copy while the model answers.
                        body = b""
                        self._services.bodies.release(client)
                    frames = Frames(
                        call,
                        run.context,
                        events,
                        client,
                        self._api,
                        partial(self._check_model, run, client),
                    )
                    lines, whole = await frames.run()
                    _leave_host(run)
                    if call.streamed:
                        await client.finish(lines)
                    else:
                        await client.answer(200, self._api.answer_type, self._api.encode(whole))
                if run.ticket is not None:
                    run.ticket.note_answer()
                return
            except UpstreamFailure as failure:
                if not body or not await self._recover(failure, run, client):
                    raise

    async def _encoded(self, body: msgspec.Struct) -> bytes:
        return await self._services.turns.run(encode_in_steps(body))

    # -- failures -----------------------------------------------------------------------------

    async def _recover(self, failure: UpstreamFailure, run: Run, client: Client) -> bool:
        """
        Recover from a failure, if its row says so and the client has received nothing.

        Returns False when the failure stands. It is not raised here: a raised exception holds the
        frame that it leaves, and that frame would hold the exception.
        """
        lease, how = run.lease, recovery_for(failure)
        if client.is_started or lease is None or how is None:
            return False
        reason = self._failures.reason(failure)
        self._log.info("loading the model again", model=lease.row.key, reason=reason)
        current().retries += 1
        if not await lease.recover(failure, how):
            return False
        run.context.loaded_ns = time.perf_counter_ns()
        self._send_warnings(run, client)
        return True

    def _lacks_whole(self, failure: UpstreamFailure, run: Run, client: Client) -> bool:
        """Return whether a host lacks the route for an answer in one piece, and is asked anew."""
        return (
            not run.context.asks_for_stream
            and not client.is_started
            and lacks_route(failure, names_thing=True)
        )

    def _may_move(
        self, failure: UpstreamFailure, outcome: Outcome | None, run: Run, client: Client
    ) -> bool:
        """
        Return whether the plan runs again, for another host.

        Reports don't move: what they do is not done twice, and they tell of failures themselves.
        """
        return (
            run.ticket is not None
            and not client.is_started
            and isinstance(outcome, FetchCall | StreamCall | None)
            and may_move(self._services.fleet, run.ticket, failure, run.context.started_ns)
        )

    def _send_warnings(self, run: Run, client: Client) -> None:
        for text in run.warnings:
            if text not in run.warned:
                run.warned += (text,)
                client.add_header("x-olgate-warning", text)
        run.warnings.clear()

    def _check_model(self, run: Run, client: Client, source: Any) -> None:
        """Refuse an answer from another model than the requested one, or warn the client."""
        row, named = run.context.resolved, getattr(source, "model", None)
        if row is None or not named:
            return
        if (warning := self._check.warning(row, named, run.host.catalogue)) is not None:
            client.add_header("x-olgate-warning", warning)

    async def _refuse(
        self,
        refusal: Refusal,
        *,
        run: Run,
        client: Client,
        is_streamed: bool,
    ) -> None:
        """Send an error: as a status and a body, or as a last line where the answer has begun."""
        api = self._api
        if client.is_started:
            await client.finish(api.encode_error_line(refusal.error))
            return
        for name, value in (*run.hints, *refusal.headers):
            client.add_header(name, value)
        content_type = api.late_error_type if is_streamed else api.answer_type
        await client.answer(refusal.status, content_type, api.encode_error(refusal.error))


def _written(
    call: FetchCall[Any, msgspec.Struct], source: Any, api: ClientApi
) -> tuple[msgspec.Struct, list[bytes | memoryview]]:
    """Return what an answer becomes, and its bytes in parts; a small one has its numbers made."""
    answer = call.translate(source)
    return answer, api.encode_in_parts(answer)


def _written_in_steps(
    call: FetchCall[Any, msgspec.Struct], source: Any, api: ClientApi
) -> Steps[tuple[msgspec.Struct, list[bytes | memoryview]]]:
    """Do the same for an answer of numbers, in steps of a bounded time."""
    made = call.translate(source)
    yield from make_numbers(made)
    # Once more: what it says of the time has the making of the numbers in it.
    answer = call.translate(source)
    give_numbers(made, answer)
    return answer, api.encode_in_parts(answer)


def _written_slowly(
    call: FetchCall[Any, msgspec.Struct], source: Any, api: ClientApi
) -> tuple[msgspec.Struct, list[bytes | memoryview]]:
    """Do the same for any answer, for as long as it takes."""
    steps = _written_in_steps(call, source, api)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            written: tuple[msgspec.Struct, list[bytes | memoryview]] = end.value
            return written


async def _give(kept: KeptAnswer, context: RequestContext, client: Client) -> None:
    """Send a kept answer, and have the record say which model it is of."""
    if kept.model is not None:
        context.model = kept.model
    await client.answer(200, kept.content_type, kept.body)


def _leave_host(run: Run) -> None:
    """
    Let others use the host: its answer is here, and the client may take its time to read it.
    """
    lease, run.lease = run.lease, None
    if lease is not None:
        lease.release()
    if run.ticket is not None:
        run.ticket.leave()


def _tell_host(run: Run, client: Client) -> None:
    """Have the answer say which of several hosts serves the request, if one does."""
    if run.ticket is not None and run.ticket.host is not None:
        client.served_by = run.host.name


def _note(context: RequestContext, record: Record) -> None:
    """Have the record say which model served a request, and when it was ready and answered."""
    row = context.resolved
    record.is_model_known = row is not None
    record.model = context.asked.display or None if row is None else row.name
    if context.loaded_ns != context.started_ns:
        record.read_ns = context.started_ns
        record.ready_ns = context.loaded_ns - context.started_ns
    if context.first_event_ns != context.started_ns and not context.is_whole:
        record.first_token_ns = context.first_event_ns
