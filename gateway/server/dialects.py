"""
Errors in the caller's dialect: the envelopes of Ollama, OpenAI, Anthropic and LM Studio.

This module knows how an error looks as a body and as the last event of a stream, and how a stream
ends regularly. It does not decide what is an error, or its status.
"""

from __future__ import annotations

import re
from typing import Any

from ..wire.lenient import parse_lenient
from ..wire.writing import encode, encode_error

MOUNTS = ("/v1/",)
LMSTUDIO_MOUNTS = ("/api/v0/", "/api/v1/")
"""The prefixes that are passed through; errors below a prefix have its dialect."""

_ANTHROPIC = "/v1/messages"
_RESPONSES = "/v1/responses"
_NATIVE_CHAT = "/api/v1/chat"
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "invalid_request_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}
_COMPLETIONS = re.compile(r"/(v1|api/v0)/(chat/)?completions")
_ENDS = re.compile(rb'\[DONE\]|"finish_reason"\s*:\s*"|event: error|[{,]\s*"error"\s*:\s*["{]')


END_BYTES = 4096
"""Number of bytes at a stream's end that show whether it ended regularly."""


def error_body(path: str, status: int, message: str) -> bytes:
    """
    Return an error of the gateway in the dialect of a path, whatever the path is.

    >>> error_body("/api/chat", 400, "no")
    b'{"error":"no"}'
    >>> error_body("/v1/messages", 401, "no")
    b'{"type":"error","error":{"type":"authentication_error","message":"no"}}'
    """
    if is_mounted(path):
        return encode(envelope(path, status, message))
    return encode_error(message)


def is_mounted(path: str) -> bool:
    """Return whether a path is below a prefix that is passed through, enabled or not."""
    return path.startswith((*MOUNTS, *LMSTUDIO_MOUNTS))


def envelope(path: str, status: int, message: str) -> dict[str, Any]:
    """Return an error in the dialect of a path."""
    kind = _KINDS.get(status, "api_error")
    if path.startswith(_ANTHROPIC):
        return {"type": "error", "error": {"type": kind, "message": message}}
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def error_event(path: str, status: int, message: str) -> bytes:
    """Return an error as the last event of a stream that has started."""
    if path.startswith(_ANTHROPIC):
        return _event("error", envelope(path, status, message))
    if path.startswith(_RESPONSES):
        failed = {"type": "error", "code": "server_error", "message": message, "param": None}
        return _event("error", failed)
    if path.startswith(_NATIVE_CHAT):
        stated = {"type": "internal_error", "message": message}
        return _event("error", {"type": "error", "error": stated})
    return b"data: " + encode(envelope(path, status, message)) + b"\n\n"


def is_in_dialect(path: str, body: bytes) -> bool:
    """Return whether a path's clients can read an error body as it is: its `error` is an object."""
    found = parse_lenient(body)
    if not isinstance(found, dict) or not isinstance(found.get("error"), dict):
        return False
    if path.startswith(_ANTHROPIC) and found.get("type") != "error":
        return False
    return isinstance(found["error"].get("message"), str)


def is_error_event_in_dialect(path: str, data: bytes) -> bool:
    """Return whether a path's clients can read an event that is an error as it is."""
    if not path.startswith(_RESPONSES):
        return is_in_dialect(path, data)
    found = parse_lenient(data)
    return isinstance(found, dict) and isinstance(found.get("type"), str)


def ends_well(path: str, end: bytes) -> bool:
    """
    Return whether the last bytes of a stream say that it is complete; an error counts, too.

    This is known for OpenAI's two completion routes only: other streams count as complete
    (docs/facts/lmstudio.md#completions-stream).
    """
    return _COMPLETIONS.fullmatch(path) is None or _ENDS.search(end) is not None


def _event(name: str, data: dict[str, Any]) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + encode(data) + b"\n\n"
