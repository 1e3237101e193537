"""
Explanations for the page, which a process of their own makes.

Watching a request needs a trace function, and makes a second application with a log of its own. In
the process that serves, both would be felt. What the job needs is handed over by a pipe.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from ..console.records import Explained
from ..observability.journal import get_logger
from ..settings.schema import Settings

LIMIT_S = 60.0
"""Seconds that a job may take."""

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
        self._is_busy = False
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

    async def _run(self, job: Job) -> Explained:
        if self._is_busy:
            return Explained(problem=_BUSY)
        self._is_busy = True
        try:
            return await asyncio.to_thread(self._call, msgspec.json.encode(job))
        finally:
            self._is_busy = False

    def _call(self, job: bytes) -> Explained:
        import subprocess

        root = str(Path(__file__).parents[2])
        try:
            ended = subprocess.run(
                [sys.executable, "-m", _PROGRAM],
                input=job,
                capture_output=True,
                timeout=LIMIT_S,
                env={**os.environ, "PYTHONPATH": root},
                check=False,
            )
            if ended.returncode:
                trace = ended.stderr.decode("utf-8", "replace").strip()
                self._log.error("an explanation has failed (internal error)", trace=trace[-2000:])
                return Explained(problem=_FAILED)
            return msgspec.json.decode(ended.stdout, type=Explained)
        except subprocess.TimeoutExpired:
            return Explained(problem=_SLOW)
        except (OSError, msgspec.DecodeError) as problem:
            self._log.error("an explanation has failed", reason=str(problem)[:200])
            return Explained(problem=_FAILED)
