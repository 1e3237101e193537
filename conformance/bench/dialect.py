"""
What the load generator sends in each dialect: requests as bytes.

How a token is found in an answer is the same in all, since the stand-in's tokens carry their time.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Literal

from conformance.bench.wire import EMBEDDER, MODEL, STAMP_DIGITS

Dialect = Literal["ollama", "openai", "handler", "vectors"]
"""
What a server answers. A handler has only one answer, and no models behind it. `vectors` is OpenAI's
dialect of a server that is made for its embeddings.
"""
Task = Literal[
    "stream", "chat", "tags", "models", "show", "embed1", "embed256", "long", "tools", "image"
]
"""`models` is the OpenAI dialect's list, `chat` a whole answer."""
TASKS: tuple[Task, ...] = (
    *("chat", "tags", "show", "embed1", "embed256"),
    *("long", "tools", "image"),
)
"""One-shot requests in the order of the table; not every server of Ollama's API has `models`."""
LARGE: frozenset[Task] = frozenset({"embed256", "long", "image"})
"""Those of a megabyte and more, of which fewer are made."""

STAMP = re.compile(rb'": ?" ?(\d{%d})"' % STAMP_DIGITS)
"""A stamped token in any frame or chunk, with and without blanks before it."""
_MESSAGES = [{"role": "user", "content": "Count to two hundred, please."}]


def request(dialect: Dialect, task: Task, model: str = MODEL) -> bytes | None:
    """Return a whole HTTP request, None where the dialect has no such thing."""
    found = _ROWS[dialect].get(task)
    if found is None:
        return None
    method, path, body = found
    if body is None:
        return f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode()
    if "model" not in body:
        body = {"model": EMBEDDER if task.startswith("embed") else model, **body}
    data = json.dumps(body, separators=(",", ":")).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        f"content-length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": f"tool_{n}",
            "description": f"Looks up the thing with the number {n}.",
            "parameters": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "description": "What it is called."},
                    "count": {"type": "integer", "minimum": n},
                },
                "required": ["name"],
            },
        },
    }
    for n in range(64)
]
_LONG = [{"role": "user", "content": "Count to two hundred, please. " * (1024 * 1024 // 30)}]
_PICTURE = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(768 * 1024)).decode("ascii")
_STREAMED = {"stream": True, "stream_options": {"include_usage": True}}
_Row = tuple[str, str, dict[str, object] | None]
_TEXTS = [f"text number {n}" for n in range(256)]
_OLLAMA: dict[Task, _Row] = {
    "stream": ("POST", "/api/chat", {"messages": _MESSAGES, "stream": True}),
    "chat": ("POST", "/api/chat", {"messages": _MESSAGES, "stream": False}),
    "tags": ("GET", "/api/tags", None),
    "models": ("GET", "/v1/models", None),
    "show": ("POST", "/api/show", {}),
    "embed1": ("POST", "/api/embed", {"input": _TEXTS[0]}),
    "embed256": ("POST", "/api/embed", {"input": _TEXTS}),
    "long": ("POST", "/api/chat", {"messages": _LONG, "stream": False}),
    "tools": ("POST", "/api/chat", {"messages": _MESSAGES, "tools": _TOOLS, "stream": False}),
    "image": (
        "POST",
        "/api/chat",
        {"messages": [{**_MESSAGES[0], "images": [_PICTURE]}], "stream": False},
    ),
}
_OPENAI: dict[Task, _Row] = {
    "stream": ("POST", "/v1/chat/completions", {"messages": _MESSAGES, **_STREAMED}),
    "chat": ("POST", "/v1/chat/completions", {"messages": _MESSAGES, **_STREAMED}),
    "long": ("POST", "/v1/chat/completions", {"messages": _LONG, **_STREAMED}),
    "tools": (
        "POST",
        "/v1/chat/completions",
        {"messages": _MESSAGES, "tools": _TOOLS, **_STREAMED},
    ),
    "models": ("GET", "/v1/models", None),
    "embed1": ("POST", "/v1/embeddings", {"input": _TEXTS[0]}),
    "embed256": ("POST", "/v1/embeddings", {"input": _TEXTS}),
}
_HANDLER: dict[Task, _Row] = {
    task: row for task, row in _OLLAMA.items() if task in ("tags", "models", "show")
}
_VECTORS: dict[Task, _Row] = {
    task: row for task, row in _OPENAI.items() if task in ("models", "embed1", "embed256")
}
_ROWS = {"ollama": _OLLAMA, "openai": _OPENAI, "handler": _HANDLER, "vectors": _VECTORS}
