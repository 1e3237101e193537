"""
The log: lines on standard error, as text or as JSON.

This module configures structlog, formats lines, and writes the one line of each request. `lines`
has the way of a line to standard error. A line
never contains prompts, answers, headers other than the user agent, query strings, tokens, or the
local variables of a traceback. The text of an exception can quote a request, so it is written only
if `log.bodies` allows it.
"""

import atexit
import json
import logging
import math
import re
import sys
import threading
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from time import perf_counter_ns
from types import TracebackType
from typing import TextIO

import structlog
from structlog.typing import EventDict, ExcInfo, FilteringBoundLogger, Processor, WrappedLogger

from ..settings.schema import LogSettings
from .lines import Lines
from .record import Record, current_id

MAX_VALUE_CHARACTERS = 300
"""Characters of a text from a client (a path, a user agent) that are written on a line."""

MAX_CAUSES = 10
"""Exceptions of a chain that are written, the last one first."""

FLUSH_S = 2.0
"""Seconds that the end of the process waits for the reader of standard error."""

_SECRET_KEYS = frozenset(
    {"api_key", "authorization", "body", "content", "messages", "prompt", "token", "x_api_key"}
)
_WITHOUT_WARNING = tuple(map(structlog.make_filtering_bound_logger, ("error", "critical")))
_WITHOUT_INFO = (structlog.make_filtering_bound_logger("warning"), *_WITHOUT_WARNING)
_FIRST = ("timestamp", "level", "event")
"""The fields with which every line begins."""
_NUMBERS = frozenset((int, float))
_PLAIN = re.compile(r"[A-Za-z0-9_./:@+\-]+")


def configure(settings: LogSettings, stream: TextIO | None = None) -> None:
    """
    Write every line, the gateway's and the libraries', to `stream` (standard error by default).
    No line ever waits for the stream's reader.

    Libraries log from level warning on: their lower levels name upstream addresses for each
    request, which the gateway itself logs.
    """
    render: Processor = _render_json if settings.format == "json" else _render_text
    lines = _Journal.open(stream or sys.stderr, render)
    shared: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(
            _format_exception if settings.bodies else _format_without_text
        ),
        _add_request_id,
        _mask,
    ]
    _Journal.processors = [*shared, render]
    structlog.configure(
        processors=_Journal.processors,
        wrapper_class=structlog.make_filtering_bound_logger(settings.level),
        logger_factory=lambda *_: _Writer(lines),
        cache_logger_on_first_use=False,
    )
    handler = _Handler(lines)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
            foreign_pre_chain=shared,
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def say(text: str, level: str = "info") -> None:
    """Write a line that is wanted whatever the level is: as it is, or as JSON in a JSON log."""
    lines = _Journal.lines
    if lines is None:
        # Nothing is set up: a caller that is no command, such as a test.
        lines = _Journal.open(sys.stderr, _render_text)
    is_json = _Journal.render is _render_json
    lines.write(_line_of(level, text) if is_json else text)


def lost_lines() -> int:
    """Return the number of log lines that were lost since the start of the process."""
    lines = _Journal.lines
    return _Journal.lost_before + (lines.lost if lines is not None else 0)


def flush() -> None:
    """Wait until all lines are written, for a short time: nobody may read them."""
    if _Journal.lines is not None:
        _Journal.lines.flush(FLUSH_S)


def take_over() -> None:
    """Write Python's warnings and uncaught exceptions as lines of the log, too."""
    logging.captureWarnings(True)
    log = get_logger()

    def note(
        kind: type[BaseException], problem: BaseException, trace: TracebackType | None
    ) -> None:
        if issubclass(kind, KeyboardInterrupt | SystemExit):
            return
        log.error("uncaught exception", exc_info=(kind, problem, trace))

    def note_in_thread(found: threading.ExceptHookArgs) -> None:
        if found.exc_value is not None:
            note(found.exc_type, found.exc_value, found.exc_traceback)

    def note_unraisable(found: "sys.UnraisableHookArgs") -> None:
        if found.exc_value is not None:
            note(found.exc_type, found.exc_value, found.exc_traceback)

    sys.excepthook = note
    threading.excepthook = note_in_thread
    sys.unraisablehook = note_unraisable


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
    early) or `failed` (an exception in the gateway). `took_s` is the time from the head of the
    request to now, `first_s` the time to the first bytes of the body of a streamed answer, and
    `queued_s` how long it waited for a slot. `logger` has no context of its own.
    """
    is_bad = outcome == "failed" or (status or 0) >= 500
    config = structlog.get_config()
    if config["wrapper_class"] in (_WITHOUT_WARNING if is_bad else _WITHOUT_INFO):
        # A logger would find out by itself, but is made for each line.
        return
    started_ns = record.started_ns
    event: EventDict = {
        "method": method,
        "path": path if len(path) <= MAX_VALUE_CHARACTERS else _cut(path),
        "status": status,
        "took_s": round((perf_counter_ns() - started_ns) / 1e9, 6),
        "agent": user_agent if len(user_agent) <= MAX_VALUE_CHARACTERS else _cut(user_agent),
    }
    if record.client is not None:
        event["client"] = record.client
    if record.key is not None:
        event["key"] = record.key
    if record.is_stream and record.first_ns is not None:
        event["first_s"] = round((record.first_ns - started_ns) / 1e9, 6)
    if record.queued_ns is not None:
        event["queued_s"] = round(record.queued_ns / 1e9, 6)
    if (model := record.model) is not None:
        event["model"] = model if len(model) <= MAX_VALUE_CHARACTERS else _cut(model)
    if record.host is not None:
        event["host"] = record.host
    if record.upstream is not None:
        event["upstream"] = record.upstream
        if record.upstream_status is not None:
            event["upstream_status"] = record.upstream_status
    if record.tokens_in is not None:
        event["tokens_in"] = record.tokens_in
    if record.tokens_out is not None:
        event["tokens_out"] = record.tokens_out
    if record.retries:
        event["retries"] = record.retries
    if record.fault is not None:
        event["fault"] = record.fault
    if outcome != "complete":
        event["outcome"] = outcome
    if config["processors"] is _Journal.processors:
        _Journal.write(event, "warning" if is_bad else "info", "request")
    else:
        # Somebody else wants to see the lines, such as a test.
        (logger.warning if is_bad else logger.info)("request", **event)


class _Journal:
    """Where lines go and how they look, for the whole process."""

    lines: Lines | None = None
    render: Processor | None = None
    processors: Sequence[Processor] = ()
    """What structlog does with each event, as `configure` has set it up."""
    lost_before = 0
    """Lines that were lost by an earlier set-up."""

    @classmethod
    def open(cls, stream: TextIO | None, render: Processor) -> Lines:
        """Replace the set-up, and return where lines go."""
        if cls.lines is None:
            atexit.register(flush)
        else:
            cls.lines.flush(FLUSH_S)
            cls.lines.close()
            cls.lost_before += cls.lines.lost
        cls.render = render
        cls.lines = Lines(stream, _describe_loss)
        return cls.lines

    @classmethod
    def write(cls, event: EventDict, level: str, text: str) -> None:
        """
        Write an event that comes for every request, as structlog would with `processors`.

        It has no exception, no field that is masked, and no long value. structlog takes twice as
        many steps.
        """
        assert cls.lines is not None
        assert cls.render is not None
        whole: EventDict = {"timestamp": _now(), "level": level, "event": text, **event}
        if (identifier := current_id()) is not None:
            whole["id"] = identifier
        cls.lines.write(str(cls.render(None, "", whole)))


class _Writer:
    """structlog's logger: writes whole lines."""

    def __init__(self, lines: Lines) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = self.msg = lines.write


class _Handler(logging.Handler):
    """logging's handler: writes whole lines, and says nothing elsewhere when one fails."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        try:
            line = self.format(record)
        except Exception as problem:
            line = _line_of("error", "a log line cannot be written", reason=repr(problem))
        self._lines.write(line)


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
            event[key] = _cut(value)
    return event


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    fields = {**dict.fromkeys(_FIRST, ""), **event}
    try:
        return json.dumps(fields, default=repr, allow_nan=False)
    except ValueError:
        # JSON has no infinity, which is what a setting without a limit can be.
        finite = {name: _finite(value) for name, value in fields.items()}
        return json.dumps(finite, default=repr)


def _finite(value: object) -> object:
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def _line_of(level: str, text: str, **fields: object) -> str:
    """Return a line that comes from no logger, in the form of the others."""
    event: EventDict = {"timestamp": _now(), "level": level, "event": text, **fields}
    return str((_Journal.render or _render_text)(None, "", event))


def _describe_loss(number: int) -> str:
    return _line_of("warning", "log lines were lost: nobody read them", lines=number)


def _render_text(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    """`time level event key=value …`; values that are not plain are written as in JSON."""
    exception = event.pop("exception", None)
    time, level, what = event.pop("timestamp", ""), event.pop("level", ""), event.pop("event", "")
    parts = [f"{time} {level:<7} {_text(what, free=True)}"]
    for key, value in event.items():
        kind = type(value)
        is_plain = _PLAIN.fullmatch(value) if kind is str else kind in _NUMBERS
        parts.append(f"{key}={value if is_plain else _text(value)}")
    text = " ".join(parts)
    return f"{text}\n{exception}" if exception else text


def _text(value: object, *, free: bool = False) -> str:
    """Escape control characters and all non-ASCII, so that a line stays one line."""
    if value is None:
        return "-"
    text = str(value)
    if _PLAIN.fullmatch(text) or (free and text.isascii() and text.isprintable()):
        return text
    return json.dumps(text)


def _now() -> str:
    """Return the time of day as structlog writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _cut(value: str) -> str:
    return value[:MAX_VALUE_CHARACTERS] + "…"
