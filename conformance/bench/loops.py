"""How the bench's own processes run: the loop, and how many files they may open."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from gateway.server.open_files import raise_limit

Result = TypeVar("Result")


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end on uvloop where it is installed, as the gateway does."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)


def allow_open_files() -> None:
    """Raise the soft limit of open files as far as the gateway does; a stream holds up to two."""
    raise_limit()
