"""
What drivers in Python share: scenarios by name, their command line, their lines, their questions.

Nothing of any client is known here.
"""

import argparse
import asyncio
import inspect
import json
import math
import struct
import sys
import time
import traceback
import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

QUESTION = "What grows in the orchard behind the harbour? Answer in two sentences."
WEATHER_QUESTION = "What is the weather in Lisbon? Use the tool get_weather."
TWO_QUESTION = "Use get_weather for Lisbon and get_time for the zone CET, both of them."
PERSON_QUESTION = "Describe a keeper of a lighthouse named Ada."
HELD_QUESTION = f"[hold] {QUESTION}"
"""A question whose answer takes long: the tests let the stand-in keep it back."""
BROKEN_QUESTION = f"[break] {QUESTION}"
"""A question whose answer breaks off: the tests let the stand-in close its connection."""
MISSING_MODEL = "nobody/has-this-model:7b"
TIME_LIMIT_S = 30.0
"""What a client is given for one read or connection; only an answer that hangs needs it."""
CONNECTION: dict[str, Any] = {"timeout": TIME_LIMIT_S, "verify": False}
"""
What a client gives to its HTTP library.

Certificates have no use here, and to read them again for each client would take most of the time.
"""

WEATHER_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Name of the city"},
                "days": {"type": "integer", "description": "Days ahead"},
            },
            "required": ["city"],
        },
    },
}
TIME_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_time",
        "description": "The time in a zone.",
        "parameters": {
            "type": "object",
            "properties": {"zone": {"type": "string", "enum": ["UTC", "CET"]}},
            "required": ["zone"],
        },
    },
}
PERSON_SCHEMA: dict[str, Any] = {
    "title": "Person",
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "trade": {"type": "string", "enum": ["keeper", "sailor", "cook"]},
        "friends": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["name", "age", "trade", "friends"],
    "additionalProperties": False,
}

Refusal = TypeVar("Refusal", bound=Exception)


def make_png() -> bytes:
    """Return a picture of one grey pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\x00\x80"))
        + chunk(b"IEND", b"")
    )


def check_person(person: Any) -> None:
    """Check an instance of the schema of a person, without a library that not everyone has."""
    assert isinstance(person, dict), f"no object: {person!r}"
    assert set(person) == set(PERSON_SCHEMA["required"]), f"keys {sorted(person)}"
    assert isinstance(person["name"], str)
    assert isinstance(person["age"], int)
    assert person["trade"] in PERSON_SCHEMA["properties"]["trade"]["enum"]
    assert all(isinstance(friend, str) for friend in person["friends"])


def check_unit(vector: Sequence[float]) -> None:
    """Check a vector of /api/embed, which has length one (docs/facts/ollama.md#vectors)."""
    length = math.hypot(*vector)
    assert math.isclose(length, 1.0, abs_tol=1e-3), f"length {length}"


def refusal_of(action: Callable[[], object], kind: type[Refusal]) -> Refusal:
    """Return the error of a kind that an action meets; the client must see one."""
    try:
        action()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def wait_until(holds: Callable[[], bool]) -> None:
    """Ask again until something holds: a server may unload a model after it has answered."""
    deadline = time.monotonic() + TIME_LIMIT_S
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"it did not come to hold within {TIME_LIMIT_S} s")
        time.sleep(0.05)


@dataclass(frozen=True)
class Place:
    """Where a driver works: a base URL, and the names of two models as clients say them."""

    url: str
    chat: str
    embedding: str


Scenario = Callable[[Place], None] | Callable[[Place], Awaitable[None]]


@dataclass
class Scenarios:
    """The scenarios of a driver, in the order in which they stand in its source."""

    by_name: dict[str, Scenario] = field(default_factory=dict)

    def add(self, scenario: Scenario) -> Scenario:
        """Decorate a scenario: its function's name is its name, an exception is its failure."""
        name = cast("Any", scenario).__name__
        if name in self.by_name:
            raise ValueError(f"scenario {name!r} is there twice: name one of them otherwise")
        self.by_name[name] = scenario
        return scenario

    def main(self, arguments: Sequence[str] | None = None) -> int:
        """Run what the command line says; return 0 when all of it held, else 1."""
        parser = argparse.ArgumentParser()
        parser.add_argument("url", help="base URL of an Ollama server")
        parser.add_argument("chat", help="model with tools, vision and thinking")
        parser.add_argument("embedding", help="model for embeddings")
        parser.add_argument("names", nargs="*", help="scenarios to run, by default all")
        said = parser.parse_args(arguments)
        unknown = [name for name in said.names if name not in self.by_name]
        if unknown:
            parser.error(f"no scenario {unknown[0]!r}; there are {', '.join(self.by_name)}")
        place = Place(said.url, said.chat, said.embedding)
        held = [self.run(name, place) for name in said.names or self.by_name]
        return 0 if all(held) else 1

    def run(self, name: str, place: Place) -> bool:
        """Run one scenario and print its line; return whether it held."""
        detail = ""
        try:
            pending = self.by_name[name](place)
            if inspect.iscoroutine(pending):
                asyncio.run(pending)
        except Exception as error:
            detail = tell(error)
        print(json.dumps({"name": name, "ok": not detail, "detail": detail}), flush=True)
        return not detail


def tell(error: Exception) -> str:
    """Return what failed and in which line of the driver, for an assertion its source."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if frame.filename == sys.modules["__main__"].__file__]
    frame = ours[-1] if ours else frames[-1]
    words = str(error) or frame.line or "no message"
    return f"{type(error).__name__} in {frame.name}, line {frame.lineno}: {words}"[:1000]
