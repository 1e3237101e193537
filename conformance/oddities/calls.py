"""
The calls whose answers are mutated: what LM Studio answers, what a client asks, what must survive.

Shapes follow docs/facts/lmstudio.md (#chat-answer, #sse, #completions, #embeddings, #v1-models,
#load, #unload, #downloads).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from conformance.oddities.mutate import Mutation
from conformance.standin.catalogue import EMBEDDING, GRADED, PLAIN

LOADED, EMBEDDER, COLD = PLAIN.key, EMBEDDING.key, GRADED.key
ASKED = [{"role": "user", "content": "Why?"}]


@dataclass(frozen=True)
class Got:
    """What a client got: status, the text that was said, the whole text, and the last object."""

    status: int
    said: str
    text: str
    last: Mapping[str, Any]

    @property
    def error(self) -> str:
        """The words of an error, "" when there is none."""
        error = self.last.get("error", "")
        return str(error.get("message", "") if isinstance(error, dict) else error)


Judge = Callable[["Call", int, Mutation, Got], str]
"""Returns what is wrong with what a client got, "" when nothing is."""


@dataclass(frozen=True)
class Call:
    """
    One kind of call.

    `answers` is one JSON value, or the chunks of a stream, one of which is mutated at a time. The
    client asks `path` with `body`.
    """

    name: str
    host_path: str
    answers: tuple[Any, ...]
    path: str
    body: Any
    judge: Judge
    method: str = "POST"
    is_stream: bool = False
    instead: Mapping[str, str] = field(default_factory=dict)
    """Answers of other paths of the host, in JSON."""
    dialect: str = "v1"
    """A gateway remembers a host's dialect, so each has a gateway of its own."""

    def bytes_with(self, at: int, mutation: Mutation | None) -> bytes:
        """Return the answer with the mutation of one of its values."""
        texts = [
            mutation.text if mutation is not None and number == at else json.dumps(value).encode()
            for number, value in enumerate(self.answers)
        ]
        if not self.is_stream:
            return texts[0]
        return b"".join(b"data: " + text + b"\n\n" for text in (*texts, b"[DONE]"))


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    """Return a chunk of a chat."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1791013731,
        "model": LOADED,
        "system_fingerprint": LOADED,
        "choices": [choice],
    }


def fragment(**function: str) -> list[dict[str, Any]]:
    """Return the fragments of a delta."""
    return [{"index": 0, "id": "71", "type": "function", "function": function}]


USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 4,
    "total_tokens": 13,
    "completion_tokens_details": {"reasoning_tokens": 0},
}
SPOKEN = (
    chunk(role="assistant", content="One"),
    chunk(content=" two"),
    chunk(content=" three"),
    chunk("stop"),
    {**chunk(), "choices": [], "usage": USAGE},
)
CALLED = (
    chunk(role="assistant", tool_calls=fragment(name="tide", arguments="")),
    chunk(tool_calls=fragment(arguments='{"a":1}')),
    chunk("tool_calls"),
)
MESSAGE = {
    **chunk(),
    "object": "chat.completion",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "One two three",
                "reasoning_content": "",
                "tool_calls": [],
            },
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": USAGE,
    "stats": {},
}
WRITTEN = tuple(
    {
        **chunk(),
        "object": "text_completion",
        "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": finish}],
    }
    for text, finish in (("One", None), (" two", None), (" three", None), ("", "stop"))
)
VECTORS: dict[str, Any] = {
    "object": "list",
    "data": [
        {"object": "embedding", "embedding": [0.6, 0.8], "index": number} for number in range(2)
    ],
    "model": EMBEDDER,
    "usage": {"prompt_tokens": 0, "total_tokens": 0},
}
LISTED: dict[str, Any] = {
    "models": [
        {
            "type": "llm",
            "publisher": "harbor",
            "key": LOADED,
            "display_name": "Tiny",
            "architecture": "llama",
            "quantization": {"name": "Q4_K_M", "bits_per_weight": 4},
            "size_bytes": 1000,
            "params_string": "1B",
            "loaded_instances": [
                {
                    "id": LOADED,
                    "config": {"context_length": 4096, "parallel": 4, "flash_attention": True},
                    "remaining_ttl_seconds": 3589,
                }
            ],
            "max_context_length": 8192,
            "format": "gguf",
            "capabilities": {
                "vision": False,
                "trained_for_tool_use": True,
                "reasoning": {"allowed_options": ["off", "on"], "default": "on"},
            },
            "description": None,
            "variants": [f"{LOADED}@q4_k_m"],
            "selected_variant": f"{LOADED}@q4_k_m",
        },
        {"type": "embedding", "key": EMBEDDER, "max_context_length": 2048},
    ]
}
LISTED_V0 = {
    "data": [
        {
            "id": LOADED,
            "object": "model",
            "type": "llm",
            "publisher": "harbor",
            "arch": "llama",
            "compatibility_type": "gguf",
            "quantization": "Q4_K_M",
            "state": "loaded",
            "max_context_length": 8192,
            "loaded_context_length": 4096,
            "capabilities": ["tool_use"],
        },
        {"id": EMBEDDER, "type": "embeddings", "state": "not-loaded"},
    ],
    "object": "list",
}
LISTED_OPENAI = {
    "data": [
        {"id": LOADED, "object": "model", "owned_by": "organization_owner"},
        {"id": EMBEDDER, "object": "model"},
    ],
    "object": "list",
}
NO_ROUTE = '{"error":"Unexpected endpoint or method. (GET /api/v1/models)"}'
JOB = {"job_id": "job_1", "status": "downloading", "total_size_bytes": 1000}
ENDED = {**JOB, "status": "completed", "downloaded_bytes": 1000}


# -- what must survive


def any_end(call: Call, at: int, mutation: Mutation, got: Got) -> str:
    """Either a success or an error with words."""
    if got.status == 200 and not got.last.get("error"):
        return ""
    return "" if got.error else "an error without words"


def all_text(call: Call, at: int, mutation: Mutation, got: Got) -> str:
    """The text of all other chunks, and an end; an error where a part or the end is missing."""
    pieces = [_text_of(value) for value in call.answers]
    if _is_part_missing(call, at, mutation):
        if got.error or got.status != 200:
            return "" if got.error else "an error without words"
    elif got.status != 200 or got.error:
        return f"an odd value took the answer away: {got.error}"
    position = 0
    for number, piece in enumerate(pieces):
        if number == at:
            continue
        found = got.said.find(piece, position)
        if found < 0:
            return f"the text {piece!r} was lost"
        position = found + len(piece)
    return ""


def same_text(call: Call, at: int, mutation: Mutation, got: Got) -> str:
    """The text of all other chunks as it came, unless the answer ends in an error with words."""
    if got.error or got.status != 200:
        return "" if got.error else "an error without words"
    pieces = [_text_of(value) for number, value in enumerate(call.answers) if number != at]
    lost = [piece for piece in pieces if json.dumps(piece)[1:-1] not in got.text]
    return f"the text {lost[0]!r} was lost" if lost else ""


def one_call(call: Call, at: int, mutation: Mutation, got: Got) -> str:
    """Either the call as it was meant, a call without what was odd, or an error with words."""
    if got.error or got.status != 200:
        return "" if got.error else "an error without words"
    if "function" in mutation.place or mutation.place[-1:] == ("tool_calls",) or not mutation.place:
        return ""
    if {"choices", "delta"} & {mutation.place[-1]} or mutation.place[-1:] == (0,):
        return ""
    return "" if '"tide"' in got.text else "the call was lost"


def same_number(call: Call, at: int, mutation: Mutation, got: Got) -> str:
    """A vector for each text, or an error."""
    if got.error or got.status != 200:
        is_needed = mutation.how == "cut" or not mutation.place or mutation.place[0] == "data"
        return "" if is_needed and got.error else f"an odd value took the vectors away: {got.error}"
    return "" if len(got.last.get("embeddings", ())) == 2 else "a vector is missing"


def all_models(call: Call, at: int, mutation: Mutation, got: Got) -> str:
    """The other model, and the model itself unless its name is what is odd."""
    place = mutation.place
    if mutation.how == "cut" or len(place) < 2:
        return any_end(call, at, mutation, got)
    if got.status != 200 or got.error:
        return f"an odd value took the list away: {got.error}"
    named = len(place) > 2 and place[2] not in ("key", "id")
    expected = {LOADED, EMBEDDER} if named else {EMBEDDER if place[1] == 0 else LOADED}
    missing = [key for key in expected if json.dumps(f"{key}:latest") not in got.text]
    return f"{missing} vanished from the list" if missing else ""


def _text_of(value: Any) -> str:
    choices = value.get("choices") or [{}]
    choice = choices[0]
    found = (
        choice.get("text")
        or choice.get("delta", {}).get("content")
        or choice.get("message", {}).get("content")
    )
    return found or ""


def _is_part_missing(call: Call, at: int, mutation: Mutation) -> bool:
    """Whether a piece of the answer cannot be read any more, or its end not."""
    choice = (call.answers[at].get("choices") or [{}])[0]
    is_end = choice.get("finish_reason") is not None
    around = {"choices", "finish_reason", 0}
    is_lost = not mutation.place or mutation.place[-1] in around
    return mutation.how == "cut" or (is_lost and (is_end or not mutation.place))


def _tags(
    dialect: str, name: str, host_path: str, listed: Any, instead: Mapping[str, str] = {}
) -> list[Call]:
    tags = Call(f"{name} of tags", host_path, (listed,), "/api/tags", None, all_models, "GET")
    others = (("show", {"model": LOADED}), ("chat", {"model": LOADED, "messages": ASKED}))
    calls = [
        tags,
        Call(f"{name} of ps", host_path, (listed,), "/api/ps", None, any_end, "GET"),
        *(
            Call(f"{name} of {asked}", host_path, (listed,), f"/api/{asked}", body, any_end)
            for asked, body in others
        ),
    ]
    return [replace(call, instead=instead, dialect=dialect) for call in calls]


def _both(
    name: str, host_path: str, answers: Any, path: str, body: Any, judge: Judge
) -> list[Call]:
    """Return a call whose answer is a stream at LM Studio, for a client of either form."""
    return [
        Call(
            f"{name}, {form}",
            host_path,
            answers,
            path,
            {**body, "stream": form == "streamed"},
            judge,
            is_stream=True,
        )
        for form in ("streamed", "one-shot")
    ]


CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
OLDER_CHAT = "/api/v0/chat/completions"
CALLS: tuple[Call, ...] = (
    *_both("chat", CHAT, SPOKEN, "/api/chat", {"model": LOADED, "messages": ASKED}, all_text),
    *_both(
        "tool call",
        CHAT,
        CALLED,
        "/api/chat",
        {"model": LOADED, "messages": ASKED},
        one_call,
    ),
    *_both(
        "generate", CHAT, SPOKEN, "/api/generate", {"model": LOADED, "prompt": "Why?"}, all_text
    ),
    *_both(
        "raw generate",
        COMPLETIONS,
        WRITTEN,
        "/api/generate",
        {"model": LOADED, "prompt": "Why?", "raw": True},
        all_text,
    ),
    Call(
        "chat in one piece",
        CHAT,
        (MESSAGE,),
        "/api/chat",
        {"model": LOADED, "messages": ASKED},
        any_end,
    ),
    Call(
        "embed",
        "/v1/embeddings",
        (VECTORS,),
        "/api/embed",
        {"model": EMBEDDER, "input": ["a", "b"]},
        same_number,
    ),
    Call(
        "old embeddings",
        "/v1/embeddings",
        ({**VECTORS, "data": VECTORS["data"][:1]},),
        "/api/embeddings",
        {"model": EMBEDDER, "prompt": "a"},
        any_end,
    ),
    *_tags("v1", "list", "/api/v1/models", LISTED),
    *_tags("v0", "older list", "/api/v0/models", LISTED_V0, {"/api/v1/models": NO_ROUTE}),
    *_tags(
        "openai",
        "plain list",
        "/v1/models",
        LISTED_OPENAI,
        {"/api/v1/models": NO_ROUTE, "/api/v0/models": NO_ROUTE},
    ),
    Call(
        "load",
        "/api/v1/models/load",
        ({"type": "llm", "instance_id": COLD, "load_time_seconds": 0.1, "status": "loaded"},),
        "/api/generate",
        {"model": COLD},
        any_end,
    ),
    Call(
        "unload",
        "/api/v1/models/unload",
        ({"instance_id": LOADED},),
        "/api/generate",
        {"model": LOADED, "keep_alive": 0},
        any_end,
    ),
    Call(
        "download",
        "/api/v1/models/download",
        (JOB,),
        "/api/pull",
        {"model": "harbor/beacon-9b"},
        any_end,
        instead={"/api/v1/models/download/status/*": json.dumps(ENDED)},
    ),
    Call(
        "download's state",
        "/api/v1/models/download/status/*",
        (ENDED,),
        "/api/pull",
        {"model": "harbor/beacon-9b"},
        any_end,
        instead={"/api/v1/models/download": json.dumps(JOB)},
    ),
    *_both("passed on chat", CHAT, SPOKEN, CHAT, {"model": LOADED, "messages": ASKED}, same_text),
    *_both(
        "passed on tool call",
        CHAT,
        CALLED,
        CHAT,
        {"model": LOADED, "messages": ASKED},
        one_call,
    ),
    *_both(
        "passed on completion",
        COMPLETIONS,
        WRITTEN,
        COMPLETIONS,
        {"model": LOADED, "prompt": "Why?"},
        same_text,
    ),
    *_both(
        "passed on older chat",
        OLDER_CHAT,
        SPOKEN,
        OLDER_CHAT,
        {"model": LOADED, "messages": ASKED},
        same_text,
    ),
    Call(
        "passed on message",
        CHAT,
        (MESSAGE,),
        CHAT,
        {"model": LOADED, "messages": ASKED},
        any_end,
    ),
    Call(
        "passed on vectors",
        "/v1/embeddings",
        (VECTORS,),
        "/v1/embeddings",
        {"model": EMBEDDER, "input": ["a", "b"]},
        any_end,
    ),
    Call(
        "passed on older vectors",
        "/api/v0/embeddings",
        (VECTORS,),
        "/api/v0/embeddings",
        {"model": EMBEDDER, "input": ["a", "b"]},
        any_end,
    ),
    Call("passed on list", "/v1/models", (LISTED_OPENAI,), "/v1/models", None, any_end, "GET"),
)
