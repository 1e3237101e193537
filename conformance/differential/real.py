"""
A real Ollama, built from its module and started with a scripted engine and models of nothing.
"""

import contextlib
import hashlib
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from conformance.clients.toolchain import CACHE, EXE, build_ollama
from conformance.differential.models import CONTEXT, Made, counterparts, write_model
from conformance.differential.wire import Reply, Request, ask
from conformance.runner.processes import clean_environment

VERSION = "0.34.4"
SERVER = Path(__file__).with_name("llama_server.py")
START_LIMIT_S, STOP_LIMIT_S = 60.0, 10.0


class NotStarted(Exception):
    """Ollama did not start or did not take a model; the text has what it said."""


def build() -> Path:
    """
    Return Ollama's program in a folder layout in which it finds the scripted engine.

    Raises `MissingToolError` where Go or a C++ compiler is not there.
    """
    home = CACHE.parent / "differential"
    program = home / "bin" / f"ollama{EXE}"
    build_ollama(program, VERSION)
    engine = home / "lib" / "ollama" / "llama-server"
    engine.parent.mkdir(parents=True, exist_ok=True)
    # -I and -S halve the time to start, and each load of a model starts it once.
    engine.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {SERVER} "$@"\n', "utf-8")
    engine.chmod(0o755)
    return program


@contextlib.contextmanager
def running(program: Path) -> Iterator[str]:
    """Run Ollama with an empty home of its own and the models made; yield its address."""
    with tempfile.TemporaryDirectory(prefix="ollama-") as folder:
        home = Path(folder)
        log = home / "log"
        port = free_port()
        environment = {
            **clean_environment(),
            "HOME": folder,
            "OLLAMA_HOST": f"127.0.0.1:{port}",
            "OLLAMA_MODELS": str(home / "models"),
            "OLLAMA_NO_CLOUD": "1",
            "OLLAMA_MAX_LOADED_MODELS": "9",
            "OLLAMA_NUM_PARALLEL": "4",
            "OLLAMA_CONTEXT_LENGTH": str(CONTEXT),
            # No request may leave this machine, and a pull fails at once.
            "HTTPS_PROXY": "http://127.0.0.1:9",
            "HTTP_PROXY": "http://127.0.0.1:9",
            "NO_PROXY": "127.0.0.1,localhost",
        }
        with (
            log.open("wb") as said,
            subprocess.Popen(
                [program, "serve"],
                cwd=home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ) as process,
        ):
            url = f"http://127.0.0.1:{port}"
            try:
                wait_for(url, process, log)
                make_models(url)
                yield url
            finally:
                stop(process)


def free_port() -> int:
    """Return a port that nothing listens on: Ollama does not say which one it was given."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until Ollama answers; raises `NotStarted`."""
    until = time.monotonic() + START_LIMIT_S
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError):
            ask(url, Request("GET", "/"))
            return
        time.sleep(0.05)
    raise NotStarted(f"ollama serve did not answer:\n{log.read_text('utf-8', 'replace')[-4000:]}")


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Stop Ollama, which stops its engines."""
    process.terminate()
    try:
        process.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()


def make_models(url: str) -> None:
    """Make all models; raises `NotStarted`."""
    for made in counterparts():
        make_model(url, made)


def make_again(url: str, name: str) -> None:
    """Make a model again that was deleted or changed; raises `NotStarted`."""
    for made in counterparts():
        if name.removesuffix(":latest") == made.name:
            make_model(url, made)


def make_model(url: str, made: Made) -> None:
    """Write a model's file, upload it and create the model; raises `NotStarted`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.gguf")
        write_model(path, made)
        data = path.read_bytes()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    succeed(ask(url, Request("POST", f"/api/blobs/{digest}", body=data)), made.name)
    wish: dict[str, Any] = {
        "model": made.name,
        "files": {"model.gguf": digest},
        "stream": False,
    }
    body = json.dumps(wish).encode()
    succeed(ask(url, Request("POST", "/api/create", body=body)), made.name)


def succeed(reply: Reply, name: str) -> None:
    """Raise `NotStarted` when the making of a model failed."""
    if reply.status not in (200, 201) or b'"error"' in reply.body:
        raise NotStarted(f"Ollama did not take {name}: {reply.status} {reply.body.decode()}")
