"""
One run: a plan's conversations on its hosts, placed by one policy.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass, field
from math import inf
from random import Random
from typing import Any

import simpy

from gateway.fleet.view import LOADED, LOADING, UNLOADED, HomeFacts, HostFacts, View

from .hosts import CONNECT_S, Host
from .policies import POLICIES, Choice
from .workload import Conversation, Plan, Turn, conversations

DOWN_S = 60.0
"""Seconds that a host is off."""
NOTICED_S = 2.0
"""Seconds after which a probe finds a host that is back."""


@dataclass(slots=True)
class Result:
    """What one run has shown. Times are in seconds of the simulation, `deciding_ns` of this CPU."""

    plan: Plan
    policy: str
    first_tokens: list[float] = field(default_factory=list)
    prompt_tokens: int = 0
    cached_tokens: int = 0
    loads: int = 0
    failed: int = 0
    """Requests that a host lost after their first token, or that no host was left for."""
    moved: int = 0
    """Requests that another host took over."""
    deciding_ns: list[int] = field(default_factory=list)

    @property
    def hits(self) -> float:
        """The share of all prompt tokens that were in a cache."""
        return self.cached_tokens / max(1, self.prompt_tokens)

    def first_token(self, share: float) -> float:
        """Return the time to the first token that a share of the requests did not exceed."""
        ordered = sorted(self.first_tokens)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else inf

    def deciding_us(self) -> float:
        """Return the median time of a decision, in microseconds of this machine."""
        return sorted(self.deciding_ns)[len(self.deciding_ns) // 2] / 1000


class Run:
    """One simulation; `run` does it."""

    def __init__(self, plan: Plan, policy: str, seed: int, *, dying: int) -> None:
        """Let `dying` hosts be off for a time, one after the other."""
        self._env = simpy.Environment()
        self._plan = plan
        self._hosts = [Host(self._env, number, plan) for number in range(plan.hosts)]
        self._running = [0] * plan.hosts
        self._shut_until = [0.0] * plan.hosts
        self._choose = POLICIES[policy](seed)
        self._seed = seed
        self._dying = dying
        self._result = Result(plan, policy)
        models: dict[str, dict[int, HomeFacts]] = {}
        for number, host in enumerate(self._hosts):
            # Each model is loaded on its share of the hosts.
            has = f"model {number % plan.models}"
            host.have(has)
            for model in (f"model {each}" for each in range(plan.models)):
                home = HomeFacts(LOADED if model == has else UNLOADED)
                models.setdefault(model, {})[number] = home
        hosts = [HostFacts(f"host {number}", 1, plan.slots) for number in range(plan.hosts)]
        self._view = View.of(hosts, models, self._running, self._shut_until)

    def run(self) -> Result:
        """Run until every request has ended."""
        talks = list(conversations(self._plan, self._seed))
        for talk in talks:
            self._env.process(self._talk(talk))
        random = Random(self._seed)
        for number in random.sample(range(self._plan.hosts), self._dying):
            self._env.process(self._outage(number, random.uniform(0, talks[-1].starts_at)))
        self._env.run()
        self._result.loads = sum(host.loads for host in self._hosts)
        return self._result

    def _talk(self, talk: Conversation) -> Generator[simpy.Event, Any, None]:
        yield self._env.timeout(talk.starts_at)
        for turn in talk.turns:
            yield self._env.process(self._ask(talk, turn))
            yield self._env.timeout(turn.think_s)

    def _ask(self, talk: Conversation, turn: Turn) -> Generator[simpy.Event, Any, None]:
        env, result = self._env, self._result
        asked_at = env.now
        tried: frozenset[int] = frozenset()
        while True:
            before = time.perf_counter_ns()
            number = self._choose(Choice(talk, self._view, tried, env.now))
            result.deciding_ns.append(time.perf_counter_ns() - before)
            if number is None:
                result.failed += 1
                return
            try:
                cached, first_at = yield from self._at(number, talk, turn)
            except (ConnectionError, simpy.Interrupt):
                self._shut_until[number] = inf
                if self._hosts[number].has_begun(talk.number):
                    result.failed += 1
                    return
                result.moved += 1
                tried |= {number}
                continue
            result.first_tokens.append(first_at - asked_at)
            result.prompt_tokens += turn.prompt
            result.cached_tokens += cached
            return

    def _at(
        self, number: int, talk: Conversation, turn: Turn
    ) -> Generator[simpy.Event, Any, tuple[int, float]]:
        host, model = self._hosts[number], talk.model
        request = self._env.active_process
        assert request is not None
        self._running[number] += 1
        host.requests[request] = None
        try:
            if host.is_dead:
                yield self._env.timeout(CONNECT_S)
                raise ConnectionError
            if not host.has(model):
                self._note(number, model, LOADING)
                yield from host.load(model)
                self._note(number, model, LOADED)
            return (yield from host.answer(talk, turn))
        finally:
            self._running[number] -= 1
            del host.requests[request]

    def _note(self, number: int, model: str, state: int) -> None:
        if self._view.homes[model].by_host[number].state != state:
            self._view = self._view.with_home(model, number, HomeFacts(state))

    def _outage(self, number: int, at: float) -> Generator[simpy.Event, Any, None]:
        yield self._env.timeout(at)
        host = self._hosts[number]
        host.die()
        yield self._env.timeout(DOWN_S)
        host.revive()
        for model in self._view.homes:
            self._note(number, model, UNLOADED)
        yield self._env.timeout(NOTICED_S)
        self._shut_until[number] = 0.0


def simulate(plan: Plan, policy: str, seed: int, *, dying: int = 0) -> Result:
    """Run one simulation to its end; the same seed gives the same result."""
    return Run(plan, policy, seed, dying=dying).run()
