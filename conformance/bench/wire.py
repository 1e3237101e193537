"""
The bytes that the bench's LM Studio sends: its chunks, its lists, its vectors.

The module has shapes only (docs/facts/lmstudio.md#stream-order, docs/facts/lmstudio.md#v1-models,
docs/facts/lmstudio.md#embeddings); the stand-in decides when
they are sent.
"""

from __future__ import annotations

import json
import math
import random
from array import array
from typing import Any, Literal

Route = Literal["chat", "completions"]

MODEL = "bench/model"
EMBEDDER = "text-embedding-bench"
STAMP_DIGITS = 20
"""A stamped token is the monotonic clock in nanoseconds, of a width that fits in place."""
DIMENSIONS = 768
CONTEXT = 32768

_PLACE = "#" * STAMP_DIGITS
_OBJECTS = {"chat": "chat.completion.chunk", "completions": "text_completion"}


def event(data: bytes) -> bytes:
    """Return one server-sent event."""
    return b"data: " + data + b"\n\n"


def in_http_chunk(data: bytes) -> bytes:
    """Return bytes as one chunk of HTTP's chunked coding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def chunk(route: Route, text: str, *, is_first: bool = False) -> bytes:
    """Return the JSON of one token's chunk."""
    if route == "chat":
        delta = {"role": "assistant", "content": text} if is_first else {"content": text}
        choice: dict[str, Any] = {"index": 0, "delta": delta}
    else:
        choice = {"index": 0, "text": text}
    return _compact(_envelope(route, [{**choice, "logprobs": None, "finish_reason": None}]))


def ending(route: Route, tokens: int) -> list[bytes]:
    """Return the data of the events after the last token: finish, usage, `[DONE]`."""
    choice: dict[str, Any] = {"index": 0, "delta": {}} if route == "chat" else {"index": 0}
    if route == "completions":
        choice["text"] = ""
    finish = _envelope(route, [{**choice, "logprobs": None, "finish_reason": "stop"}])
    usage = {
        "prompt_tokens": 22,
        "completion_tokens": tokens,
        "total_tokens": 22 + tokens,
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    return [_compact(finish), _compact({**_envelope(route, []), "usage": usage}), b"[DONE]"]


def stamped_halves(route: Route, *, is_first: bool = False) -> tuple[bytes, bytes]:
    """Return what stands before and after the digits of a stamped token, ready for the wire."""
    whole = in_http_chunk(event(chunk(route, f" {_PLACE}", is_first=is_first)))
    before, _, after = whole.partition(_PLACE.encode())
    return before, after


def plain_answer(tokens: int) -> bytes:
    """Return the JSON of an answer that was not streamed."""
    message = {
        "role": "assistant",
        "content": " word" * tokens,
        "reasoning_content": "",
        "tool_calls": [],
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    usage = {"prompt_tokens": 22, "completion_tokens": tokens, "total_tokens": 22 + tokens}
    return _compact(
        {**_envelope("chat", [choice]), "object": "chat.completion", "usage": usage, "stats": {}}
    )


def embeddings(count: int) -> bytes:
    """
    Return an answer with `count` vectors: of length 1, numbers of 32 bits printed as doubles.

    Their numbers are spread as a model's are, and no two vectors are equal: a processor learns a
    vector that it reads again and again by heart, and a vector of few numbers has no tiny ones.
    """
    chance = random.Random(count)
    return (
        b'{"object":"list","data":[%b],"model":"%b","usage":{"prompt_tokens":0,"total_tokens":0}}'
        % (b",".join(_embedding(chance, n) for n in range(count)), EMBEDDER.encode())
    )


def _embedding(chance: random.Random, index: int) -> bytes:
    numbers = [chance.gauss(0, 1) for _ in range(DIMENSIONS)]
    length = math.hypot(*numbers)
    doubles = array("f", [number / length for number in numbers])
    vector = json.dumps(doubles.tolist(), separators=(",", ":")).encode()
    return b'{"object":"embedding","embedding":%b,"index":%d}' % (vector, index)


def models_v1() -> bytes:
    """Return LM Studio's own list: one model for each kind of work, both loaded."""
    common = {
        "publisher": "bench",
        "quantization": {"name": "Q4_K_M", "bits_per_weight": 4},
        "max_context_length": CONTEXT,
        "format": "gguf",
        "description": None,
    }
    model = {
        "type": "llm",
        **common,
        "key": MODEL,
        "display_name": "Bench Model",
        "architecture": "qwen3",
        "size_bytes": 5_000_000_000,
        "params_string": "8B",
        "loaded_instances": [
            {"id": MODEL, "config": {"context_length": CONTEXT, "parallel": 4096}},
        ],
        "capabilities": {"vision": True, "trained_for_tool_use": True},
    }
    embedder = {
        "type": "embedding",
        **common,
        "key": EMBEDDER,
        "display_name": "Bench Embedder",
        "size_bytes": 150_000_000,
        "params_string": None,
        "loaded_instances": [
            {"id": EMBEDDER, "config": {"context_length": 2048, "parallel": 4096}}
        ],
    }
    return _compact({"models": [model, embedder]})


def models_v0() -> bytes:
    """Return the older list, which some servers ask for."""
    common = {
        "object": "model",
        "publisher": "bench",
        "compatibility_type": "gguf",
        "quantization": "Q4_K_M",
        "state": "loaded",
        "max_context_length": CONTEXT,
        "loaded_context_length": CONTEXT,
    }
    model = {"id": MODEL, "type": "llm", **common, "arch": "qwen3"}
    embedder = {"id": EMBEDDER, "type": "embeddings", **common, "arch": "bert"}
    return _compact({"object": "list", "data": [model, embedder]})


def models_openai() -> bytes:
    """Return the plain OpenAI list."""
    items = [{"id": each, "object": "model", "owned_by": "bench"} for each in (MODEL, EMBEDDER)]
    return _compact({"object": "list", "data": items})


def _envelope(route: Route, choices: list[Any]) -> dict[str, Any]:
    return {
        "id": "chatcmpl-bench0000000000000000",
        "object": _OBJECTS[route],
        "created": 1_790_000_000,
        "model": MODEL,
        "system_fingerprint": MODEL,
        "choices": choices,
    }


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
