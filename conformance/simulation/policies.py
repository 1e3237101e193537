"""
The policies that a simulation compares: four that balancers have, and the gateway's own.

All of them know which hosts are off, and never choose one that has failed the same request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple, TypeAlias

from gateway.fleet.placement import Needs, Spread, rank
from gateway.fleet.view import View

from .workload import Conversation


class Choice(NamedTuple):
    """What a policy may look at."""

    talk: Conversation
    view: View
    tried: frozenset[int]
    now: float


Policy: TypeAlias = Callable[[Choice], int | None]
"""Returns the number of the host that gets a request, None if there is none."""


def _open(choice: Choice) -> Sequence[int]:
    shut = choice.view.shut_until
    return [
        number
        for number in range(len(choice.view.hosts))
        if shut[number] <= choice.now and number not in choice.tried
    ]


def at_random(seed: int) -> Policy:
    """Return the policy that takes any host."""
    random = Random(seed)

    def choose(choice: Choice) -> int | None:
        hosts = _open(choice)
        return random.choice(hosts) if hosts else None

    return choose


def round_robin(_: int) -> Policy:
    """Return the policy that takes one host after the other."""
    turn = -1

    def choose(choice: Choice) -> int | None:
        nonlocal turn
        hosts = _open(choice)
        turn += 1
        return hosts[turn % len(hosts)] if hosts else None

    return choose


def least_requests(seed: int) -> Policy:
    """Return the policy that takes the host with the fewest requests, any of several."""
    random = Random(seed)

    def choose(choice: Choice) -> int | None:
        hosts = _open(choice)
        if not hosts:
            return None
        running = choice.view.running
        fewest = min(running[number] for number in hosts)
        return random.choice([number for number in hosts if running[number] == fewest])

    return choose


def session_only(_: int) -> Policy:
    """Return the policy that keeps each conversation at one host, whatever runs there."""

    def choose(choice: Choice) -> int | None:
        hosts = _open(choice)
        return hosts[choice.talk.key % len(hosts)] if hosts else None

    return choose


def ours(spread: Spread) -> Callable[[int], Policy]:
    """Return the gateway's policy."""

    def make(_: int) -> Policy:
        def choose(choice: Choice) -> int | None:
            needs = Needs(choice.talk.model, key=choice.talk.key, without=choice.tried)
            homes = rank(needs, choice.view, choice.now, spread)
            return homes[0] if homes else None

        return choose

    return make


OURS = "olgate"
POLICIES: dict[str, Callable[[int], Policy]] = {
    "random": at_random,
    "round robin": round_robin,
    "least requests": least_requests,
    "session only": session_only,
    f"{OURS}, queue": ours("queue"),
    OURS: ours("grow"),
}
