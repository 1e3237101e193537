"""
The signals that end the process or reload its settings.

Handlers are set with `signal.signal` and not the loop's own way, which Windows lacks. Off the main
thread, where signals cannot be had, whoever started the thread has to end it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def on_signals(end: Callable[[], None], hang_up: Callable[[], None]) -> Iterator[None]:
    """
    Call `end` on the event loop for SIGTERM and SIGINT (and Windows' SIGBREAK), `hang_up` for
    SIGHUP.

    A SIGHUP that is ignored at the start, as under `nohup`, is a reload all the same.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    acts = {signal.SIGTERM: end, signal.SIGINT: end}
    if sys.platform == "win32":
        acts[signal.SIGBREAK] = end
    else:
        acts[signal.SIGHUP] = hang_up

    def on_signal(number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(acts[signal.Signals(number)])

    before = {number: signal.signal(number, on_signal) for number in acts}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def find_terminal() -> int | None:
    """Return an open file of the terminal that controls the process, None if there is none."""
    if sys.platform != "win32":
        for file in (0, 2, 1):
            with contextlib.suppress(OSError):
                os.tcgetpgrp(file)
                return file
    return None


def has_hung_up(terminal: int | None) -> bool:
    """
    Return whether a terminal is gone.

    The system sends SIGHUP then, too. A server that took it for a reload would go on without
    anybody who sees it.
    """
    if terminal is None or sys.platform == "win32":
        return False
    try:
        os.tcgetpgrp(terminal)
    except OSError:
        return True
    return False
