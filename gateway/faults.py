"""
The exceptions that cross the gateway's rooms, and the closed list of upstream faults.

    Exception
    ├── UpstreamFailure       a call of LM Studio failed: a fault, or an error that LM Studio sent
    ├── Refusal               an error answer for the client
    ├── OtherHost             a request goes on at another host, which has a slot for it
    ├── ClientGone            the client left before its request was complete
    ├── StoreFailure          the store cannot be read or written
    ├── StartProblem          the process cannot start
    │   ├── ListenProblem     the address cannot be bound (server.listen)
    │   ├── StoreProblem      the store cannot be opened (store.sqlite_file)
    │   ├── StoreUrlProblem   the store's address cannot be used (store.redis_client)
    │   ├── TlsProblem        the certificate for clients cannot be used (server.tls)
    │   ├── TrustProblem      the file of trusted certificates cannot be used (upstream.trust)
    │   └── WorkersProblem    several processes cannot serve one port (server.workers)
    ├── SettingsProblem       a setting cannot be used (settings.sources)
    ├── TransportFault        a connection failed (upstream.body); becomes an UpstreamFailure
    ├── EventTooLong          an event exceeds its limit (upstream.sse); becomes an UpstreamFailure
    ├── TooMuchToKeep         derived models exceed their limits (catalogue.aliases)
    ├── NoAnswer              no gateway answers a command (cli.own_api)
    ├── CannotEdit            a settings file's text cannot be changed (settings.key_tables)
    ├── NotExplained          what was given cannot be explained (explain.problems)
    ├── CannotInstall         a service cannot be installed (cli.service.manager)
    ├── Broken                a text is not JSON as Go reads it (wire.go_syntax)
    └── ValueError
        ├── IrreversibleName  a name contains only a digest of its key (names.keys)
        ├── NotJson           an answer's part is not JSON (wire.salvage)
        ├── NotPacked         a body is not packed as it says (wire.encodings)
        ├── Ragged            vectors have different lengths (wire.float32)
        ├── TooLong           an unpacked body exceeds its limit (wire.encodings)
        └── UnknownEncoding   a body has another content encoding (wire.encodings)
    DatabaseError
    └── NewerStore            the store was written by a newer version (store.sqlite)

This module does no I/O, and chooses no status or text for the client.
"""

from __future__ import annotations

import copy
import re
from typing import Literal, TypeVar

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
    "wrong_server",
]

_Problem = TypeVar("_Problem", bound=Exception)

MAX_MESSAGE_CHARS = 4096
"""Longest message that is kept of a stated error; LM Studio can list all its models in one."""

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
        "wrong_server",
    )
)
"""The faults whose messages quote neither the request nor the answer."""


class UpstreamFailure(Exception):
    """
    An upstream call failed: a fault of transport or protocol, or an error that LM Studio sent.

    `fault` is set for faults. `status` is the HTTP status if LM Studio answered with an error. It
    is 200 for an error inside a stream or in a 200 body, which also has a `fault`. `message` is LM
    Studio's text, or the gateway's description of the fault. `code` is `error.code`, or else
    `error.type`, if LM Studio sent one. `is_stated` is False if the body of an error status is not
    JSON, as LM Studio's always is. `repeatable` is True only if it is certain that the request was
    not executed, or that executing it twice is harmless.
    """

    fault: FaultId | None
    status: int | None
    message: str
    code: str | None
    is_stated: bool
    repeatable: bool

    def __init__(
        self,
        message: str,
        *,
        fault: FaultId | None = None,
        status: int | None = None,
        code: str | None = None,
        repeatable: bool = False,
        is_stated: bool = True,
    ) -> None:
        super().__init__(message)
        self.is_stated = is_stated
        self.message = message
        self.fault = fault
        self.status = status
        self.code = code
        self.repeatable = repeatable

    def loggable(self, *, bodies: bool) -> str:
        """Return the message for the log: LM Studio's text can quote a request."""
        if bodies or (self.status is None and self.fault in _IN_OUR_WORDS):
            return self.message
        return (
            f"code {self.code}"
            if _CODE.fullmatch(self.code or "")
            else "hidden; log.bodies shows it"
        )

    def __repr__(self) -> str:
        parts = [repr(self.message)]
        for name in ("fault", "status", "code"):
            if (value := getattr(self, name)) is not None:
                parts.append(f"{name}={value!r}")
        if self.repeatable:
            parts.append("repeatable=True")
        return f"UpstreamFailure({', '.join(parts)})"


class StartProblem(Exception):
    """The process cannot start; one sentence gives the reason and the next step."""


class StoreFailure(Exception):
    """The store can't be read or written now; the text says why."""


class ClientGone(Exception):
    """The client left before its request was complete."""


class OtherHost(Exception):
    """A request waited for a slot, and has got one of another host, at which it begins anew."""


class Refusal(Exception):
    """
    An error answer to the client: its status, its text, extra headers.

    A late one is an error that Ollama finds only after its stream is set up; its content type shows
    it.
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


def afresh(problem: _Problem) -> _Problem:
    """
    Return a copy of an exception that is stored somewhere, to be raised in its place.

    A raised exception holds the frames that it passes. If one of them reaches the place where the
    exception is stored, the request with its body stays in memory until the cyclic collector runs.
    """
    return copy.copy(problem)


def shorten(text: str, limit: int = MAX_MESSAGE_CHARS) -> str:
    """Cut a text to `limit` characters, without outer blanks and lone surrogates."""
    text = _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text).strip()
    return text if len(text) <= limit else text[: limit - 1] + _ELLIPSIS
