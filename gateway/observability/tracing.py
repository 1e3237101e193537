"""
Traces: the spans of a request, sent to a collector by OpenTelemetry's SDK.

A request has a span, and within it one for the wait for its model, one for each load that it
causes, and one for each call of LM Studio. The names of attributes are those of OpenTelemetry's
conventions for HTTP and for generative AI. No span has a prompt, an answer, a key or a query.

The SDK is imported only if its variables say where to send. It sends in a thread of its own, with a
bound on what waits, so a collector that is slow or away holds up nothing.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable, Mapping
from time import perf_counter_ns, time_ns
from typing import TYPE_CHECKING, Any, Final

from .journal import get_logger
from .record import Record
from .version import find_version

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

FLUSH_S = 2.0
"""Seconds that the end of the process waits for the collector."""

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
HTTP: Final = "http/protobuf"

_OPERATIONS: Final = (
    ("/chat/completions", "chat"),
    ("/completions", "text_completion"),
    ("/embeddings", "embeddings"),
    ("/messages", "chat"),
    ("/responses", "chat"),
    ("/api/v1/chat", "chat"),
)
"""How paths of LM Studio's inference end, and the conventions' names of the operations."""

_CARRIED = (b"traceparent", b"tracestate")
_SERVER_ERROR = 500


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Return whether the SDK's variables ask for traces over OTLP."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporters = environ.get("OTEL_TRACES_EXPORTER", "").replace(" ", "").split(",")
    if exporters != [""]:
        return "otlp" in exporters
    return any(environ.get(name, "").strip() for name in ENDPOINTS)


def open_tracer(environ: Mapping[str, str]) -> Tracer | None:
    """
    Return what makes spans, None if the SDK's variables do not ask for any.

    Where they ask for what is not there, a line of the log says so, and there are none.
    """
    if not is_wanted(environ):
        return None
    log = get_logger()
    stated = next((text for name in PROTOCOLS if (text := environ.get(name, "").strip())), HTTP)
    if stated != HTTP:
        log.warning(
            "no traces are sent",
            reason=f"the protocol {stated} is not supported",
            do=f"set {PROTOCOLS[1]} to {HTTP}, and the endpoint to the collector's port for it",
        )
        return None
    try:
        return Tracer(_provider(environ))
    except ImportError:
        log.warning(
            "no traces are sent",
            reason="the package opentelemetry-sdk is not installed",
            do="install olgate[otel], or unset the variables OTEL_…",
        )
    except ValueError as problem:
        log.warning(
            "no traces are sent", reason=str(problem), do="correct the variables OTEL_… of the SDK"
        )
    return None


def _provider(environ: Mapping[str, str]) -> TracerProvider:
    """Set the SDK up; it reads its other variables by itself."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    about = {"service.version": find_version() or "unknown"}
    if not environ.get("OTEL_SERVICE_NAME") and "service.name=" not in environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    ):
        about["service.name"] = "olgate"
    # One line for each try at a collector that is away would be several in a second.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)
    # Its own end at exit would wait for a collector that is away.
    provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class Tracer:
    """Makes the spans of requests."""

    def __init__(self, provider: TracerProvider) -> None:
        """Make spans of a provider, which is shut down at the end."""
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._log = get_logger()
        self.start = provider.get_tracer("olgate", find_version()).start_span
        self.kinds = SpanKind
        self.failed = Status(StatusCode.ERROR)
        self.within = set_span_in_context
        self.carrier = TraceContextTextMapPropagator()

    def begin(self, headers: Iterable[tuple[bytes, bytes]], record: Record) -> RequestTrace:
        """Start the span of a request, within the one of its client if it sent one."""
        sent = {
            name.decode("ascii"): value.decode("latin-1")
            for name, value in headers
            if name in _CARRIED
        }
        return RequestTrace(self, self.carrier.extract(sent), record)

    async def aclose(self) -> None:
        """Send what is not sent yet, for a short time: the collector may be away."""
        done = asyncio.Event()
        loop = asyncio.get_running_loop()

        def end() -> None:
            self._provider.shutdown()
            try:
                loop.call_soon_threadsafe(done.set)
            except RuntimeError:
                # Nobody waits any more: the loop is closed.
                return

        # A daemon, for which the interpreter does not wait, unlike for the loop's own threads.
        threading.Thread(target=end, name="traces", daemon=True).start()
        try:
            async with asyncio.timeout(FLUSH_S):
                await done.wait()
        except TimeoutError:
            self._log.warning(
                "traces were lost: the collector did not take them in time", limit_s=FLUSH_S
            )


class RequestTrace:
    """The spans of one request."""

    def __init__(self, tracer: Tracer, parent: Context, record: Record) -> None:
        """Start the span of the request when its record starts."""
        self._tracer = tracer
        self._offset_ns = time_ns() - perf_counter_ns()
        self._calls: list[CallTrace] = []
        # Its name is known when its route is.
        self._span = tracer.start(
            "request",
            context=parent,
            kind=tracer.kinds.SERVER,
            start_time=record.started_ns + self._offset_ns,
        )
        self._within = tracer.within(self._span, parent)

    def call(self, method: str, target: bytes, host: str) -> CallTrace:
        """Start the span of a call of LM Studio at `host` (an address with a port)."""
        path = target.partition(b"?")[0].decode("latin-1")
        span = self._tracer.start(
            f"{method} {path}", context=self._within, kind=self._tracer.kinds.CLIENT
        )
        address, _, port = host.rpartition(":")
        span.set_attribute("http.request.method", method)
        span.set_attribute("url.path", path)
        span.set_attribute("server.address", address or host)
        if port.isdecimal():
            span.set_attribute("server.port", int(port))
        call = CallTrace(self._tracer, span, self._within, path)
        self._calls.append(call)
        return call

    def note_load(self, outcome: str, took_s: float) -> None:
        """Add the span of a load that has ended now."""
        ended_ns = time_ns()
        span = self._add("load", ended_ns - int(took_s * 1e9), ended_ns)
        span.set_attribute("olgate.load.outcome", outcome)
        if outcome != "loaded":
            span.set_status(self._tracer.failed)
        span.end(ended_ns)

    def end(self, record: Record, method: str, status: int | None, outcome: str) -> None:
        """End all spans with what is known of the request now."""
        offset_ns = self._offset_ns
        for call in self._calls:
            call.finish(record, call is self._calls[-1])
        span = self._span
        if record.read_ns is not None and record.ready_ns is not None:
            began_ns = record.read_ns + offset_ns
            self._add("wait for the model", began_ns, began_ns + record.ready_ns).end(
                began_ns + record.ready_ns
            )
        if record.queued_ns is not None:
            span.set_attribute("olgate.queued_s", record.queued_ns / 1e9)
        if record.first_token_ns is not None:
            span.add_event("first token", timestamp=record.first_token_ns + offset_ns)
        span.update_name(f"{method} {record.route}" if record.route else method)
        known: dict[str, Any] = {
            "http.request.method": method,
            "http.route": record.route,
            "http.response.status_code": status,
            "client.address": record.client,
            "error.type": _error_of(record, status),
            "olgate.request.id": record.id,
            "olgate.key": record.key,
            "olgate.model": record.model,
            "olgate.host": record.host or record.upstream,
            "olgate.outcome": outcome,
            "olgate.retries": record.retries or None,
        }
        _set(span, known)
        if known["error.type"] is not None:
            span.set_status(self._tracer.failed)
        span.end()

    def _add(self, name: str, began_ns: int, ended_ns: int) -> Span:
        """Return the span of a time that is over, in nanoseconds since the epoch."""
        return self._tracer.start(name, context=self._within, start_time=min(began_ns, ended_ns))


class CallTrace:
    """The span of one call of LM Studio."""

    def __init__(self, tracer: Tracer, span: Span, within: Context, path: str) -> None:
        """Follow a span that has started; `within` is the context of its parent."""
        self.status: int | None = None
        self.fault: str | None = None
        self._tracer = tracer
        self._span = span
        self._path = path
        self._ended_ns: int | None = None
        carried: dict[str, str] = {}
        tracer.carrier.inject(carried, tracer.within(span, within))
        self._headers = [(name.encode(), text.encode("latin-1")) for name, text in carried.items()]

    def carried_by(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Return the headers of a request with this span as LM Studio's parent."""
        kept = [item for item in headers if item[0].lower() not in _CARRIED]
        return [*kept, *self._headers]

    def end(self) -> None:
        """Note that the call is over; what it was for is known at the request's end."""
        if self._ended_ns is None:
            self._ended_ns = time_ns()

    def finish(self, record: Record, is_last: bool) -> None:
        """End the span; the answer's counts are those of the last call."""
        span = self._span
        fault = self.fault or (record.fault if is_last else None)
        known: dict[str, Any] = {"http.response.status_code": self.status, "error.type": fault}
        operation = next((name for end, name in _OPERATIONS if self._path.endswith(end)), None)
        if operation is not None:
            known["gen_ai.operation.name"] = operation
            known["gen_ai.provider.name"] = "lmstudio"
            known["gen_ai.request.model"] = record.model
            span.update_name(f"{operation} {record.model}" if record.model else operation)
            if is_last:
                known["gen_ai.usage.input_tokens"] = record.tokens_in
                known["gen_ai.usage.output_tokens"] = record.tokens_out
        _set(span, known)
        if fault is not None or (self.status or 0) >= 400:
            span.set_status(self._tracer.failed)
        span.end(self._ended_ns)


def _error_of(record: Record, status: int | None) -> str | None:
    """Return the class of an error on this side; what a client got wrong is none."""
    if record.fault is not None:
        return record.fault
    return str(status) if (status or 0) >= _SERVER_ERROR else None


def _set(span: Span, known: Mapping[str, Any]) -> None:
    for name, value in known.items():
        if value is not None:
            span.set_attribute(name, value)
