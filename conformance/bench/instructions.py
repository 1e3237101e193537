"""
How many instructions a server takes for a request of each kind, counted by valgrind.

CPU time differs from run to run by a tenth and more, with what else the machine does and with how
cold its caches are. Instructions in user mode do not, if the server is given the same bytes in the
same reads: one client asks, each token is sent when the one before it has been read, hashes are not
random, and models are not listed anew. What the server does without requests is taken off, second
by second. What the kernel does is not counted.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from conformance.bench import servers
from conformance.bench.dialect import Dialect, Task, request
from conformance.bench.servers import StartProblem, Target
from conformance.bench.standin import Plan

TOOLS = ("valgrind", "callgrind_control")
START_S = 180.0
"""A server under valgrind starts some twenty times as slowly, and more on a busy machine."""
ONE, MANY = "stream of 1 token", "stream of 64 tokens"
_MANY_TOKENS = 64
_STEP_S = 0.0005
_MOST_IDLE = 60
_REST_S = 0.5
_PATIENCE_S = 300.0
_STEADY = {"PYTHONHASHSEED": "0", "OLGATE_MODELS_CATALOGUE_TTL_S": "100000"}
_THREAD = re.compile(r"^ +Th \d+ +([\d,]+)", re.MULTILINE)


class Row(NamedTuple):
    """
    A kind of request, the tokens of its answer, and how many requests are counted together.

    The count is the median of several tries, so that a run of the garbage collector is not in it.
    """

    task: Task
    tokens: int
    times: int
    tries: int = 3


ROWS = {
    "/api/tags": Row("tags", 0, 40),
    "/v1/models": Row("models", 0, 40),
    "/api/show": Row("show", 0, 40),
    ONE: Row("stream", 1, 20, tries=5),
    MANY: Row("stream", _MANY_TOKENS, 4),
    "one-shot chat of 200 tokens": Row("chat", 200, 2),
    "embed 1 text": Row("embed1", 0, 20, tries=5),
    "embed 256 texts": Row("embed256", 0, 1),
}
_FIRST = Row("models", 0, 1)
"""What every server answers."""


class Counted(msgspec.Struct, frozen=True):
    """Instructions in user mode of one request, by the name of its row in `ROWS`."""

    target: str
    each: dict[str, float]

    def with_token(self) -> dict[str, float]:
        """Return them and those of one more token of a stream, if streams were counted."""
        if not {ONE, MANY} <= set(self.each):
            return self.each
        token = (self.each[MANY] - self.each[ONE]) / (_MANY_TOKENS - 1)
        return {**self.each, "one more token of a stream": token}


def missing() -> list[str]:
    """Return the programs that counting needs and that are not installed."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def count(name: str, dialect: Dialect, arguments: Callable[[str], list[str]]) -> Counted:
    """
    Start a server as `arguments` say for a stand-in's URL, under valgrind, and count all rows.

    Raises StartProblem.
    """
    with under_valgrind(name, dialect, arguments) as counter:
        rows = {
            label: counter.of(row)
            for label, row in ROWS.items()
            if request(dialect, row.task) is not None
        }
    return Counted(name, rows)


@contextlib.contextmanager
def under_valgrind(
    name: str, dialect: Dialect, arguments: Callable[[str], list[str]]
) -> Iterator[Counter]:
    """Run a stand-in, and in front of it a server that counts. Raises StartProblem."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        standin = stack.enter_context(
            servers.started("direct", "openai", "-m", "conformance.bench.standin")
        )
        start = partial(
            servers.started, state=folder, compiled=folder / "compiled", variables=_STEADY
        )
        words = arguments(standin.url)
        # Once without valgrind, under which compiling all modules takes a minute.
        with start(name, dialect, *words):
            pass
        valgrind = (
            *("valgrind", "--tool=callgrind", "--instr-atstart=no"),
            *(f"--callgrind-out-file={folder}/counts.%p", sys.executable),
        )
        target = stack.enter_context(
            start(name, dialect, *words, interpreter=valgrind, start_s=START_S)
        )
        yield Counter(standin, target)


class Counter:
    """What a server under valgrind has executed since its start."""

    def __init__(self, standin: Target, target: Target) -> None:
        """Switch the counting on, and see what the server does when nobody asks."""
        self._standin = standin
        self._target = target
        self._idle_per_s = 0.0
        _control(target, "--instr=on")
        # Its start is not over when it listens, but when it answers.
        with self._asking(_FIRST) as ask:
            ask()
        self._idle_per_s = self._at_rest()

    def of(self, row: Row) -> float:
        """Return the instructions of one request. Raises StartProblem when one fails."""
        plan = Plan(tokens=row.tokens, interval_s=_STEP_S, in_steps=True)
        servers.set_plan(self._standin, plan)
        with self._asking(row) as ask:
            # What is done once, on other threads, too, and Python's own specialising.
            ask()
            self._settle()
            tries = [self._spent(ask) for _ in range(row.tries)]
        return statistics.median(tries) / row.times

    @contextlib.contextmanager
    def _asking(self, row: Row) -> Iterator[Callable[[], None]]:
        """Open a connection; what is yielded makes the requests of a row on it."""
        sent = request(self._target.dialect, row.task)
        assert sent is not None, "only what a dialect has is counted"
        place = urlsplit(self._target.url)
        address = (place.hostname or "", place.port or 80)
        with socket.create_connection(address, _PATIENCE_S) as line:
            yield partial(self._ask, line, sent, row.times)

    def _at_rest(self) -> float:
        """Return the instructions of a second at rest, which comes some time after the start."""
        found: list[float] = []
        for _ in range(_MOST_IDLE):
            found.append(self._spent(partial(time.sleep, 1.0)))
            last = found[-3:]
            if len(last) == 3 and max(last) <= 1.2 * min(last):
                return statistics.median(last)
        raise StartProblem(f"{self._target.name} does not come to rest under valgrind: {found}")

    def _settle(self) -> None:
        """Wait until the server does no more than at rest. Raises StartProblem if it never does."""
        for _ in range(_MOST_IDLE):
            # What it does at rest is taken off, and varies.
            if abs(self._spent(partial(time.sleep, _REST_S))) <= self._idle_per_s * _REST_S:
                return
        raise StartProblem(f"{self._target.name} goes on working under valgrind after a request")

    def _spent(self, work: Callable[[], None]) -> float:
        before, began = self._total(), time.monotonic()
        work()
        after = self._total()
        return after - before - self._idle_per_s * (time.monotonic() - began)

    def _total(self) -> int:
        return total_of(_control(self._target, "-e", "Ir"))

    def _ask(self, line: socket.socket, sent: bytes, times: int) -> None:
        for _ in range(times):
            line.sendall(sent)
            answer = http.client.HTTPResponse(line)
            answer.begin()
            body = answer.read()
            if answer.status != 200:
                raise StartProblem(f"{self._target.name}: {answer.status} {body[:200]!r}")


def total_of(said: str) -> int:
    """
    Return the instructions of all threads, as `callgrind_control -e` said them.

    Raises StartProblem when it said none.

    >>> total_of("  Totals:          Ir \\n   Th 1  1,234,567 \\n   Th 2        89 \\n")
    1234656
    """
    found = [int(number.replace(",", "")) for number in _THREAD.findall(said)]
    if not found:
        raise StartProblem(f"callgrind_control told no instructions: {said.strip()[:200]}")
    return sum(found)


def _control(target: Target, *order: str) -> str:
    """Return what valgrind answers. Raises StartProblem when it can't be reached."""
    done = subprocess.run(
        ["callgrind_control", *order, str(target.pid)], capture_output=True, text=True
    )
    if done.returncode:
        raise StartProblem(f"valgrind does not answer for {target.name}: {done.stderr.strip()}")
    return done.stdout
