"""
Several processes of one gateway on its ports: they share the listening sockets, and a supervisor
keeps them.

A worker is a fork of the supervisor, which has no threads and no event loop. It serves like a
process of its own; what workers share is in the store. The supervisor starts a worker again that
ended, passes signals on, and ends with the last worker. A worker whose supervisor is gone drains
and ends, too.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType
from typing import Final, NamedTuple, TypeAlias

from ..faults import StartProblem
from .meeting import Meeting

QUICK_S: Final = 5.0
"""A worker that ended sooner after its start is not started again at once."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 30.0
"""Pauses in seconds before a worker that ends quickly is started again; each is twice as long."""
TICK_S: Final = 1.0
"""Seconds between two looks at the workers, should a signal of one get lost."""
FAILED: Final = 1
"""The exit code of a process that could not start: another try would end like it."""


class Worker(NamedTuple):
    """
    What one of several processes knows of itself: its number from 0, and its supervisor.

    By `meeting` it finds the others.
    """

    number: int
    supervisor: int
    meeting: Meeting

    def ask_for_reload(self) -> None:
        """Have the supervisor reload all workers, this one included, unless it is gone."""
        if sys.platform != "win32" and os.getppid() == self.supervisor:
            os.kill(self.supervisor, signal.SIGHUP)


Work: TypeAlias = Callable[[Worker], int]
"""Serves as a worker until a signal ends it, and returns the exit code."""


class WorkersProblem(StartProblem):
    """Several processes can't be had here; the text says why, and what to do instead."""


def check_workers(count: int, store: str | None) -> None:
    """
    Raise WorkersProblem if `count` workers can't run: on this system, or with such a store.

    `store` names the file or the server that they share, None is memory.
    """
    if count == 1:
        return
    if not hasattr(os, "fork"):
        raise WorkersProblem(
            "--workers needs a system on which processes share a listening socket by fork, which "
            "Windows has not: run one gateway for each port, with a load balancer in front"
        )
    if store is None:
        raise WorkersProblem(
            "--workers needs a store that the processes share, and this one is in memory: set "
            "store.path (OLGATE_STORE_PATH) to a file, or store.url (OLGATE_STORE_URL) to a Redis"
        )


class Supervisor:
    """Keeps a number of workers until a signal ends them."""

    def __init__(self, meeting: Meeting, listeners: Sequence[socket.socket], work: Work) -> None:
        """
        Start nothing yet: as many workers as `meeting` has ports.

        `listeners` are open in the supervisor, so no connection is lost.
        """
        self._count = count = len(meeting.ports)
        self._listeners = listeners
        self._work = work
        self._meeting = meeting
        self._numbers: dict[int, int] = {}
        """The number of each worker that runs, by its process id."""
        self._started: dict[int, float] = {}
        self._pauses = [FIRST_PAUSE_S] * count
        self._due: dict[int, float] = {}
        """When each worker that ended is started again; monotonic."""
        self._ends = 0
        self._must_reload = False
        self._has_failed = False
        self._has_restarted = False
        # A worker reads the end of this pipe when the supervisor is gone, however it ended.
        self._life, self._hold = os.pipe()
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._woken, False)

    def run(self) -> int:
        """Run the workers until a signal, and return the exit code."""
        for ending in (signal.SIGTERM, signal.SIGINT):
            signal.signal(ending, self._on_end)
        signal.signal(signal.SIGHUP, self._on_hangup)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        for number in range(self._count):
            self._start(number)
        passed_on = 0
        while self._numbers or (self._due and not self._ends):
            self._reap()
            if self._must_reload:
                self._must_reload = False
                self._tell(signal.SIGHUP)
            while passed_on < min(self._ends, 2):
                passed_on += 1
                self._tell(signal.SIGTERM)
            if not self._ends:
                self._start_due()
            if self._numbers or self._due:
                self._wait()
        return FAILED if self._has_failed else 0

    def _start(self, number: int) -> None:
        sys.stderr.flush()
        supervisor = os.getpid()
        pid = os.fork()
        if pid == 0:
            raise SystemExit(self._be_worker(Worker(number, supervisor, self._meeting)))
        self._numbers[pid] = number
        self._started[pid] = time.monotonic()

    def _be_worker(self, worker: Worker) -> int:
        """Serve in the process that was forked off just now, and return its exit code."""
        signal.set_wakeup_fd(-1)
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, lambda *_: os._exit(0))
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # A terminal sends Ctrl-C to a whole group, and the supervisor passes it on, too.
        os.setpgid(0, 0)
        for file in (self._hold, self._wake, self._woken):
            os.close(file)
        threading.Thread(target=self._follow, daemon=True, name="supervisor").start()
        return self._work(worker)

    def _follow(self) -> None:
        """End this worker when the supervisor is gone."""
        with suppress(OSError):
            os.read(self._life, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    def _reap(self) -> None:
        """Take note of workers that have ended."""
        while self._numbers:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            number = self._numbers.pop(pid, None)
            if number is None:
                continue
            lived_s = time.monotonic() - self._started.pop(pid)
            code = os.waitstatus_to_exitcode(status)
            if self._ends:
                continue
            if code == FAILED and not self._has_restarted:
                # It has said why. The others would fail alike, or serve only a part.
                self._has_failed = True
                self._ends = 1
                continue
            self._has_restarted = True
            if lived_s >= QUICK_S:
                self._pauses[number] = FIRST_PAUSE_S
            pause_s = self._pauses[number]
            self._pauses[number] = min(2 * pause_s, LONGEST_PAUSE_S)
            self._due[number] = time.monotonic() + pause_s
            how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
            _say(f"olgate: worker {number} (process {pid}) ended {how}; another one is started")

    def _start_due(self) -> None:
        now = time.monotonic()
        for number in [number for number, at in self._due.items() if at <= now]:
            del self._due[number]
            self._start(number)

    def _wait(self) -> None:
        """Wait for a signal, or until a worker is to be started again."""
        until = min(self._due.values(), default=float("inf"))
        select.select([self._woken], [], [], max(0.0, min(TICK_S, until - time.monotonic())))
        with suppress(BlockingIOError):
            while os.read(self._woken, 1024):
                pass

    def _tell(self, number: signal.Signals) -> None:
        for pid in self._numbers:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _on_end(self, _number: int, _frame: FrameType | None) -> None:
        self._ends += 1

    def _on_hangup(self, _number: int, _frame: FrameType | None) -> None:
        from .signals import find_terminal, has_hung_up

        if has_hung_up(find_terminal()):
            self._ends += 1
        else:
            self._must_reload = True


def _say(text: str) -> None:
    """Write a line, whatever the log's level and form are."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
