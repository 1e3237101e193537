"""
The hosts of a simulation: slots, a cache of prompts, loads of models, and deaths.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator
from typing import Any

import simpy

from .workload import Conversation, Plan, Turn

LOAD_S = 15.0
"""Seconds that a model takes to load."""
CONNECT_S = 5.0
"""Seconds until a connection to a host that is off has failed."""

SHARED = 0.2
"""How much longer a request takes for each other one that runs on its host."""


class Host:
    """
    One host, which runs `slots` requests at a time and remembers the last prompt of each slot.

    A prompt that begins like a remembered one costs only its rest: the whole history of the same
    conversation, or the system text of its group.
    """

    def __init__(self, env: simpy.Environment, number: int, plan: Plan) -> None:
        self.number = number
        self.is_dead = False
        self.loads = 0
        self.requests: dict[simpy.Process, None] = {}
        """The requests that run or wait here, in the order in which they came."""
        self._env = env
        self._plan = plan
        self._slots = simpy.Resource(env, plan.slots)
        self._begun: set[int] = set()
        self._loaded: dict[str, simpy.Event] = {}
        self._prompts: OrderedDict[int, tuple[str, int, int, int]] = OrderedDict()

    def have(self, model: str) -> None:
        """Have a model loaded from the start."""
        self._loaded[model] = self._env.event().succeed()

    def has(self, model: str) -> bool:
        """Return whether a model is loaded."""
        event = self._loaded.get(model)
        return event is not None and event.triggered

    def load(self, model: str) -> Generator[simpy.Event, Any, None]:
        """Wait until a model is loaded; the first request starts the load."""
        event = self._loaded.get(model)
        if event is None:
            event = self._loaded[model] = self._env.event()
            self.loads += 1
            self._env.process(self._finish_load(model, event))
        yield event

    def answer(
        self, talk: Conversation, turn: Turn
    ) -> Generator[simpy.Event, Any, tuple[int, float]]:
        """Wait for a slot and the prompt; return the tokens in the cache and the answer's time."""
        with self._slots.request() as slot:
            yield slot
            cached = self._cached(talk, turn)
            yield self._env.timeout((turn.prompt - cached) / self._plan.prefill * self._slowed())
            first_at = self._env.now
            self._begun.add(talk.number)
            yield self._env.timeout(turn.answer / self._plan.decode * self._slowed())
        self._begun.discard(talk.number)
        self._remember(talk, turn)
        return cached, first_at

    def has_begun(self, talk: int) -> bool:
        """Return whether a lost request had sent its first token; it is asked once."""
        had = talk in self._begun
        self._begun.discard(talk)
        return had

    def die(self) -> None:
        """Lose every request, every model and every prompt."""
        self.is_dead = True
        self._loaded.clear()
        self._prompts.clear()
        for request in list(self.requests):
            if request.is_alive:
                request.interrupt()

    def revive(self) -> None:
        """Be there again, with nothing loaded."""
        self.is_dead = False

    def _slowed(self) -> float:
        return 1 + SHARED * (self._slots.count - 1)

    def _finish_load(self, model: str, event: simpy.Event) -> Generator[simpy.Event, Any, None]:
        yield self._env.timeout(LOAD_S)
        if self._loaded.get(model) is event:
            event.succeed()

    def _cached(self, talk: Conversation, turn: Turn) -> int:
        best = 0
        for number, (model, group, shared, tokens) in self._prompts.items():
            if model != talk.model:
                continue
            if number == talk.number:
                return min(tokens, turn.prompt)
            if group == talk.group:
                best = max(best, min(shared, turn.prompt))
        return best

    def _remember(self, talk: Conversation, turn: Turn) -> None:
        self._prompts[talk.number] = (
            talk.model,
            talk.group,
            talk.shared,
            turn.prompt + turn.answer,
        )
        self._prompts.move_to_end(talk.number)
        while len(self._prompts) > self._plan.slots * 2:
            self._prompts.popitem(last=False)
