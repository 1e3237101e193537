"""
What the process writes about itself: lines on standard error, as text or as JSON.

Here live the set-up of structlog, the two ways a line looks, and the one line that every request
leaves. Not here: deciding what is worth a line. Never on a line: prompts, answers, headers other
than the user agent, query strings, tokens, and the local variables of a traceback.
"""

import json
import logging
import re
import sys
from collections.abc import Mapping
from typing import TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from gateway.settings import LogSettings

MAX_VALUE_CHARACTERS = 300
"""How much of a text that a client chose (a path, a user agent) goes on a line."""

_SECRET_KEYS = frozenset(
    {"api_key", "authorization", "body", "content", "messages", "prompt", "token", "x_api_key"}
)
_PLAIN = re.compile(r"[A-Za-z0-9_./:@+\-]+")


def configure(settings: LogSettings, stream: TextIO | None = None) -> None:
    """
    Send every line, ours and those of the libraries, to `stream` (standard error by default).

    Libraries speak from warnings on: what they say on lower levels names upstream addresses per
    request, which is ours to say.
    """
    stream = stream or sys.stderr
    render: Processor = _render_json if settings.format == "json" else _render_text
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
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


def get_logger(**context: object) -> FilteringBoundLogger:
    """Return a logger whose lines all carry `context`."""
    logger: FilteringBoundLogger = structlog.get_logger(**context)
    return logger


def log_request(
    logger: FilteringBoundLogger,
    *,
    method: str,
    path: str,
    status: int | None,
    duration_ns: int,
    user_agent: str,
    outcome: str = "complete",
) -> None:
    """
    Write the one line of a request that has ended.

    `path` is the route's template where there is one, never with a query. `status` is None when no
    answer was begun; `outcome` is `complete`, `left` (the client did), `cut` (the answer ended
    early) or `failed` (an exception of ours).
    """
    write = logger.warning if outcome == "failed" or (status or 0) >= 500 else logger.info
    write(
        "request",
        method=method,
        path=path,
        status=status,
        ms=round(duration_ns / 1e6, 1),
        agent=user_agent,
        **({} if outcome == "complete" else {"outcome": outcome}),
    )


class _Lines:
    """Writes whole lines; a reader that has gone away is no reason to fail a request."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            return

    debug = info = warning = error = critical = msg


def _mask(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Take out what must never be written, should a caller hand it in, and cut what is long."""
    for key, value in event.items():
        if key in _SECRET_KEYS:
            event[key] = "masked"
        elif isinstance(value, str) and len(value) > MAX_VALUE_CHARACTERS and key != "exception":
            event[key] = value[:MAX_VALUE_CHARACTERS] + "…"
    return event


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return json.dumps(_in_order(event), default=repr)


def _render_text(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """`time level event key=value …`; what is not plain is quoted and escaped as JSON is."""
    line = _in_order(event)
    exception = line.pop("exception", None)
    head = f"{line.pop('timestamp')} {line.pop('level'):<7} {_text(line.pop('event'), free=True)}"
    text = " ".join([head, *(f"{key}={_text(value)}" for key, value in line.items())])
    return f"{text}\n{exception}" if exception else text


def _in_order(event: Mapping[str, object]) -> dict[str, object]:
    first = ("timestamp", "level", "event")
    return {key: event.get(key, "") for key in first} | {
        key: value for key, value in event.items() if key not in first
    }


def _text(value: object, *, free: bool = False) -> str:
    """Keep one line one line: control characters and everything non-ASCII are escaped."""
    if value is None:
        return "-"
    text = str(value)
    if _PLAIN.fullmatch(text) or (free and text.isascii() and text.isprintable()):
        return text
    return json.dumps(text)
