"""
Explanations for the page, which a process of their own makes.

Watching a request needs a trace function, and makes a second application with a log of its own. In
the process that serves, both would be felt. What the job needs is handed over by a pipe.
To start the process takes longer than a job, so it stays for a while and waits for the next one.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from threading import Timer
from typing import Any

import msgspec

from ..console.records import Explained
from ..observability.journal import get_logger
from ..settings.schema import Settings

LIMIT_S = 60.0
"""Seconds that a job may take."""
IDLE_S = 300.0
"""Seconds after which a process that nobody has asked ends."""
END_S = 5.0
"""Seconds that a process has to end by itself."""

_PROGRAM = f"{__name__.partition('.')[0]}.cli.explain_job"
_FAILED = "The explanation has failed; the gateway's log says more."
_SLOW = f"The explanation took more than {LIMIT_S:g} seconds, and was given up."
_BUSY = "Another explanation is being made. Try again when it is there."


class Job(msgspec.Struct, kw_only=True):
    """What is to be explained: a request as text, or what each route makes of a model's name."""

    settings: Settings
    text: str = ""
    route: str = ""
    model: str = ""
    exchange: Any = None
    """A kept exchange, which is to become a case."""


class Jobs:
    """Runs jobs, one at a time."""

    def __init__(self) -> None:
        self._work: asyncio.Future[Explained] | None = None
        self._process: _Process | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._ending: asyncio.Future[str] | None = None
        """The end of a process that nobody has asked for a while."""
        self._is_closed = False
        self._log = get_logger()

    async def explain(self, settings: Settings, text: str, route: str) -> Explained:
        """Explain a request that somebody has pasted."""
        return await self._run(Job(settings=settings, text=text, route=route))

    async def view(self, settings: Settings, model: str) -> Explained:
        """Say what each route would make of a model's name."""
        return await self._run(Job(settings=settings, model=model))

    async def write_case(self, settings: Settings, exchange: dict[str, Any]) -> Explained:
        """Return a kept exchange as the text of a case, in one line of the answer."""
        return await self._run(Job(settings=settings, exchange=exchange))

    async def aclose(self) -> None:
        """End the process, and a job that runs."""
        self._is_closed = True
        if self._idle is not None:
            self._idle.cancel()
        if self._work is not None:
            if self._process is not None:
                self._process.kill()
            await asyncio.wait([self._work])
        await asyncio.to_thread(self._end)
        if self._ending is not None:
            await self._ending

    async def _run(self, job: Job) -> Explained:
        if self._work is not None or self._is_closed:
            return Explained(problem=_BUSY)
        if self._idle is not None:
            self._idle.cancel()
        data = msgspec.json.encode(job)
        self._work = asyncio.ensure_future(asyncio.to_thread(self._call, data))
        self._work.add_done_callback(self._rest)
        # The process is busy until it has answered, also when the one who asked has left.
        return await asyncio.shield(self._work)

    def _rest(self, _: object) -> None:
        self._work = None
        if not self._is_closed:
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(IDLE_S, self._end_idle)

    def _end_idle(self) -> None:
        # Its end takes longer than a stream may wait, and the next job needs not wait for it.
        process, self._process = self._process, None
        if process is not None:
            self._ending = asyncio.ensure_future(asyncio.to_thread(process.end))

    def _call(self, job: bytes) -> Explained:
        try:
            if self._process is None or not self._process.is_there:
                self._end()
                self._process = _Process()
            if self._is_closed:
                self._process.kill()
            answer = self._process.ask(job)
            if answer:
                return msgspec.json.decode(answer, type=Explained)
            is_late, trace = self._process.is_late, self._process.end()
            if is_late:
                return Explained(problem=_SLOW)
            if not self._is_closed:
                self._log.error("an explanation has failed (internal error)", trace=trace[-2000:])
        except (OSError, msgspec.DecodeError) as problem:
            self._end()
            self._log.error("an explanation has failed", reason=str(problem)[:200])
        return Explained(problem=_FAILED)

    def _end(self) -> None:
        if self._process is not None:
            self._process.end()
            self._process = None


class _Process:
    """A process that answers jobs. It ends with its input, so it never outlives the gateway."""

    def __init__(self) -> None:
        """Start it. Raises OSError."""
        import subprocess
        from tempfile import TemporaryFile

        # No pipe: nobody reads it while the process works.
        self._said = TemporaryFile()  # noqa: SIM115 - `end` closes it
        self._process = subprocess.Popen(
            [sys.executable, "-m", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        self.is_late = False
        """Whether it was ended because a job took too long."""

    @property
    def is_there(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def ask(self, job: bytes) -> bytes:
        """Return the answer to a job, nothing if it has ended or takes too long."""
        sent, answered = self._process.stdin, self._process.stdout
        assert sent is not None
        assert answered is not None
        timer = Timer(LIMIT_S, self._give_up)
        timer.start()
        try:
            sent.write(job + b"\n")
            sent.flush()
            return answered.readline()
        except BrokenPipeError:
            return b""
        finally:
            timer.cancel()

    def _give_up(self) -> None:
        self.is_late = True
        self.kill()

    def kill(self) -> None:
        """End it at once; who waits for its answer gets none."""
        self._process.kill()

    def end(self) -> str:
        """End it, wait for that, and return what it has said of a failure."""
        import subprocess
        from contextlib import suppress

        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        if self._said.closed:
            return ""
        with suppress(OSError):
            process.stdin.close()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        with self._said:
            self._said.seek(0)
            return self._said.read().decode("utf-8", "replace").strip()
