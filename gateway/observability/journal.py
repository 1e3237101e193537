"""
The log: lines on standard error, as text or as JSON.

This module configures structlog, formats lines, and writes the one line of each request. A line
never contains prompts, answers, headers other than the user agent, query strings, tokens, or the
local variables of a traceback. The text of an exception can quote a request, so it is written only
if `log.bodies` allows it.
"""

import json
import logging
import re
import sys
import traceback
from time import monotonic_ns
from typing import TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, FilteringBoundLogger, Processor, WrappedLogger

from gateway.observability.record import Record, current_id
from gateway.settings.schema import LogSettings
from gateway.wire.duration import format_duration

MAX_VALUE_CHARACTERS = 300
"""Characters of a text from a client (a path, a user agent) that are written on a line."""

MAX_CAUSES = 10
"""Exceptions of a chain that are written, the last one first."""

_SECRET_KEYS = frozenset(
    {"api_key", "authorization", "body", "content", "messages", "prompt", "token", "x_api_key"}
)
_FIRST = ("timestamp", "level", "event")
"""The fields with which every line begins."""
_PLAIN = re.compile(r"[A-Za-z0-9_./:@+\-]+")


def configure(settings: LogSettings, stream: TextIO | None = None) -> None:
    """
    Write every line, the gateway's and the libraries', to `stream` (standard error by default).

    Libraries log from level warning on: their lower levels name upstream addresses for each
    request, which the gateway itself logs.
    """
    stream = stream or sys.stderr
    render: Processor = _render_json if settings.format == "json" else _render_text
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(
            _format_exception if settings.bodies else _format_without_text
        ),
        _add_request_id,
        _mask,
    ]
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(settings.level),
        logger_factory=lambda *_: _Lines(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
            foreign_pre_chain=shared,
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def set_level(level: str) -> None:
    """Write lines from another level on; loggers that exist follow."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))


def get_logger(**context: object) -> FilteringBoundLogger:
    """Return a logger whose lines all contain `context`."""
    logger: FilteringBoundLogger = structlog.get_logger(**context)
    return logger


def log_request(
    logger: FilteringBoundLogger,
    *,
    record: Record,
    method: str,
    path: str,
    status: int | None,
    user_agent: str,
    outcome: str = "complete",
) -> None:
    """
    Write the one line of a request that has ended, without fields that do not apply.

    `path` is the route's template if there is a route, never with a query. `status` is None if no
    answer was started. `outcome` is `complete`, `left` (the client left), `cut` (the answer ended
    early) or `failed` (an exception in the gateway). `took` is the time from the head of the
    request to now, `first` the time to the first bytes of the body of a streamed answer.
    """
    first_ns = record.first_ns if record.is_stream else None
    more = {
        "first": None
        if first_ns is None
        else format_duration((first_ns - record.started_ns) / 1e9),
        "model": record.model,
        "upstream": record.upstream,
        "upstream_status": record.upstream_status,
        "tokens_in": record.tokens_in,
        "tokens_out": record.tokens_out,
        "retries": record.retries or None,
        "fault": record.fault,
        "outcome": None if outcome == "complete" else outcome,
    }
    write = logger.warning if outcome == "failed" or (status or 0) >= 500 else logger.info
    write(
        "request",
        method=method,
        path=path,
        status=status,
        took=format_duration((monotonic_ns() - record.started_ns) / 1e9),
        agent=user_agent,
        **{name: value for name, value in more.items() if value is not None},
    )


class _Lines:
    """Writes whole lines; a closed reader must not fail a request."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            return

    debug = info = warning = error = critical = msg


def _add_request_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Add the id of the request to a line."""
    if (identifier := current_id()) is not None:
        event["id"] = identifier
    return event


def _format_exception(exc_info: ExcInfo) -> str:
    return "".join(traceback.format_exception(*exc_info)).rstrip()


def _format_without_text(exc_info: ExcInfo) -> str:
    """Return the places and the types of the exceptions, without their texts."""
    parts: list[str] = []
    one: BaseException | None = exc_info[1]
    while one is not None and len(parts) < MAX_CAUSES:
        kind = type(one)
        where = "".join(traceback.format_tb(one.__traceback__))
        parts.append(
            f"Traceback (most recent call last):\n{where}{kind.__module__}.{kind.__qualname__}"
        )
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return "\n\nafter\n\n".join(parts)


def _mask(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Mask fields that must never be written, in case a caller passes one, and cut long values."""
    for key, value in event.items():
        if key in _SECRET_KEYS:
            event[key] = "masked"
        elif isinstance(value, str) and len(value) > MAX_VALUE_CHARACTERS and key != "exception":
            event[key] = value[:MAX_VALUE_CHARACTERS] + "…"
    return event


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return json.dumps({**dict.fromkeys(_FIRST, ""), **event}, default=repr)


def _render_text(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """`time level event key=value …`; values that are not plain are written as in JSON."""
    exception = event.pop("exception", None)
    time, level, what = (event.pop(key, "") for key in _FIRST)
    head = f"{time} {level:<7} {_text(what, free=True)}"
    text = " ".join([head, *[f"{key}={_text(value)}" for key, value in event.items()]])
    return f"{text}\n{exception}" if exception else text


def _text(value: object, *, free: bool = False) -> str:
    """Escape control characters and all non-ASCII, so that a line stays one line."""
    if value is None:
        return "-"
    text = str(value)
    if _PLAIN.fullmatch(text) or (free and text.isascii() and text.isprintable()):
        return text
    return json.dumps(text)
