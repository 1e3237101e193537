"""
An error that comes before any route, in the shape that the callers of a path know.

Below a mounted prefix that is the shape of passed-through errors, everywhere else Ollama's. What an
error says is its giver's business.
"""

from __future__ import annotations

from gateway.encoding import JSON, encode, encode_error
from gateway.passthrough import LMSTUDIO_MOUNTS, MOUNTS, envelope

__all__ = ["JSON", "error_body", "is_mounted"]


def is_mounted(path: str) -> bool:
    """Tell whether a path lies below a prefix that is passed through, whether switched on or not."""
    return path.startswith((*MOUNTS, *LMSTUDIO_MOUNTS))


def error_body(path: str, status: int, message: str) -> bytes:
    """
    Return an error as one JSON text.

    >>> error_body("/api/chat", 400, "no")
    b'{"error":"no"}'
    >>> error_body("/v1/messages", 401, "no")
    b'{"type":"error","error":{"type":"authentication_error","message":"no"}}'
    """
    if is_mounted(path):
        return encode(envelope(path, status, message))
    return encode_error(message)
