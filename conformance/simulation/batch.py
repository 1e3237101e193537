"""
A batch that comes at once for a model that people chat with: how long the chats wait.

The gateway's own order gives the slots (`gateway.queueing.order`), not a copy of it.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

import simpy

from gateway.queueing.order import Bid, Entry, Home, Order, Rules

BATCH = 500
"""How many requests the batch has."""
ORDERS = {"arrival": Rules(interactive_first=False), "olgate": Rules()}


@dataclass(frozen=True, slots=True)
class Scene:
    """A home with so many slots, and the people that chat with its model. Times are in seconds."""

    slots: int
    people: int
    embedding_s: tuple[float, float] = (0.5, 1.5)
    chat_s: tuple[float, float] = (2.0, 8.0)
    thinking_s: tuple[float, float] = (5.0, 20.0)


SCENES = (Scene(slots=1, people=1), Scene(slots=4, people=2))


@dataclass(slots=True)
class Outcome:
    """What one run has shown. Times are in seconds of the simulation."""

    scene: Scene
    order: str
    waits: list[float] = field(default_factory=list)
    """How long each chat waited that came while the batch ran."""
    slot_s: float = 0.0
    """The longest time that one request of the batch had its slot."""
    ended_at: float = 0.0
    """When the last one of the batch had ended."""
    served: int = 0
    """How many requests of the batch were served."""

    def wait(self, share: float) -> float:
        """Return the wait that a share of the chats did not exceed."""
        ordered = sorted(self.waits)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Run:
    """One simulation; `run` does it."""

    def __init__(self, scene: Scene, order: str, seed: int) -> None:
        self._env = simpy.Environment()
        self._scene = scene
        self._home = Home(scene.slots)
        self._order = Order(ORDERS[order])
        self._places = count()
        self._granted: dict[Entry, simpy.Event] = {}
        self._seed = seed
        self._outcome = Outcome(scene, order)

    def run(self) -> Outcome:
        """Run until the batch has ended, and every chat that came before."""
        random = Random(self._seed)
        for _ in range(BATCH):
            self._env.process(self._embed(random.uniform(*self._scene.embedding_s)))
        for number in range(self._scene.people):
            self._env.process(self._chat(Random(f"{self._seed} {number}")))
        self._env.run()
        return self._outcome

    def _embed(self, takes_s: float) -> Generator[simpy.Event, Any, None]:
        outcome = self._outcome
        yield from self._hold_slot(Bid(), takes_s)
        outcome.slot_s = max(outcome.slot_s, takes_s)
        outcome.served += 1
        outcome.ended_at = self._env.now

    def _chat(self, random: Random) -> Generator[simpy.Event, Any, None]:
        """Ask again and again while the batch runs."""
        scene, outcome = self._scene, self._outcome
        while True:
            yield self._env.timeout(random.uniform(*scene.thinking_s))
            if outcome.served == BATCH:
                return
            takes_s = random.uniform(*scene.chat_s)
            waited_s = yield from self._hold_slot(Bid(is_interactive=True), takes_s)
            outcome.waits.append(waited_s)

    def _hold_slot(self, bid: Bid, takes_s: float) -> Generator[simpy.Event, Any, float]:
        """Wait for a slot, and have it for a time; return how long the wait was."""
        came_at = self._env.now
        entry = Entry(bid, [self._home], next(self._places))
        if not self._order.add(entry):
            granted = self._granted[entry] = self._env.event()
            yield granted
        waited_s = self._env.now - came_at
        yield self._env.timeout(takes_s)
        for following in self._order.give_back(self._home):
            self._granted.pop(following).succeed()
        return waited_s


def simulate_batch(scene: Scene, order: str, seed: int) -> Outcome:
    """Run one simulation to its end; the same seed gives the same outcome."""
    return Run(scene, order, seed).run()


def run_batches(seed: int) -> list[Outcome]:
    """Run every order in every scene."""
    return [simulate_batch(scene, order, seed) for scene in SCENES for order in ORDERS]
