"""What was asked of the stand-in, in order: every request with its times and how it ended.

Times are milliseconds since the stand-in started. Waiting for an event is here too, so that a test
need not sleep.
"""

import asyncio
import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

HOUR_S = 3600.0
MOST = 5000
"""How many exchanges are kept; those before are forgotten."""


@dataclass(eq=False)
class Exchange:
    """One request and what became of it.

    `left_ms` is when the caller left before the answer ended, `closed_ms` when the stand-in itself
    closed the connection as a fault. Neither is set when the answer ended well.
    """

    n: int
    log: "Log"
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    raw: bytes = b""
    received_ms: float = 0.0
    started_ms: float | None = None
    ended_ms: float | None = None
    left_ms: float | None = None
    closed_ms: float | None = None
    status: int | None = None
    fault: str | None = None
    rule: int | None = None

    @property
    def finished(self) -> bool:
        """Whether the whole answer was sent."""
        return self.ended_ms is not None

    @property
    def left(self) -> bool:
        """Whether the caller left before the answer ended."""
        return self.left_ms is not None

    @property
    def body(self) -> Any:
        """The body as JSON, or as text when it is none."""
        if not self.raw:
            return None
        try:
            return msgspec.json.decode(self.raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    def note_start(self, status: int) -> None:
        """Note that the head of the answer is sent."""
        self.status, self.started_ms = status, self.log.now_ms()
        self.log.notify()

    def note_finished(self) -> None:
        """Note that the answer is complete."""
        self.ended_ms = self.log.now_ms()
        self.log.notify()

    def note_left(self) -> None:
        """Note that the caller left early."""
        self.left_ms = self.log.now_ms()
        self.log.notify()

    def note_closed(self) -> None:
        """Note that the stand-in closed the connection by itself."""
        self.closed_ms = self.log.now_ms()
        self.log.notify()

    def describe(self) -> dict[str, Any]:
        """Return the exchange as the control interface shows it."""
        shown: dict[str, Any] = {
            name: getattr(self, name)
            for name in (
                "n", "method", "path", "query", "headers", "body", "received_ms", "started_ms",
                "ended_ms", "left_ms", "closed_ms", "finished", "left", "status", "fault", "rule",
            )
        }  # fmt: skip
        if self.raw and shown["body"] is None:
            shown["body_base64"] = base64.b64encode(self.raw).decode()
        return shown


@dataclass(eq=False)
class Log:
    """The exchanges since the start or the last reset."""

    exchanges: list[Exchange] = field(default_factory=list)
    count: int = 0
    started: float = field(default_factory=time.monotonic)
    waiters: set[asyncio.Event] = field(default_factory=set)

    def now_ms(self) -> float:
        """Return milliseconds since the start."""
        return round((time.monotonic() - self.started) * 1000, 3)

    def open(
        self, method: str, path: str, query: dict[str, str], headers: Mapping[str, str]
    ) -> Exchange:
        """Note that a request began."""
        self.count += 1
        exchange = Exchange(
            self.count, self, method, path, query, dict(headers), received_ms=self.now_ms()
        )
        self.exchanges.append(exchange)
        del self.exchanges[:-MOST]
        self.notify()
        return exchange

    def clear(self) -> None:
        """Forget all exchanges."""
        self.exchanges.clear()
        self.count = 0
        self.notify()

    def notify(self) -> None:
        """Wake everyone who waits for something to happen."""
        for waiter in self.waiters:
            waiter.set()

    def select(self, path: str | None = None, method: str | None = None) -> list[Exchange]:
        """Return the exchanges with a path and a method, all when neither is given."""
        return [
            one
            for one in self.exchanges
            if path in (None, one.path) and method in (None, one.method)
        ]

    async def wait_until(self, holds: Callable[[], bool], timeout_s: float = 5.0) -> bool:
        """Wait until a condition on the log holds; return whether it does."""
        waiter = asyncio.Event()
        self.waiters.add(waiter)
        deadline = time.monotonic() + min(timeout_s, HOUR_S)
        try:
            while not holds():
                waiter.clear()
                try:
                    await asyncio.wait_for(waiter.wait(), deadline - time.monotonic())
                except TimeoutError:
                    return holds()
            return True
        finally:
            self.waiters.discard(waiter)
