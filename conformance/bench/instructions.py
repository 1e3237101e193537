"""
How many instructions a server takes for a token and for a request, counted by valgrind.

CPU time differs from run to run by a tenth and more, with what else the machine does and with how
cold its caches are; instructions in user mode are the same but for some hundredths. What the
kernel does is not in them.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from conformance.bench import load, servers
from conformance.bench.dialect import Dialect
from conformance.bench.generator import Job
from conformance.bench.load import PACE_S, TOKENS
from conformance.bench.servers import StartProblem, Target
from conformance.bench.standin import Plan
from conformance.bench.wire import MODEL

TOOLS = ("valgrind", "callgrind_control")
START_S = 180.0
_STREAMS = 4
"""Few: a server under valgrind is some fifty times as slow, and is to have the rests between tokens
that it has otherwise."""
_CYCLES = 3
_DUMP_S = 30.0
_TOTAL = re.compile(rb"^(?:totals|summary): (\d+)$", re.MULTILINE)


class Counted(msgspec.Struct, frozen=True):
    """Instructions in user mode: of one more token of a paced stream, and of a stream of one."""

    target: str
    per_token: float
    per_request: float


def can_count() -> bool:
    """Whether valgrind is installed."""
    return all(shutil.which(tool) for tool in TOOLS)


def count(
    name: str, dialect: Dialect, arguments: Callable[[str], list[str]], tokens: int = TOKENS
) -> Counted:
    """
    Start a server as `arguments` say for a stand-in's URL, under valgrind, and count.

    Raises StartProblem.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        standin = stack.enter_context(
            servers.started("direct", "openai", "-m", "conformance.bench.standin")
        )
        compiled = folder / "compiled"
        start = partial(
            servers.started, name, dialect, *arguments(standin.url), state=folder, compiled=compiled
        )
        # Once without valgrind, under which compiling all modules takes a minute.
        with start():
            pass
        valgrind = ("valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/counts.%p")
        target = stack.enter_context(
            start(interpreter=(*valgrind, sys.executable), start_s=START_S)
        )
        _load(standin, target, tokens)  # what is done once, and Python's own specialising
        short = _counted(standin, target, 1, folder)
        long = _counted(standin, target, tokens, folder)
    streams = _STREAMS * _CYCLES
    return Counted(name, (long - short) / streams / (tokens - 1), short / streams)


def _counted(standin: Target, target: Target, tokens: int, folder: Path) -> int:
    _control(target, "--zero")
    _load(standin, target, tokens)
    known = set(folder.iterdir())
    _control(target, "--dump")
    until = time.monotonic() + _DUMP_S
    while time.monotonic() < until:
        for dump in set(folder.iterdir()) - known:
            if dump.is_file() and (total := total_of(dump.read_bytes())) is not None:
                return total
        time.sleep(0.1)
    raise StartProblem(f"valgrind wrote no total of {target.name}")


def total_of(dump: bytes) -> int | None:
    """Return what a dump of callgrind's says in all, None while it does not yet."""
    found = _TOTAL.search(dump)
    return int(found[1]) if found else None


def _control(target: Target, order: str) -> None:
    subprocess.run(["callgrind_control", order, str(target.pid)], check=True, capture_output=True)


def _load(standin: Target, target: Target, tokens: int) -> None:
    servers.set_plan(standin, Plan(tokens=tokens, interval_s=PACE_S))
    job = Job(
        url=target.url,
        dialect=target.dialect,
        task="stream",
        model=MODEL,
        workers=_STREAMS,
        cycles=_CYCLES,
        stagger_s=PACE_S,
    )
    got = load.finish(load.start(job), job)
    if got.problems:
        raise StartProblem(f"{target.name} under valgrind: {got.problems[0]}")
