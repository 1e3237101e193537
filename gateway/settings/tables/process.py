"""
What the process serves and tells besides answers: its own paths, its log, its inspector.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from .kinds import Bytes, Count


class RouteSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Paths beyond Ollama's; each of them can be disabled."""

    health: bool = True
    """Whether `/health` is served."""
    open_health: bool = True
    """Whether `/health` needs no key if keys are set."""
    metrics: bool = True
    """Whether `/metrics` is served, and anything is counted for it."""
    console: bool = True
    """Whether the page at `/olgate/` is served: with a key, or without keys on this machine."""
    reload: bool = True
    """Whether callers on this machine may have the settings read anew with `POST /reload`."""
    lmstudio: bool = True
    """Whether LM Studio's own routes, `/api/v0/*` and `/api/v1/*`, are passed through."""


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The log on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level of a line that is written."""
    format: Literal["text", "json"] = "text"
    """The format of lines: `text`, or one JSON object a line."""
    bodies: bool = False
    """Whether error texts of LM Studio and of exceptions, which can quote a request, are logged."""


class InspectSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The last exchanges with their bodies, kept in memory for `olgate inspect`."""

    requests: Count = 0
    """
    How many exchanges are kept, with what clients and LM Studio said; 0 keeps none. They are shown
    to callers on this machine, or with a key if keys are set.
    """
    body_bytes: Bytes = 1024 * 1024
    """
    Bytes that are kept of each body. A longer request is left out, and a longer answer is kept up
    to there.
    """
