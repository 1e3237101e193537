"""
The gateway to look at: `python -m conformance.demo [flags of olgate serve]`.

This module chooses between a real LM Studio and the stand-in, and starts and stops the gateway and
the stand-in together.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from types import TracebackType
from typing import Any, Self, Unpack

import click
import msgspec

from gateway.cli.options import (
    DATA_DIRECTORY,
    Flags,
    exit_quietly_on_signals,
    load_settings,
    serve_options,
    start_journal,
)

PROBE_S = 1.0
"""How long an address may take to show that LM Studio is there."""

START_S = 30.0
"""How long the stand-in may take to listen."""

STOP_S = 5.0
"""How long the stand-in may take to end."""

PARENT_S = 0.5
"""How often is looked whether the parent still lives."""

NEW_GROUP = 0x00000200
"""Windows' CREATE_NEW_PROCESS_GROUP: the child does not get the console's Ctrl-C."""

SYNCHRONIZE = 0x00100000
FOREVER = 0xFFFFFFFF
"""Windows' names for the right to wait for a process, and for a wait without a limit."""

_LISTENING = "stand-in listening on "
_WIDTH = 78


@click.command()
@serve_options
def main(**flags: Unpack[Flags]) -> None:
    """Serve LM Studio where it is found, and the stand-in otherwise."""
    exit_quietly_on_signals()
    loaded = load_settings(flags)
    start_journal(loaded)
    end_with_parent()
    from gateway.cli.serve import run_gateway
    from gateway.server import listen

    settings = loaded.settings
    url = settings.upstream.url
    try:
        # Before anything else is started: a port that is taken is the likeliest trouble.
        listeners = listen.bind_all(settings.listen)
    except listen.ListenProblem as problem:
        sys.exit(f"demo: {problem}")
    with contextlib.ExitStack() as started:
        standin: StandIn | None = None
        if is_there(url):
            say(f"demo: LM Studio answers at {url}")
        elif flags["upstream"]:
            say(f"demo: nothing answers at {url} yet; serving all the same, as --upstream asks")
        else:
            standin = started.enter_context(StandIn())
            say(banner(url, standin.url))
            settings = msgspec.structs.replace(
                settings, upstream=msgspec.structs.replace(settings.upstream, url=standin.url)
            )
            if loaded.sources["store.path"] == DATA_DIRECTORY:
                # Names made from a stand-in's models would mean nothing to LM Studio.
                memory = msgspec.structs.replace(settings.store, path=None)
                settings = msgspec.structs.replace(settings, store=memory)
        code = run_gateway(settings, flags, listeners)
        sys.exit(1 if standin and standin.has_ended_by_itself else code)


def is_there(url: str) -> bool:
    """
    Tell whether LM Studio, or a server like it, answers at an address.

    It has a greeting of its own (docs/facts/lmstudio.md#greeting); other servers are known by their
    list of models, which may be refused to whoever has no token.
    """
    return _status(f"{url}/lmstudio-greeting", b'"lmstudio"') == 200 or _status(
        f"{url}/v1/models", b'"data"'
    ) in (200, 401, 403)


def _status(url: str, sign: bytes) -> int | None:
    """Get a page; None when there is no answer, or a success that lacks `sign`."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=PROBE_S) as answer:
            return 200 if sign in answer.read(1_000_000) else None
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code
    except OSError:
        return None
    except ValueError:
        # What answers there does not speak HTTP.
        return None


class StandIn:
    """The stand-in as a child that ends when this process does, however this process ends."""

    def __enter__(self) -> Self:
        """Start it, and wait until it listens."""
        self._process: subprocess.Popen[str] = subprocess.Popen(
            [sys.executable, "-m", "conformance.standin", "--port", "0", "--exit-with-stdin"],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            # Ctrl-C is for us: we drain, and the stand-in has to answer until we have.
            **apart(),
        )
        self._is_wanted = True
        self.has_ended_by_itself = False
        self.url = self._read_url()
        self._passing_on = threading.Thread(target=self._pass_on, daemon=True)
        self._passing_on.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Close its standard input, which is its sign to end."""
        self._is_wanted = False
        assert self._process.stdin is not None
        assert self._process.stderr is not None
        self._process.stdin.close()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._passing_on.join()
        self._process.stderr.close()

    def _read_url(self) -> str:
        assert self._process.stderr is not None
        said: list[str] = []
        too_late = threading.Timer(START_S, self._process.kill)
        too_late.start()
        try:
            for line in self._process.stderr:
                said.append(line)
                if line.startswith(_LISTENING):
                    return line.removeprefix(_LISTENING).strip()
        finally:
            too_late.cancel()
        self._process.wait()
        sys.exit(f"demo: the stand-in did not start; it said:\n{''.join(said)}")

    def _pass_on(self) -> None:
        """Show what it says; when it ends by itself, end the gateway too."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            say(f"stand-in: {line.rstrip()}")
        if self._is_wanted:
            self.has_ended_by_itself = True
            say("demo: the stand-in has ended, so the gateway ends too")
            end_self()


def apart() -> dict[str, Any]:
    """Return the options of `Popen` with which a child does not get our Ctrl-C."""
    if sys.platform == "win32":
        return {"creationflags": NEW_GROUP}
    return {"start_new_session": True}


def end_self() -> None:
    """End as after a SIGTERM, from any thread: what runs is drained."""
    if sys.platform == "win32":
        # os.kill would end the process there without its handlers.
        signal.raise_signal(signal.SIGTERM)
    else:
        os.kill(os.getpid(), signal.SIGTERM)


def end_with_parent() -> None:
    """End, as after a SIGTERM, when the parent has: nox leaves its children behind."""
    parent = os.getppid()

    def watch() -> None:
        if wait_for_end_of(parent):
            end_self()

    threading.Thread(target=watch, daemon=True).start()


def wait_for_end_of(parent: int) -> bool:
    """Wait until the parent has ended; return False if the system does not let us watch it."""
    if sys.platform == "win32":
        # The number of the parent stays the same there, also when it has ended.
        system = ctypes.windll.kernel32
        handle = system.OpenProcess(SYNCHRONIZE, False, parent)
        if not handle:
            return False
        system.WaitForSingleObject(handle, FOREVER)
        system.CloseHandle(handle)
        return True
    while os.getppid() == parent:
        time.sleep(PARENT_S)
    return True


def banner(wanted: str, standin: str) -> str:
    """Say in a way that cannot be missed that no model is answering."""
    edge = "#" * _WIDTH
    lines = (
        "",
        f"NO LM STUDIO at {wanted}",
        f"Answers come from the STAND-IN at {standin}:",
        "a program that plays LM Studio. No model is at work here.",
        "",
        "For real answers start LM Studio's server (`lms server start`) and run",
        "this again, or give its address with --upstream.",
        "",
    )
    return "\n".join(["", edge, *(f"# {line:<{_WIDTH - 4}} #" for line in lines), edge, ""])


def say(text: str) -> None:
    """Write to standard error, whether or not anyone still reads it."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(prog_name="python -m conformance.demo")
