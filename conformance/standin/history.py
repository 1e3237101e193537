"""
A history of what happened on a stand-in, for a checker that reads it afterwards.

Each event is a line of JSON, written at once, so that a killed stand-in loses none. `conformance.
cluster` writes what clients see into files of the same form.
"""

import os
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path

import msgspec

CALLER = "x-olgate-via"
"""The header by which gateways name themselves. Who sends none, such as a test, loads by hand."""
MARK = re.compile(rb"\[#([\w.-]+)\]")
"""What a client writes into a prompt, so that its request is known again."""

caller: ContextVar[str] = ContextVar("caller", default="")
"""The name of the gateway whose request is answered now."""


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    Something that happened: `at` is in seconds of the machine's monotonic clock.

    `part` is the host, gateway or client where it happened, `by` the gateway that asked for it,
    `ask` the mark of a request, and `how` its outcome.
    """

    at: float
    what: str
    part: str = ""
    by: str = ""
    model: str = ""
    instance: str = ""
    ask: str = ""
    how: str = ""
    names: tuple[str, ...] = ()


class History:
    """Writes events to a file; without a file, it writes none."""

    def __init__(self, path: Path | None, part: str = "") -> None:
        self._part = part
        self._file = None if path is None else os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.note("started")

    def note(
        self,
        what: str,
        *,
        by: str | None = None,
        part: str | None = None,
        model: str = "",
        instance: str = "",
        ask: str = "",
        how: str = "",
        names: tuple[str, ...] = (),
    ) -> None:
        """Write an event that happens now, by the gateway whose request is answered now."""
        if self._file is None:
            return
        event = Event(
            at=time.monotonic(),
            what=what,
            part=self._part if part is None else part,
            by=caller.get() if by is None else by,
            model=model,
            instance=instance,
            ask=ask,
            how=how,
            names=names,
        )
        os.write(self._file, msgspec.json.encode(event) + b"\n")

    @asynccontextmanager
    async def generation(self, instance: str, raw: bytes) -> AsyncIterator[None]:
        """Note the beginning and the end of an answer of an instance to a request."""
        found = MARK.search(raw)
        ask = found[1].decode() if found else ""
        self.note("begun", instance=instance, ask=ask)
        how = "left"
        try:
            yield
            how = "finished"
        except Exception:
            how = "failed"
            raise
        finally:
            self.note("ended", instance=instance, ask=ask, how=how)


def read_history(*paths: Path) -> list[Event]:
    """Return the events of several files in the order in which they happened."""
    lines = [line for path in paths for line in path.read_bytes().splitlines()]
    return sorted(
        (msgspec.json.decode(line, type=Event) for line in lines), key=lambda event: event.at
    )
