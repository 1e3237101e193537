"""
Hunting mutants: one broken rule or engine, and the runs that look at it until one notices.

This module decides whether a case notices a mutant, and runs in several processes.
`conformance.mutants` chooses the mutants, and decides whether one may survive.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

import structlog

from conformance.mutants.engine import ENGINE
from conformance.mutants.probes import Mutation, Probes, place_probes
from conformance.runner.runner import Bench, make_gateway
from conformance.suite.case import Run, load_cases, select
from conformance.suite.compare import Mismatch
from conformance.suite.known import FILE, read_known_failing

STUCK_S = 10.0
"""After so long a broken gateway is taken to wait for ever; the slowest run takes 3 s if sound."""


@dataclass(frozen=True)
class Hunt:
    """
    A mutant (a broken rule, or an engine by its name) and the numbers of the runs that look at it.

    A failure must name one of the words; without any, a failure is enough.
    """

    name: str
    runs: Sequence[int]
    words: Sequence[str]
    mutation: Mutation | None = None
    engine: str = ""


@dataclass
class Verdict:
    """What became of a mutant: the run that caught it, and by which failure, or why none did."""

    name: str
    caught_by: str = ""
    sign: str = ""
    silent: int = 0
    unnamed: list[str] = field(default_factory=list)
    seconds: float = 0.0


def names(problem: Mismatch, words: Sequence[str]) -> bool:
    """
    Say whether a failure names one of the words: in its place, or in a refusal that came instead.

    >>> names(Mismatch("last line.done", "true", "absent"), ["done"])
    True
    >>> names(Mismatch("last line.done", "true", "absent"), ["eval_count"])
    False
    >>> names(Mismatch("status", "400", '200 {"done": true}'), ["done"])
    False
    """
    text = problem.path
    if problem.path == "status":
        # What came is the whole answer, and one that is no refusal has every field in it.
        text += problem.got.partition("error")[2]
    elif problem.path.endswith("error"):
        text += f" {problem.got}"
    return any(re.search(rf"\b{re.escape(word)}\b", text) for word in words)


class Hunter:
    """Hunts in this process, whose generated code has the probes."""

    def __init__(self, probes: Probes, runs: Sequence[Run]) -> None:
        self._probes = probes
        self._runs = runs

    def hunt(self, hunt: Hunt) -> Verdict:
        """Break what is to be broken, and run until one run notices."""
        engine = next((one for one in ENGINE if one.name == hunt.engine), None)

        def factory(url: str, settings: Mapping[str, Any]) -> Any:
            app = make_gateway(url, settings)
            return app if engine is None else engine.around(app)

        self._probes.broken = hunt.mutation
        began = time.monotonic()
        try:
            with Bench(factory, limit_s=STUCK_S) as bench:
                verdict = self._run(hunt, bench)
        finally:
            self._probes.broken = None
        verdict.seconds = time.monotonic() - began
        return verdict

    def _run(self, hunt: Hunt, bench: Bench) -> Verdict:
        verdict = Verdict(hunt.name)
        for number in hunt.runs:
            one = self._runs[number]
            try:
                problems = bench.run(one)
            except TimeoutError:
                problems = [Mismatch("run", "an end", "none in time")]
            signs = [one for one in problems if not hunt.words or names(one, hunt.words)]
            if signs:
                verdict.caught_by, verdict.sign = one.name, f"{signs[0].path}: {signs[0].got[:80]}"
                return verdict
            if problems:
                verdict.unnamed.append(f"{one.name}: {problems[0]}")
            else:
                verdict.silent += 1
        return verdict


def hunt_all(hunts: Sequence[Hunt], hunter: Hunter, jobs: int = 1) -> Iterator[Verdict]:
    """Yield the verdicts in the order of the hunts, from so many processes."""
    if jobs <= 1 or len(hunts) <= 1:
        yield from map(hunter.hunt, hunts)
        return
    # A fresh process, since one that is forked would have the threads' locks without the threads.
    fresh = get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=fresh, initializer=_begin) as pool:
        yield from pool.map(_hunt, hunts)


def sound_runs() -> list[Run]:
    """Return all runs but those that are known to fail, the same in each process."""
    known = read_known_failing(FILE)
    return [one for one in select(load_cases(), ()) if known.find(one.name) is None]


def be_silent() -> None:
    """Let the gateway log nothing of what is done to it."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))


_hunters: list[Hunter] = []


def _begin() -> None:
    be_silent()
    _hunters.append(Hunter(place_probes(), sound_runs()))


def _hunt(hunt: Hunt) -> Verdict:
    return _hunters[0].hunt(hunt)
