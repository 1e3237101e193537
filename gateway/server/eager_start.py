"""
Beginning work at once, in the callback that brings it, and waiting for it only if it has to wait.

A coroutine that has no need to wait is done in one step. Awaiting it in a task costs that task a
switch first, which for a token is more than the work.
"""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from typing import Any, TypeAlias

_Steps: TypeAlias = Generator[Any, Any, None]


def start_now(work: Awaitable[None]) -> Awaitable[None] | None:
    """
    Do as much of `work` as can be done without waiting; return what is left, to be awaited.

    The part that is done here belongs to no task. Raises what `work` raises in it.
    """
    steps = work.__await__()
    try:
        waiting = steps.send(None)
    except StopIteration:
        return None
    return _Rest(steps, waiting)


class _Rest:
    """Work that waits: whoever awaits this waits for the same, and goes on with it."""

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
