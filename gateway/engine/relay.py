"""
The engine: it reads a request, runs its plan, calls the upstream and translates the answer.

It works on records (endpoints, outcomes, translators) and never names an endpoint. Generation is
always streamed from LM Studio; the one-shot answer is the fold of the frames.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, cast

import msgspec

from gateway.calls.shared import recovery_for, refusal_for
from gateway.engine.client import Client
from gateway.engine.endpoint import Endpoint
from gateway.engine.limits import check_counts, check_depth
from gateway.engine.model_check import ModelCheck
from gateway.engine.run import Run, Services
from gateway.engine.stream import Frames
from gateway.faults import GOING_DOWN, INTERNAL, ClientGone, Refusal, UpstreamFailure
from gateway.observability.journal import get_logger
from gateway.observability.record import INTERNAL_FAULT, STATED, current
from gateway.runtime.context import EMPTY, RequestContext
from gateway.runtime.outcome import Answer, FetchCall, Report, StreamCall
from gateway.settings.schema import Settings
from gateway.upstream.answers import read_answer
from gateway.upstream.client import Upstream
from gateway.wire.writing import (
    JSON,
    JSON_OF_STREAMS,
    NO_TYPE,
    TEXT,
    encode,
    encode_error,
    encode_line,
)


class Relay:
    """Serves the generated endpoints from one LM Studio."""

    def __init__(
        self,
        settings: Settings,
        upstream: Upstream,
        services: Services,
        check: ModelCheck,
    ) -> None:
        self._settings = settings
        self._upstream = upstream
        self._services = services
        self._check = check
        self._log = get_logger()

    async def serve(
        self,
        endpoint: Endpoint,
        body: bytes | AsyncIterator[bytes],
        user_agent: str,
        client: Client,
        path: Mapping[str, str] = EMPTY,
    ) -> None:
        """
        Answer one request; a failure becomes an error answer or, after the first line, an error
        line.

        `body` is the whole body, or an iterator of its pieces if the endpoint `reads_bytes`. `path`
        holds the values of the path's parameters.
        """
        context = RequestContext(self._settings, user_agent, path)
        run = Run(context, self._services)
        record = current()
        error_type = JSON
        request = None
        try:
            if not isinstance(body, bytes):
                run.incoming = body
            elif endpoint.reader is not None:
                check_depth(body, self._settings.limits)
                request = endpoint.reader.read(body)
                check_counts(request, self._settings.limits)
            early_s = self._settings.answers.early_headers_s
            if early_s is not None and endpoint.wants_stream and endpoint.wants_stream(request):
                client.start_after(early_s)
            outcome = await endpoint.plan(request, run)
            self._send_warnings(run, client)
            match outcome:
                case Answer(body=msgspec.Struct() as frame) if client.is_started:
                    await client.finish(encode_line(frame))
                case Answer(body=None, status=status):
                    await client.answer(status, NO_TYPE, b"")
                case Answer(body=str() as text, status=status):
                    await client.answer(status, TEXT, text.encode())
                case Answer(body=msgspec.Struct() as answer, status=status):
                    await client.answer(status, JSON, encode(answer))
                case Report():
                    error_type = JSON_OF_STREAMS
                    await self._tell(outcome, client)
                case FetchCall():
                    await self._fetch(outcome, run, client)
                case StreamCall():
                    error_type = JSON_OF_STREAMS if outcome.streamed else JSON
                    await self._stream(outcome, run, client)
        except Refusal as refusal:
            if not client.is_started:
                for name, value in run.hints:
                    client.add_header(name, value)
            if refusal.is_late and endpoint.is_late_streamed(request):
                error_type = JSON_OF_STREAMS
            await self._refuse(refusal, client, error_type)
        except UpstreamFailure as failure:
            record.fault = failure.fault or STATED
            self._note(failure, endpoint)
            await self._refuse(refusal_for(failure, context), client, error_type)
        except ClientGone:
            client.leave()
        except asyncio.CancelledError:
            # A client that left gets nothing; one that stays is told why its stream ends.
            if client.is_started and not client.is_gone:
                await client.finish(encode_error(GOING_DOWN) + b"\n")
            raise
        except Exception:
            record.fault = INTERNAL_FAULT
            self._log.exception("request failed (internal error)", path=endpoint.path)
            await self._refuse(Refusal(500, INTERNAL), client, error_type)
        finally:
            client.stop_waiting()
            record.model = (
                context.resolved.name if context.resolved else context.asked.display or None
            )
            if run.lease is not None:
                run.lease.release()

    # -- progress -----------------------------------------------------------------------------

    async def _tell(self, report: Report[Any, msgspec.Struct], client: Client) -> None:
        last: msgspec.Struct | None = None
        # Closed when the client leaves: resources must not wait for the garbage collector.
        async with aclosing(cast("AsyncGenerator[Any, None]", report.records)) as records:
            async for record in records:
                last = report.translate(record)
                if report.streamed and (pending := client.push(encode_line(last))) is not None:
                    await pending
        if report.streamed:
            await client.finish()
        elif last is not None:
            await client.answer(200, JSON_OF_STREAMS, encode(last))

    # -- one answer ---------------------------------------------------------------------------

    async def _fetch(self, call: FetchCall[Any, msgspec.Struct], run: Run, client: Client) -> None:
        body = encode(call.body) if call.body is not None else None
        while True:
            try:
                data = await self._upstream.fetch(call.method, call.path, body)
                break
            except UpstreamFailure as failure:
                await self._recover_or_raise(failure, run, client)
        run.context.first_event_ns = time.monotonic_ns()
        source = read_answer(call, data)
        self._check_model(source, run, client)
        answer = call.translate(source)
        current().note_counts(answer, getattr(source, "usage", None))
        await client.answer(200, JSON, encode(answer))

    # -- a stream -----------------------------------------------------------------------------

    async def _stream(self, call: StreamCall[Any, Any], run: Run, client: Client) -> None:
        body = encode(call.body)
        while True:
            try:
                async with self._upstream.stream(call.method, call.path, body) as events:
                    run.context.first_event_ns = time.monotonic_ns()
                    frames = Frames(
                        call,
                        run.context,
                        events,
                        client,
                        lambda chunk: self._check_model(chunk, run, client),
                    )
                    lines, whole = await frames.run()
                    if call.streamed:
                        await client.finish(lines)
                    else:
                        await client.answer(200, JSON, encode(whole))
                return
            except UpstreamFailure as failure:
                await self._recover_or_raise(failure, run, client)

    # -- failures -----------------------------------------------------------------------------

    async def _recover_or_raise(self, failure: UpstreamFailure, run: Run, client: Client) -> None:
        """Recover from a failure, if its row says so and the client has received nothing."""
        lease = run.lease
        if client.is_started or lease is None or recovery_for(failure) is None:
            raise failure
        self._log.info("loading the model again", model=lease.row.key, reason=self._shown(failure))
        current().retries += 1
        await lease.recover(failure)
        run.context.loaded_ns = time.monotonic_ns()
        self._send_warnings(run, client)

    def _send_warnings(self, run: Run, client: Client) -> None:
        for text in run.warnings:
            client.add_header("x-olgate-warning", text)
        run.warnings.clear()

    def _check_model(self, source: Any, run: Run, client: Client) -> None:
        """Refuse an answer from another model than the requested one, or warn the client."""
        row, named = run.context.resolved, getattr(source, "model", None)
        if row is None or not named:
            return
        if (warning := self._check.warning(row, named)) is not None:
            client.add_header("x-olgate-warning", warning)

    async def _refuse(self, refusal: Refusal, client: Client, content_type: bytes) -> None:
        if client.is_started:
            await client.finish(encode_error(refusal.error) + b"\n")
            return
        for name, value in refusal.headers:
            client.add_header(name, value)
        await client.answer(refusal.status, content_type, encode_error(refusal.error))

    def _note(self, failure: UpstreamFailure, endpoint: Endpoint) -> None:
        self._log.warning(
            "upstream failure",
            path=endpoint.path,
            fault=failure.fault,
            status=failure.status,
            reason=self._shown(failure),
        )

    def _shown(self, failure: UpstreamFailure) -> str:
        return failure.loggable(bodies=self._settings.log.bodies)
