"""
What can go wrong upstream, and reading the errors that LM Studio states.

Pure: the exception types, the closed list of faults, and the readers of error bodies live here;
nothing that does I/O, and no choice of a status or a text for the client.
"""

from __future__ import annotations

import re
from typing import Literal

GOING_DOWN = "the gateway is shutting down"
"""The text of a refusal while the process shuts down."""

INTERNAL = "internal error of the gateway; its log says more"
"""The text that a client gets for an exception that nothing else names."""

FaultId = Literal[
    "connect",
    "dns",
    "tls",
    "pool",
    "write",
    "first_byte_timeout",
    "silence_timeout",
    "closed_before_headers",
    "closed_mid_stream",
    "bad_http",
    "not_json",
    "not_sse",
    "upstream_error_200",
    "unknown_endpoint",
    "empty",
    "wrong_model",
    "bad_tool_arguments",
]

MAX_MESSAGE_CHARS = 4096
"""Longest message kept of a stated error; LM Studio may list every model it has in one."""

_ELLIPSIS = "…"
_SURROGATE = re.compile("[\ud800-\udfff]")


_CODE = re.compile(r"[A-Za-z0-9_\-]{1,64}")
_IN_OUR_WORDS = frozenset[str | None](
    (
        "connect",
        "dns",
        "tls",
        "pool",
        "first_byte_timeout",
        "silence_timeout",
        "closed_before_headers",
        "closed_mid_stream",
        "empty",
        "wrong_model",
    )
)
"""The faults whose messages quote nothing of what was sent or received."""


class UpstreamFailure(Exception):
    """
    What went wrong upstream: a fault of transport or protocol, or an error LM Studio stated.

    `fault` is set for faults.
    `status` is the HTTP status when LM Studio answered with an error; it is 200 for an error
    inside a stream or in a 200 body, which also has a `fault`.
    `message` holds LM Studio's own words, or our detail of the fault.
    `code` is `error.code`, or else `error.type`, when given.
    `repeatable` is True only when it is certain that the request was not executed, or when
    executing it twice is harmless.
    """

    fault: FaultId | None
    status: int | None
    message: str
    code: str | None
    repeatable: bool

    def __init__(
        self,
        message: str,
        *,
        fault: FaultId | None = None,
        status: int | None = None,
        code: str | None = None,
        repeatable: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.fault = fault
        self.status = status
        self.code = code
        self.repeatable = repeatable

    def loggable(self, *, bodies: bool) -> str:
        """Return the message as it may be logged: LM Studio's words may quote a request."""
        if bodies or (self.status is None and self.fault in _IN_OUR_WORDS):
            return self.message
        return f"code {self.code}" if _CODE.fullmatch(self.code or "") else "not shown"

    def __repr__(self) -> str:
        parts = [repr(self.message)]
        for name in ("fault", "status", "code"):
            if (value := getattr(self, name)) is not None:
                parts.append(f"{name}={value!r}")
        if self.repeatable:
            parts.append("repeatable=True")
        return f"UpstreamFailure({', '.join(parts)})"


class StartProblem(Exception):
    """The process can't start: one sentence that says why, and the next step."""


class StoreFailure(Exception):
    """The store can't be read or written now; the text says why."""


class ClientGone(Exception):
    """The client left before its request was whole."""


class Refusal(Exception):
    """
    An answer to the client that is an error: its status, Ollama's text, extra headers.

    A late one is what Ollama finds only once its stream is set up; its content type says so.
    """

    def __init__(
        self,
        status: int,
        error: str,
        headers: tuple[tuple[str, str], ...] = (),
        *,
        is_late: bool = False,
    ) -> None:
        super().__init__(status, error)
        self.status = status
        self.error = error
        self.headers = headers
        self.is_late = is_late


def shorten(text: str, limit: int = MAX_MESSAGE_CHARS) -> str:
    """Cut a text to `limit` characters, without outer blanks and without lone surrogates."""
    text = _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text).strip()
    return text if len(text) <= limit else text[: limit - 1] + _ELLIPSIS
