"""
Starting work at once, in the current callback, and awaiting only the rest.

A coroutine that does not need to wait finishes in one step. Awaiting it in a task first needs a
task switch, which for a token costs more than the work.
"""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from typing import Any, TypeAlias

_Steps: TypeAlias = Generator[Any, Any, None]


def start_now(work: Awaitable[None]) -> Awaitable[None] | None:
    """
    Do as much of `work` as is possible without waiting; return the rest, to be awaited.

    The part that runs here does not belong to a task. Raises whatever `work` raises in it.
    """
    steps = work.__await__()
    try:
        waiting = steps.send(None)
    except StopIteration:
        return None
    return _Rest(steps, waiting)


class _Rest:
    """Work that waits; awaiting this continues it when its wait is over."""

    __slots__ = ("_steps", "_waiting")

    def __init__(self, steps: _Steps, waiting: object) -> None:
        self._steps = steps
        self._waiting = waiting

    def __await__(self) -> _Steps:
        steps, waiting = self._steps, self._waiting
        while True:
            try:
                sent = yield waiting
            except GeneratorExit:
                steps.close()
                raise
            except BaseException as problem:
                told: BaseException | None = problem
            else:
                told = None
            try:
                waiting = steps.send(sent) if told is None else steps.throw(told)
            except StopIteration:
                return
            finally:
                # A raised exception holds this frame, which must not hold the exception.
                told = None
