"""``python -m conformance.standin``: the stand-in as a process of its own."""

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from conformance.standin.options import Options, read_options
from conformance.standin.server import StandIn


def watch_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Set `stop` when standard input is closed. Runs in a thread of its own."""
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(stop.set)


def stop_on_signals(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """
    Set `stop` on a signal that ends the process.

    `signal.signal` and not the loop's own way, which Windows lacks.
    """
    numbers = [signal.SIGINT, signal.SIGTERM]
    if sys.platform == "win32":
        numbers.append(signal.SIGBREAK)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stop.set)

    for number in numbers:
        signal.signal(number, on_signal)


async def serve(options: Options, exit_with_stdin: bool) -> int:
    """Serve until a signal; return the exit code."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    stop_on_signals(loop, stop)
    if exit_with_stdin:
        threading.Thread(target=watch_stdin, args=(loop, stop), daemon=True).start()
    try:
        standin = StandIn(options)
        await standin.start()
    except (OSError, ValueError) as error:
        place = f"{options.host}:{options.port}"
        print(f"stand-in cannot start on {place}: {error}", file=sys.stderr)
        return 1
    print(f"stand-in listening on {standin.url}", file=sys.stderr, flush=True)
    await stop.wait()
    await standin.stop()
    return 0


def choose_loop() -> Callable[[], Any] | None:
    """Return uvloop's loop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def main() -> int:
    """Run the stand-in; return the exit code."""
    options, exit_with_stdin = read_options()
    with asyncio.Runner(loop_factory=choose_loop()) as runner:
        return runner.run(serve(options, exit_with_stdin))


if __name__ == "__main__":
    sys.exit(main())
