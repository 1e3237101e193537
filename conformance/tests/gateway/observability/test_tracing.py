"""Traces: which spans there are, what they say, and that a collector holds up nothing."""

from __future__ import annotations

import asyncio
import gzip
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from conformance.tests.gateway.support import (
    CHAT,
    COLD,
    LOAD,
    LOADED,
    LOADED_EMBEDDER,
    chat,
    lines_of,
    open_pair,
    written,
)
from gateway.lean_imports import hide_modules
from gateway.observability import tracing
from gateway.observability.tracing import ENDPOINTS, is_wanted, open_tracer

ENDPOINT = ENDPOINTS[1]
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
LONG_S = 60.0


class Receiver(ThreadingHTTPServer):
    """A collector that takes OTLP over HTTP, in protobuf, and keeps the spans."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Take)
        self.spans: list[Span] = []
        self.resources: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.answers = threading.Event()
        """Whether a request is answered, or waits."""
        self.answers.set()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"

    def named(self, start: str) -> list[Span]:
        """Return the spans whose names begin so."""
        return [span for span in self.spans if span.name.startswith(start)]


class Take(BaseHTTPRequestHandler):
    """One delivery."""

    server: Receiver

    def do_POST(self) -> None:
        """Keep the spans of a request."""
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        assert "application/x-protobuf" == self.headers["content-type"]
        self.server.answers.wait(LONG_S)
        sent = ExportTraceServiceRequest.FromString(body)
        self.server.paths.append(self.path)
        for group in sent.resource_spans:
            self.server.resources.append(values(group.resource.attributes))
            for scope in group.scope_spans:
                self.server.spans += scope.spans
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def values(attributes: Any) -> dict[str, Any]:
    """Return attributes as a dictionary."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@pytest.fixture
def receiver(_ended_threads: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """Run a collector, and have gateways that start now send to it."""
    with running() as server:
        monkeypatch.setenv(ENDPOINT, server.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", f"{LONG_S:.0f}")
        monkeypatch.setattr(tracing, "FLUSH_S", LONG_S)
        yield server


@pytest.fixture(autouse=True)
def _ended_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no thread of a test write into the log of a later one."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    yield
    for thread in threading.enumerate():
        if thread.name in ("traces", "OtelBatchSpanRecordProcessor"):
            thread.join(LONG_S)
            assert not thread.is_alive()


@contextmanager
def running() -> Iterator[Receiver]:
    """Run a collector in a thread."""
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.answers.set()
            server.shutdown()
            thread.join()


async def test_a_request_has_spans_for_itself_its_load_its_wait_and_its_calls(
    receiver: Receiver,
) -> None:
    """In one trace, within the client's span, with the names of the conventions."""
    async with open_pair() as pair:
        answer = await pair.client.post(
            "/api/chat", json=chat(COLD, stream=True), headers={"traceparent": PARENT}
        )
        assert 200 == answer.status_code
        host, _, port = pair.standin.url.removeprefix("http://").partition(":")
        identifier = answer.headers["x-request-id"]

    (request,) = receiver.named("POST /api/chat")
    (call,) = receiver.named("chat ")
    (load,) = receiver.named("load")
    (wait,) = receiver.named("wait for the model")
    (loading,) = receiver.named(f"POST {LOAD}")
    assert "0af7651916cd43dd8448eb211c80319c" == request.trace_id.hex()
    assert "b7ad6b7169203331" == request.parent_span_id.hex()
    for inner in (call, load, wait, loading):
        assert (request.trace_id, request.span_id) == (inner.trace_id, inner.parent_span_id)
        assert request.start_time_unix_nano <= inner.start_time_unix_nano
        assert inner.start_time_unix_nano <= inner.end_time_unix_nano
    assert (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT) == (request.kind, call.kind)
    told = values(request.attributes)
    assert (
        told.items()
        >= {
            "http.request.method": "POST",
            "http.route": "/api/chat",
            "http.response.status_code": 200,
            "client.address": "127.0.0.1",
            "olgate.request.id": identifier,
            "olgate.outcome": "complete",
        }.items()
    )
    assert ["first token"] == [event.name for event in request.events]
    model = told["olgate.model"]
    assert f"chat {model}" == call.name
    asked = values(call.attributes)
    assert (
        asked.items()
        >= {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "lmstudio",
            "gen_ai.request.model": model,
            "http.request.method": "POST",
            "http.response.status_code": 200,
            "server.address": host,
            "server.port": int(port),
            "url.path": CHAT,
        }.items()
    )
    assert min(asked[f"gen_ai.usage.{side}_tokens"] for side in ("input", "output")) > 0
    assert "loaded" == values(load.attributes)["olgate.load.outcome"]
    assert {"/v1/traces"} == set(receiver.paths)
    assert {"olgate"} == {resource["service.name"] for resource in receiver.resources}


@pytest.mark.parametrize("path", ["/api/chat", CHAT])
async def test_the_trace_is_handed_on(receiver: Receiver, path: str) -> None:
    """LM Studio gets the span of its call as parent, once, and the client's state with it."""
    sent = {"traceparent": PARENT, "tracestate": "vendor=1"}
    async with open_pair() as pair:
        await pair.client.post(path, json=chat(), headers=sent)
        (asked,) = pair.asked(CHAT)
    (call,) = receiver.named("chat ")

    carried = {name.lower(): value for name, value in asked.headers.items()}
    assert f"00-{call.trace_id.hex()}-{call.span_id.hex()}-01" == carried["traceparent"]
    assert "vendor=1" == carried["tracestate"]


async def test_what_is_not_sampled_is_handed_on_and_not_sent(receiver: Receiver) -> None:
    """The client has decided that."""
    async with open_pair() as pair:
        headers = {"traceparent": f"{PARENT[:-1]}0"}
        await pair.client.post("/api/chat", json=chat(), headers=headers)
        (asked,) = pair.asked(CHAT)
    carried = {name.lower(): value for name, value in asked.headers.items()}["traceparent"]
    assert carried.startswith("00-0af7651916cd43dd8448eb211c80319c-")
    assert carried.endswith("-00")
    assert [] == receiver.named("POST /api/chat")


@pytest.mark.parametrize(
    "odd", ["", "00-zz-zz-01", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "é" * 300]
)
async def test_an_odd_parent_is_none(receiver: Receiver, odd: str) -> None:
    """The request is served in a trace of its own."""
    async with open_pair() as pair:
        headers = {b"traceparent": odd.encode("latin-1")}
        answer = await pair.client.post(
            "/api/embed", json={"model": LOADED_EMBEDDER, "input": "x"}, headers=headers
        )
        assert 200 == answer.status_code
    (request,) = receiver.named("POST /api/embed")
    assert b"" == request.parent_span_id
    (call,) = receiver.named("embeddings ")
    assert "gen_ai.usage.output_tokens" not in values(call.attributes)


@pytest.mark.parametrize("path", ["/api/chat", CHAT])
async def test_a_failure_is_told(receiver: Receiver, path: str) -> None:
    """On the request's span and on the call's, by the name of the fault."""
    async with open_pair() as pair:
        pair.script({"match": {"path": CHAT}, "fault": "closed_before_headers"})
        assert 502 == (await pair.post(path, chat())).status_code
    (call,) = receiver.named("chat ")
    (request,) = receiver.named(f"POST {path if path == '/api/chat' else '/v1/'}")
    for span in (call, request):
        assert "closed_before_headers" == values(span.attributes)["error.type"]
        assert Status.STATUS_CODE_ERROR == span.status.code


async def test_a_clients_mistake_is_no_error(receiver: Receiver) -> None:
    """An unknown model is a 404, and the span is not failed; no path of its own is named."""
    async with open_pair() as pair:
        assert 404 == (await pair.post("/api/chat", chat("nosuch"))).status_code
        assert 404 == (await pair.client.get("/made/up?secret=1")).status_code
    (request,) = receiver.named("POST /api/chat")
    (unknown,) = receiver.named("GET")[-1:]
    for span in (request, unknown):
        assert 404 == values(span.attributes)["http.response.status_code"]
        assert Status.STATUS_CODE_UNSET == span.status.code
    assert "made/up" not in str(receiver.spans)
    assert "secret" not in str(receiver.spans)


async def test_no_text_of_a_request_is_sent(receiver: Receiver) -> None:
    """Neither of the prompt, nor of the answer, nor a key, nor a query."""
    async with open_pair({"listen": {"keys": ("opensesame",)}}) as pair:
        for path in ("/api/chat?query=hidden", f"{CHAT}?query=hidden"):
            answer = await pair.client.post(
                path,
                json=chat(text="mellon and friend", stream=True),
                headers={"authorization": "Bearer opensesame"},
            )
            assert 200 == answer.status_code
    assert 2 == len(receiver.named("chat "))
    told = str(receiver.spans)
    for hidden in ("mellon", "opensesame", "hidden", "query"):
        assert hidden not in told


async def test_a_collector_that_does_not_answer_holds_up_nothing(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests are served while it waits; at the end what it did not take is lost, and told."""
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    monkeypatch.setattr(tracing, "FLUSH_S", 0.01)
    receiver.answers.clear()
    with written(format="json") as lines:
        async with open_pair() as pair:
            for _ in range(20):
                assert 200 == (await pair.post("/api/chat", chat())).status_code
        said = lines_of(lines, "traces were lost: the collector did not take them in time")
    assert [0.01] == [line["limit_s"] for line in said]
    assert [] == receiver.spans


async def test_a_collector_that_is_away_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens at its port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv(ENDPOINT, f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
        monkeypatch.setattr(tracing, "FLUSH_S", 0.01)
        async with open_pair() as pair:
            for _ in range(20):
                assert 200 == (await pair.post("/api/chat", chat())).status_code


async def test_more_spans_than_fit_are_dropped(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue has the SDK's bound, so a dead collector fills no memory."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "4")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    receiver.answers.clear()
    async with open_pair() as pair:
        for _ in range(20):
            assert 200 == (await pair.post("/api/chat", chat())).status_code
        receiver.answers.set()
    assert 0 < len(receiver.named("POST /api/chat")) < 20


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, False),
        ({ENDPOINT: " "}, False),
        ({ENDPOINT: "http://127.0.0.1:4318"}, True),
        ({ENDPOINTS[0]: "http://127.0.0.1:4318/v1/traces"}, True),
        ({ENDPOINT: "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({ENDPOINT: "http://127.0.0.1:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, True),
    ],
)
def test_the_sdks_variables_decide(variables: dict[str, str], wanted: bool) -> None:
    """Nothing of the gateway's own turns traces on."""
    assert wanted == is_wanted(variables)


def test_without_the_packages_a_line_says_so() -> None:
    """And the gateway serves without traces."""
    hidden = [name for name in sys.modules if name == "opentelemetry" or "opentelemetry." in name]
    kept = {name: sys.modules.pop(name) for name in hidden}
    try:
        with hide_modules("opentelemetry"), written(format="json") as lines:
            assert None is open_tracer({ENDPOINT: "http://127.0.0.1:4318"})
            (said,) = lines_of(lines, "no traces are sent")
    finally:
        sys.modules.update(kept)
    assert "olgate[otel]" in said["do"]


def test_another_protocol_is_refused() -> None:
    """Its port would not understand."""
    variables = {ENDPOINT: "http://127.0.0.1:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    with written(format="json") as lines:
        assert None is open_tracer(variables)
        (said,) = lines_of(lines, "no traces are sent")
    assert "grpc" in said["reason"]


def test_nothing_is_imported_unless_traces_are_wanted() -> None:
    """The extra is installed here, and a gateway is made."""
    program = (
        "import sys\n"
        "from gateway.app import create_app\n"
        "from gateway.settings.schema import Settings\n"
        "create_app(Settings())\n"
        "names = ('opentelemetry', 'google.protobuf', 'requests')\n"
        "print([name for name in names if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env={}
    )
    assert "[]" == done.stdout.strip(), done.stderr


async def test_requests_at_once_do_not_mix(receiver: Receiver) -> None:
    """Each call is within its own request's span."""
    async with open_pair() as pair:
        await asyncio.gather(*(pair.post("/api/chat", chat(LOADED)) for _ in range(8)))
    requests = {span.span_id: span.trace_id for span in receiver.named("POST /api/chat")}
    calls = [(span.parent_span_id, span.trace_id) for span in receiver.named("chat ")]
    assert 8 == len(requests)
    assert sorted(requests.items()) == sorted(calls)
