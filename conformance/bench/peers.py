"""
Other servers that put Ollama's API in front of LM Studio, run beside the gateway if they are there.

A program is looked for on PATH; the bench installs none.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from conformance.bench.servers import StartProblem, Target
from conformance.runner.processes import clean_environment
from conformance.runner.restartable import Server

PROGRAMS = {
    "ollama-lmstudio-proxy": (
        *("--listen", "127.0.0.1:{port}", "--lmstudio-url", "{upstream}"),
        *("--log-level", "error"),
    )
}
"""What each is told, by its name."""


@contextlib.contextmanager
def started(upstream: str, folder: Path) -> Iterator[list[Target]]:
    """
    Run each program that is there until the block is left; what it says goes into `folder`.

    Raises StartProblem when one does not start.
    """
    targets: list[Target] = []
    with contextlib.ExitStack() as stack:
        for name, words in PROGRAMS.items():
            program = shutil.which(name)
            if program is None:
                continue
            command = [program, *(word.replace("{upstream}", upstream) for word in words)]
            server = Server(name, command, folder / f"{name}.log", clean_environment())
            stack.enter_context(contextlib.closing(server))
            try:
                server.start()
            except (RuntimeError, TimeoutError) as problem:
                raise StartProblem(str(problem)) from problem
            targets.append(Target(name, server.url, "ollama", server.pid))
        yield targets
