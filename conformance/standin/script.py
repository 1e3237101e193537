"""Scripts: rules that make the next requests be answered otherwise, and answers given in bytes.

The structs are rules as the control interface reads them. The application carries rules out, and
this module plays answers.
"""

import asyncio
import base64
import binascii
import time
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

import msgspec

from conformance.standin.faults import FAULTS
from conformance.standin.stated import STATED
from conformance.standin.wire import JSON_TYPE, Reply, Request

OURS = {"content-length", "transfer-encoding", "connection", "keep-alive", "date", "etag"}
"""Headers that the stand-in makes itself, whatever an answer says."""


class Bytes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bytes that are no text."""

    base64: str


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An answer in bytes. Each chunk is one write, at milliseconds since the request came.

    After the last chunk the answer ends well, or the connection is closed, or nothing more comes.
    """

    chunks: tuple[tuple[int, str | Bytes], ...]
    status: int = 200
    headers: dict[str, str] | None = None
    end: Literal["finish", "close", "hang"] = "finish"

    def __post_init__(self) -> None:
        for _, data in self.chunks:
            if isinstance(data, Bytes):
                try:
                    base64.b64decode(data.base64, validate=True)
                except binascii.Error as error:
                    raise ValueError(f"a chunk is not base64: {error}") from error

    @property
    def parts(self) -> list[tuple[int, bytes]]:
        """The chunks as times and bytes."""
        return [
            (ms, base64.b64decode(data.base64) if isinstance(data, Bytes) else data.encode())
            for ms, data in self.chunks
        ]


class Match(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which requests a rule is for; what is not given matches any. `path` may hold ``*``."""

    path: str | None = None
    method: str | None = None
    model: str | None = None
    body_contains: str | None = None

    def fits(self, request: Request) -> bool:
        """Say whether the request is meant."""
        return (
            (self.path is None or fnmatchcase(request.path, self.path))
            and self.method in (None, request.method)
            and self.model in (None, request.model)
            and (self.body_contains is None or self.body_contains.encode() in request.raw)
        )


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rule. Of `fault`, `error` and `answer` at most one; without any the answer is ordinary.

    `nth` is the first matching request it is for, counted from 1; `times` how many in a row, by
    default all, with `nth` one. `after` is the number of proper events before a fault, an error or
    a hold. A request under `hold` waits until the name is released. `done` lets a stream end with
    its mark although an error stands in it. `pause_ms` is waited before each event but the first.
    """

    match: Match = Match()
    nth: int | None = None
    times: int | None = None
    fault: str | None = None
    error: str | None = None
    answer: Answer | None = None
    hold: str | None = None
    after: int | None = None
    delay_ms: int = 0
    pause_ms: int = 0
    done: bool = False

    def __post_init__(self) -> None:
        ways = [way for way in (self.fault, self.error, self.answer) if way is not None]
        if len(ways) > 1:
            raise ValueError("a rule has one of fault, error and answer, not several")
        if self.fault is not None and self.fault not in FAULTS:
            raise ValueError(f"unknown fault {self.fault!r}; known are {', '.join(FAULTS)}")
        if self.error is not None and self.error not in STATED:
            raise ValueError(f"unknown error {self.error!r}; known are {', '.join(STATED)}")
        if not ways and self.hold is None and not (self.delay_ms or self.pause_ms):
            raise ValueError(
                "a rule needs one of fault, error, answer, hold, delay_ms and pause_ms"
            )


@dataclass
class Entry:
    """A rule with how often it met a request, and how often it was carried out."""

    n: int
    rule: Rule
    met: int = 0
    used: int = 0

    def takes(self, request: Request) -> bool:
        """Say whether the rule is for this request, and count."""
        if not self.rule.match.fits(request):
            return False
        self.met += 1
        first = self.rule.nth or 1
        most = self.rule.times or (1 if self.rule.nth else None)
        if self.met < first or (most is not None and self.met >= first + most):
            return False
        self.used += 1
        return True


@dataclass
class Script:
    """All rules, in order; the first that takes a request is carried out."""

    entries: list[Entry] = field(default_factory=list)
    holds: dict[str, asyncio.Event] = field(default_factory=dict)
    released: dict[str | None, float] = field(default_factory=dict)
    """When a name was released last (monotonic); under None, when everything was."""

    def add(self, rules: list[Rule]) -> None:
        """Add rules after the existing ones."""
        for rule in rules:
            self.entries.append(Entry(len(self.entries) + 1, rule))

    def clear(self) -> None:
        """Forget all rules and let go of everything held."""
        self.entries.clear()
        self.release()

    def pick(self, request: Request) -> Entry | None:
        """Return the rule for a request. Every rule in front of it counts the request too."""
        return next((entry for entry in self.entries if entry.takes(request)), None)

    def hold(self, name: str, received: float) -> asyncio.Event:
        """
        Return the event that releases a request held under a name.

        It is set already if the name was released after the request arrived: a test sees a request
        in the log before the request has got as far as its hold.
        """
        if received <= max(self.released.get(name, 0.0), self.released.get(None, 0.0)):
            passed = asyncio.Event()
            passed.set()
            return passed
        return self.holds.setdefault(name, asyncio.Event())

    def release(self, name: str | None = None) -> list[str]:
        """Let go of what is held under a name, or of everything; return the names."""
        names = [name] if name is not None else list(self.holds)
        self.released[name] = time.monotonic()
        for one in names:
            if (held := self.holds.pop(one, None)) is not None:
                held.set()
        return names

    def describe(self) -> list[dict[str, Any]]:
        """Return the rules with their counts."""
        return [
            {"n": one.n, "met": one.met, "used": one.used, "rule": msgspec.to_builtins(one.rule)}
            for one in self.entries
        ]


async def play(request: Request, reply: Reply, answer: Answer) -> None:
    """Send an answer as given: its chunks as writes, each at its time."""
    parts = answer.parts
    headers = head_for(answer, reply)
    stream = any(value.startswith("text/event-stream") for _, value in headers)
    if answer.end == "finish" and not stream:
        headers.append(("Content-Length", str(sum(len(data) for _, data in parts))))
    for place, (ms, data) in enumerate(parts):
        await asyncio.sleep(max(0.0, request.received + ms / 1000 - time.monotonic()))
        if place == 0:
            await reply.start(answer.status, headers)
        await reply.write(data)
    if not parts:
        await reply.start(answer.status, headers)
    match answer.end:
        case "finish":
            await reply.write(b"", last=True)
        case "close":
            await reply.close()
        case "hang":
            await reply.hang()


def head_for(answer: Answer, reply: Reply) -> list[tuple[str, str]]:
    """Return an answer's headers; without any given, those that fit what it begins with."""
    if answer.headers is not None:
        return [(name, text) for name, text in answer.headers.items() if name.lower() not in OURS]
    start = answer.parts[0][1].lstrip() if answer.parts else b""
    is_stream = start.startswith((b"data:", b"event:"))
    kind = "text/event-stream" if is_stream else JSON_TYPE
    return [*reply.common_headers(), ("Content-Type", kind)]
