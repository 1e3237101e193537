"""
The conversations of a simulation: who asks what, when, and how it begins.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from gateway.fleet.affinity import beginning_of


class Turn(NamedTuple):
    """One request of a conversation: its prompt and its answer, in tokens."""

    prompt: int
    answer: int
    think_s: float
    """Seconds after the answer until the next turn."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """
    Requests that follow each other, each with everything before it in its prompt.

    `shared` tokens at the start are the system text of its `group`, which others have too.
    """

    number: int
    starts_at: float
    model: str
    group: int
    shared: int
    key: int
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much work there is for a number of hosts."""

    hosts: int
    slots: int = 4
    models: int = 2
    groups: int = 8
    requests: int = 1000
    load: float = 0.5
    """The share of all slots that would be busy if no prompt were in a cache."""
    prefill: float = 800.0
    """Prompt tokens a second."""
    decode: float = 40.0
    """Answer tokens a second of one request."""

    @property
    def arrivals_s(self) -> float:
        """Requests a second that make the load."""
        service_s = 2200 / self.prefill + 160 / self.decode
        return self.load * self.hosts * self.slots / service_s


def conversations(plan: Plan, seed: int) -> Iterator[Conversation]:
    """Yield the conversations in the order of their starts; the same for the same seed."""
    random = Random(seed)
    systems = [random.randrange(500, 2500) for _ in range(plan.groups)]
    now, number, asked = 0.0, 0, 0
    while asked < plan.requests:
        group = min(int(random.expovariate(3 / plan.groups)), plan.groups - 1)
        shared = systems[group]
        prompt, turns = shared, []
        for _ in range(random.randrange(1, 8)):
            prompt += random.randrange(30, 400)
            answer = random.randrange(20, 300)
            turns.append(Turn(prompt, answer, random.uniform(2, 12)))
            prompt += answer
        model = f"model {group % plan.models}"
        key = beginning_of(model, [f"system {group}", f"question {number}"])
        now += random.expovariate(plan.arrivals_s / len(turns))
        yield Conversation(number, now, model, group, shared, key, tuple(turns))
        number += 1
        asked += len(turns)
