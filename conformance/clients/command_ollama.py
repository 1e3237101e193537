"""
Drives Ollama's own command: `python -m conformance.clients.command_ollama PROGRAM URL CHAT EMBED`.

The program is used as a client only; it is judged by its exit codes and by what it prints
(docs/facts/ollama.md#command).
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from conformance.clients.scenarios import (
    HELD_QUESTION,
    MISSING_MODEL,
    PERSON_QUESTION,
    QUESTION,
    TIME_LIMIT_S,
    Place,
    Scenarios,
    make_png,
    wait_until,
)

PROGRAM = sys.argv[1] if len(sys.argv) > 1 else "ollama"
COPY, MADE = "driver-copy", "driver-made"
CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

scenarios = Scenarios()


def start(place: Place, home: str, *arguments: str) -> "subprocess.Popen[str]":
    """Start the command in a home of its own, so that it finds no settings and leaves none."""
    environment = {**os.environ, "OLLAMA_HOST": place.url, "HOME": home, "NO_COLOR": "1"}
    return subprocess.Popen(
        [PROGRAM, *arguments],
        env={**environment, "OLLAMA_NOHISTORY": "1", "TERM": "dumb"},
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def call(place: Place, *arguments: str, files: dict[str, bytes] | None = None) -> tuple[int, str]:
    """Run the command to its end; return its exit code, and both its outputs in one."""
    with tempfile.TemporaryDirectory() as home:
        for name, data in (files or {}).items():
            Path(home, name).write_bytes(data)
        with start(place, home, *arguments) as process:
            out, err = process.communicate(timeout=TIME_LIMIT_S)
    return process.returncode, CONTROLS.sub("", out if process.returncode == 0 else out + err)


def succeed(place: Place, *arguments: str, files: dict[str, bytes] | None = None) -> str:
    """Run the command, which must succeed; return what it printed."""
    code, said = call(place, *arguments, files=files)
    assert code == 0, f"ollama {' '.join(arguments)}: {code}, {said.strip()}"
    return said


def rows_of(table: str) -> dict[str, str]:
    """Return the rows of a table below its heading, by their first word."""
    return {line.split()[0]: line for line in table.splitlines()[1:] if line.strip()}


def is_listed(place: Place, command: str, model: str) -> bool:
    """Return whether a table of the command has a model."""
    return f"{model}:latest" in rows_of(succeed(place, command))


@scenarios.add
def version(place: Place) -> None:
    """The server states a version that the command understands."""
    said = succeed(place, "--version")
    assert re.search(r"version is \d+\.\d+\.\d+", said), said


@scenarios.add
def list_models(place: Place) -> None:
    """The table has each model with a digest, a size and a time."""
    table = succeed(place, "list")
    assert table.split()[:4] == ["NAME", "ID", "SIZE", "MODIFIED"]
    row = rows_of(table)[f"{place.chat}:latest"]
    assert re.search(r"\s[0-9a-f]{12}\s+[\d.]+ [KMG]?B\s+\S", row), row


@scenarios.add
def show(place: Place) -> None:
    """Architecture, size of the context and capabilities are shown."""
    said = succeed(place, "show", place.chat)
    assert re.search(r"architecture\s+\S", said), said
    assert re.search(r"context length\s+\d", said), said
    for capability in ("completion", "tools", "vision", "thinking"):
        assert capability in said
    assert "embedding" in succeed(place, "show", place.embedding)


@scenarios.add
def run(place: Place) -> None:
    """A question is answered on standard output; thinking can be hidden."""
    assert succeed(place, "run", place.chat, QUESTION).strip()
    hidden = succeed(place, "run", place.chat, "--hidethinking", QUESTION)
    assert hidden.strip()


@scenarios.add
def run_think(place: Place) -> None:
    """Thinking is shown when asked for, and not when refused."""
    thought = succeed(place, "run", place.chat, "--think=high", QUESTION)
    assert "done thinking" in thought, thought
    assert "done thinking" not in succeed(place, "run", place.chat, "--think=false", QUESTION)


@scenarios.add
def run_verbose(place: Place) -> None:
    """The counts and durations of an answer can be divided."""
    with (
        tempfile.TemporaryDirectory() as home,
        start(place, home, "run", place.chat, "--verbose", QUESTION) as process,
    ):
        _, err = process.communicate(timeout=TIME_LIMIT_S)
    assert process.returncode == 0, err
    for name in ("total duration", "prompt eval count", "eval count", "eval rate"):
        assert re.search(rf"{name}:\s+[\d.]+", err), err


@scenarios.add
def run_format(place: Place) -> None:
    """With format json the answer is JSON."""
    said = succeed(place, "run", place.chat, "--think=false", "--format", "json", PERSON_QUESTION)
    json.loads(said)


@scenarios.add
def run_image(place: Place) -> None:
    """A picture that the prompt names by its path goes along."""
    files = {"grey.png": make_png()}
    assert succeed(place, "run", place.chat, f"{QUESTION} ./grey.png", files=files).strip()


@scenarios.add
def run_embedding(place: Place) -> None:
    """A model of embeddings prints one vector."""
    vector = json.loads(succeed(place, "run", place.embedding, QUESTION))
    assert vector
    assert all(isinstance(value, float | int) for value in vector)


@scenarios.add
def ps_and_stop(place: Place) -> None:
    """A model that has answered is loaded until it is stopped."""
    succeed(place, "run", place.chat, "--think=false", QUESTION)
    table = succeed(place, "ps")
    row = rows_of(table)[f"{place.chat}:latest"]
    assert re.search(r"\d+%", row), row
    succeed(place, "stop", place.chat)
    wait_until(lambda: not is_listed(place, "ps", place.chat))


@scenarios.add
def pull(place: Place) -> None:
    """A model that is there is pulled at once."""
    assert "success" in succeed_with_progress(place, "pull", place.chat)


@scenarios.add
def cp_and_rm(place: Place) -> None:
    """A copy is listed, answers, and is gone when removed."""
    assert "copied" in succeed(place, "cp", place.chat, COPY)
    assert is_listed(place, "list", COPY)
    assert succeed(place, "run", COPY, QUESTION).strip()
    assert "deleted" in succeed(place, "rm", COPY)
    assert not is_listed(place, "list", COPY)


@scenarios.add
def create_model(place: Place) -> None:
    """A Modelfile makes a model, with a system text and a parameter that show tells."""
    text = f'FROM {place.chat}\nSYSTEM "Be brief."\nPARAMETER temperature 0.25\n'
    succeed_with_progress(place, "create", MADE, files={"Modelfile": text.encode()})
    try:
        assert is_listed(place, "list", MADE)
        shown = succeed(place, "show", MADE)
        assert re.search(r"temperature\s+0\.25", shown), shown
        assert "Be brief." in shown
        assert succeed(place, "run", MADE, QUESTION).strip()
    finally:
        succeed(place, "rm", MADE)


def succeed_with_progress(
    place: Place, *arguments: str, files: dict[str, bytes] | None = None
) -> str:
    """Run a command that tells its progress on standard error; return what it said there."""
    with tempfile.TemporaryDirectory() as home:
        for name, data in (files or {}).items():
            Path(home, name).write_bytes(data)
        with start(place, home, *arguments) as process:
            out, err = process.communicate(timeout=TIME_LIMIT_S)
    assert process.returncode == 0, f"{process.returncode}, {CONTROLS.sub('', err).strip()}"
    return CONTROLS.sub("", out + err)


def check_missing(place: Place, command: str) -> None:
    """Check that a command fails for a model that is not there, and says so."""
    code, said = call(place, command, MISSING_MODEL)
    assert code != 0
    assert "not found" in said or "couldn't find" in said, f"{command}: {said}"


@scenarios.add
def missing_model(place: Place) -> None:
    """A model that is not there is told of in words, by each command."""
    for command in ("show", "stop"):
        check_missing(place, command)


@scenarios.add
def missing_model_rm(place: Place) -> None:
    """What is not there cannot be removed."""
    check_missing(place, "rm")


@scenarios.add
def abort(place: Place) -> None:
    """A command that is interrupted within its answer ends, and the next one is answered."""
    with (
        tempfile.TemporaryDirectory() as home,
        start(place, home, "run", place.chat, HELD_QUESTION) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=TIME_LIMIT_S)
    assert succeed(place, "run", place.chat, QUESTION).strip()


if __name__ == "__main__":
    sys.exit(scenarios.main(sys.argv[2:]))
