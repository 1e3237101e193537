"""
Work counted in steps of the interpreter: a busy machine changes its time, and not its steps.
"""

import sys
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any


class Steps:
    """
    Count the steps that functions take while the context lasts.

    Functions that run already when it begins, such as the one that opens it, don't count.
    """

    def __init__(self) -> None:
        self.taken = 0

    def __enter__(self) -> "Steps":
        self._before = sys.gettrace()
        sys.settrace(self._look)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        sys.settrace(self._before)

    def _look(self, frame: FrameType, event: str, _: Any) -> Any:
        frame.f_trace_opcodes = True
        self.taken += event == "opcode"
        return self._look


def steps_of(work: Callable[[], Any]) -> int:
    """Return how many steps of the interpreter some work takes."""
    with Steps() as steps:
        work()
        return steps.taken
