"""
Drives the llm program with llm-ollama: `python -m conformance.clients.python_llm URL CHAT EMBED`.

It finds models by tags and show, and takes names with one digest for one model
(docs/facts/clients.md#distinct-digests).
"""

import contextlib
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from click.testing import CliRunner
from llm.cli import cli

from conformance.clients.scenarios import (
    MISSING_MODEL,
    PERSON_QUESTION,
    PERSON_SCHEMA,
    QUESTION,
    WEATHER_QUESTION,
    Place,
    Scenarios,
    check_person,
    make_png,
)

TOOL = (
    "def get_weather(city: str) -> str:\n    'The weather in a city.'\n    return city + ': 17'\n"
)

scenarios = Scenarios()


@contextlib.contextmanager
def home() -> Iterator[Path]:
    """Give the program a place of its own for its settings and logs."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def call(place: Place, folder: Path, *arguments: str) -> tuple[int, str]:
    """
    Run the program; return its exit code and what it said.

    In this process, since importing it takes far longer than all that it does.
    """
    environment = {"OLLAMA_HOST": place.url, "LLM_USER_PATH": str(folder)}
    done = CliRunner(env=environment).invoke(cli, arguments)
    return done.exit_code, done.stdout if done.exit_code == 0 else done.output


def succeed(place: Place, *arguments: str) -> str:
    """Run the program, which must succeed; return what it printed."""
    with home() as folder:
        code, said = call(place, folder, *arguments)
    assert code == 0, said
    return said


@scenarios.add
def models(place: Place) -> None:
    """Each model is found, by what tags and show say."""
    assert place.chat in succeed(place, "models")
    assert place.embedding in succeed(place, "embed-models")


@scenarios.add
def ollama_models(place: Place) -> None:
    """The plugin's own table has each model with its digest and what it can."""
    rows = [line for line in succeed(place, "ollama", "models").splitlines() if place.chat in line]
    assert len(rows) == 1
    assert re.search(r"\s[0-9a-f]{12}\s", rows[0]), rows
    for capability in ("completion", "tools", "vision", "thinking"):
        assert capability in rows[0]


@scenarios.add
def prompt_stream(place: Place) -> None:
    """A question is answered in pieces."""
    assert succeed(place, "-m", f"ollama/{place.chat}", QUESTION).strip()


@scenarios.add
def prompt_no_stream_options(place: Place) -> None:
    """A question is answered in one piece, with options."""
    options = ("-o", "temperature", "0.5", "-o", "seed", "7")
    assert succeed(place, "-m", f"ollama/{place.chat}", "--no-stream", *options, QUESTION).strip()


@scenarios.add
def usage(place: Place) -> None:
    """The counts of an answer are kept."""
    with home() as folder:
        call(place, folder, "-m", f"ollama/{place.chat}", QUESTION)
        _, said = call(place, folder, "logs", "--json", "-n", "1")
    (logged,) = json.loads(said)
    assert logged["input_tokens"] > 0
    assert logged["output_tokens"] > 0


@scenarios.add
def schema(place: Place) -> None:
    """With a schema the answer is an instance of it."""
    said = succeed(
        place, "-m", f"ollama/{place.chat}", "--schema", json.dumps(PERSON_SCHEMA), PERSON_QUESTION
    )
    check_person(json.loads(said))


@scenarios.add
def think(place: Place) -> None:
    """Thinking, which only a model that can think is asked for, leaves the text whole."""
    chat = ("-m", f"ollama/{place.chat}")
    assert succeed(place, *chat, "-o", "think", "true", QUESTION).strip()
    assert succeed(place, *chat, "-o", "think", "false", QUESTION).strip()


@scenarios.add
def tools(place: Place) -> None:
    """A tool is called and its result answered in words."""
    chat = ("-m", f"ollama/{place.chat}")
    with home() as folder:
        code, said = call(place, folder, *chat, "--functions", TOOL, WEATHER_QUESTION)
        _, logged = call(place, folder, "logs", "--json", "-n", "2")
    assert code == 0, said
    assert said.strip()
    results = [one for turn in json.loads(logged) for one in turn["tool_results"]]
    assert [one["name"] for one in results] == ["get_weather"], logged


@scenarios.add
def image(place: Place) -> None:
    """A picture is taken."""
    with home() as folder:
        path = folder / "grey.png"
        path.write_bytes(make_png())
        code, said = call(place, folder, "-m", f"ollama/{place.chat}", "-a", str(path), QUESTION)
    assert code == 0, said


@scenarios.add
def embed(place: Place) -> None:
    """A vector."""
    vector = json.loads(succeed(place, "embed", "-m", f"ollama/{place.embedding}", "-c", QUESTION))
    assert any(vector)


@scenarios.add
def missing_model(place: Place) -> None:
    """A model that is not listed is not asked for."""
    with home() as folder:
        code, said = call(place, folder, "-m", f"ollama/{MISSING_MODEL}", QUESTION)
    assert code != 0
    assert "Unknown model" in said


if __name__ == "__main__":
    sys.exit(scenarios.main())
