"""
The gateway's own work without any I/O: framing, decoding, translating and encoding of tokens.

Shared by the bench, which times it, and the tests, which count its calls and allocations.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from conformance.bench import wire
from gateway.calls import host
from gateway.catalogue import rows
from gateway.plans import chat, generate
from gateway.runtime.context import RequestContext
from gateway.settings.schema import Settings
from gateway.types import internal, ollama
from gateway.upstream.sse import SseDecoder
from gateway.wire.client_api import OLLAMA
from gateway.wire.writing import encode_lines

Work = Callable[[], object]
"""The work of one chunk, to be called again and again on one stream."""


def works() -> dict[str, Work]:
    """Return the work of one chunk for every mapping that translates a stream, and for framing."""
    context = RequestContext(Settings(), "bench")
    context.model = described()
    # As the engine sets it once for all events of a read; else each token would ask for the time.
    context.now = "2026-01-01T00:00:00Z"
    messages = ollama.ChatRequest(model=wire.MODEL)
    prompt = ollama.GenerateRequest(model=wire.MODEL, prompt="")
    return {
        "framing": _frame(),
        "chat": _translate(
            "chat", chat.DECODE_CHAT_COMPLETION_CHUNK, chat.ChatStream(messages, context)
        ),
        "generate, templated": _translate(
            "chat",
            generate.DECODE_CHAT_COMPLETION_CHUNK,
            generate.TemplatedStream(prompt, context),
        ),
        "generate, raw": _translate(
            "completions",
            generate.DECODE_COMPLETION_CHUNK,
            generate.UntemplatedStream(prompt, context),
        ),
    }


def described() -> internal.CatalogueRow:
    """Return the bench's model as the catalogue would have it."""
    listed = host.list_v1()
    models = listed.translate(listed.decoder.decode(wire.models_v1())).models
    return next(rows.rows_of(models[0], "", (), OLLAMA.capabilities))


def time_ns(work: Work, calls: int = 2000, rounds: int = 15) -> float:
    """Return the least time of one call: what disturbs a measurement only ever adds to it."""
    least = float("inf")
    for _ in range(rounds):
        began = time.perf_counter_ns()
        for _ in range(calls):
            work()
        least = min(least, (time.perf_counter_ns() - began) / calls)
    return least


def _frame() -> Work:
    event = wire.event(wire.chunk("chat", " word"))
    decoder = SseDecoder()
    decoder.feed(event)
    return lambda: decoder.feed(event)


def _translate(route: wire.Route, chunks: msgspec.json.Decoder[Any], translator: Any) -> Work:
    data = wire.chunk(route, " word")
    return lambda: encode_lines([translator.chunk(chunks.decode(data))])
