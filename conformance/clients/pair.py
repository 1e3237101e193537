"""
The gateway and the stand-in as processes, as their users start them, and drivers run against them.

`roster` lists the drivers, and `toolchain` installs them.
"""

import contextlib
import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from conformance.runner.processes import ROOT, START_LIMIT_S, clean_environment, listening

CHAT_MODEL = "harbor/lantern-8b"
"""The model of the stand-in that has tools, vision and levels of thinking."""
EMBEDDING_MODEL = "text-embedding-tiny-v1"
HELD, BROKEN, SLOW = "[hold]", "[break]", "[slow]"
"""What the drivers' questions carry whose answers shall not end, break off, or come bit by bit."""
PAUSE_MS = 50
"""Between events where they shall come bit by bit, as from a model that is not fast."""
RULES: list[dict[str, Any]] = [
    {"match": {"body_contains": HELD}, "hold": "held", "after": 2},
    {
        "match": {"body_contains": BROKEN},
        "fault": "closed_mid_stream",
        "after": 3,
        "pause_ms": PAUSE_MS,
    },
    {"match": {"body_contains": SLOW}, "pause_ms": PAUSE_MS},
]

DRIVER_LIMIT_S = 600.0


class Outcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a driver: a scenario, whether it held, and if not why."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class Pair:
    """A gateway and the stand-in behind it, by their addresses."""

    gateway_url: str
    standin_url: str

    def drive(self, command: Sequence[str | Path], *names: str) -> list[Outcome]:
        """Run a driver against the gateway; see `drive`."""
        return drive(command, self.gateway_url, *names)

    def drive_and_leave(self, command: Sequence[str | Path]) -> list[Outcome]:
        """
        Run a driver that leaves one answer early, and check that the gateway left it too.

        An answer that the stand-in holds back ends only when its caller leaves.
        """
        before = len(self.held())
        outcomes = self.drive(command)
        left = sum(one["left"] for one in self.seen())
        held = self.held(wait_left=left)
        assert before + 1 == len(held)
        assert all(one["left"] for one in held), "the gateway still waits for an answer"
        return outcomes

    def held(self, **query: int) -> list[Any]:
        """Return what was asked of the stand-in and held back by it."""
        return [one for one in self.seen(**query) if HELD in json.dumps(one["body"])]

    def seen(self, **query: int) -> list[Any]:
        """Return what was asked of the stand-in, after waiting for what the query says."""
        return list(self._control(f"seen?{urllib.parse.urlencode(query)}"))

    def add_rules(self) -> None:
        """Let the stand-in hold back and break off what the drivers want so."""
        self._control("script", msgspec.json.encode(RULES))

    def _control(self, target: str, body: bytes | None = None) -> Any:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self.standin_url}/__standin/{target}", body, START_LIMIT_S) as answer:
            return msgspec.json.decode(answer.read())


@contextlib.contextmanager
def open_pair(settings: Path) -> Iterator[Pair]:
    """Start both with an empty settings file, so that nobody's own settings count."""
    settings.touch()
    with contextlib.ExitStack() as stack:
        standin_url = stack.enter_context(listening("conformance.standin", "--port", "0"))
        serve = ("serve", "--port", "0", "--upstream", standin_url, "--config", str(settings))
        pair = Pair(stack.enter_context(listening("gateway", *serve)), standin_url)
        pair.add_rules()
        yield pair


def drive(command: Sequence[str | Path], url: str, *names: str) -> list[Outcome]:
    """
    Run a driver's scenarios, by default all, against a base URL; return its lines.

    A driver that ends otherwise than by its scenarios' failure is told of with what it said.
    """
    done = subprocess.run(
        [*command, url, CHAT_MODEL, EMBEDDING_MODEL, *names],
        cwd=ROOT,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=DRIVER_LIMIT_S,
        check=False,
    )
    outcomes = read_outcomes(done.stdout)
    expected = 0 if all(one.ok for one in outcomes) else 1
    assert expected == done.returncode, f"driver ended with {done.returncode}:\n{done.stderr}"
    return outcomes


def read_outcomes(lines: str) -> list[Outcome]:
    """Read the lines of a driver."""
    return [msgspec.json.decode(line, type=Outcome) for line in lines.split("\n") if line]


def names_of(outcomes: Iterable[Outcome]) -> list[str]:
    """Return the names of the scenarios that ran, in order."""
    return [one.name for one in outcomes]


def failures_of(outcomes: Iterable[Outcome]) -> dict[str, str]:
    """Return the scenarios that failed, and why."""
    return {one.name: one.detail for one in outcomes if not one.ok}
