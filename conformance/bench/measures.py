"""
What is measured, and how: every measure asks each target in turn, so that all meet the same noise.

Times are nanoseconds. CPU time is the server process's own (its children it has none), user and
system together; what the stand-in and the load generator use is not in it.
"""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from conformance.bench import load, servers, stalls, work
from conformance.bench.dialect import LARGE, TASKS, Task, request
from conformance.bench.generator import Job, Yield
from conformance.bench.instructions import Counted
from conformance.bench.load import PACE_S, TOKENS
from conformance.bench.servers import Target, Usage
from conformance.bench.stalls import Stall
from conformance.bench.standin import Plan
from conformance.bench.wire import MODEL

PLOTTED = 400
"""So many quantiles of a distribution are kept for the picture."""


class Spread(msgspec.Struct, frozen=True):
    """A distribution in nanoseconds."""

    p50: float
    p90: float
    p99: float
    quantiles: list[float] = []

    @staticmethod
    def of(samples: list[int]) -> Spread:
        """Summarise samples, of which there must be some."""
        ordered = sorted(samples)

        def at(share: float) -> float:
            return float(ordered[min(len(ordered) - 1, math.floor(share * len(ordered)))])

        return Spread(at(0.5), at(0.9), at(0.99), [at((n + 0.5) / PLOTTED) for n in range(PLOTTED)])


class Paced(msgspec.Struct, frozen=True):
    """Streams paced like a model's, side by side."""

    target: str
    streams: int
    first_token: Spread
    token: Spread
    cpu_us_per_token: float
    rounds: list[float] = []
    """The last value of each round, from which the noise is known."""


class Wave(msgspec.Struct, frozen=True):
    """Streams that all begin at once."""

    target: str
    streams: int
    first_token: Spread
    rounds: list[float] = []
    """The median of each round in nanoseconds."""


class Burst(msgspec.Struct, frozen=True):
    """Streams as fast as they are taken; tokens per second of the server's own CPU time."""

    target: str
    cpu_us_per_token: float
    tokens_per_cpu_s: float
    tokens_per_wall_s: float
    rounds: list[float] = []
    """The microseconds of each round."""


class Requests(msgspec.Struct, frozen=True):
    """One-shot requests."""

    target: str
    task: Task
    cpu_us: float
    per_cpu_s: float
    per_wall_s: float
    rounds: list[float] = []
    """The microseconds of each round."""


class Memory(msgspec.Struct, frozen=True):
    """Resident memory in MiB: at rest, early and late with many open streams, a stuck reader's."""

    target: str
    streams: int
    at_rest: float
    early: float
    late: float
    stuck_reader_added: float | None


class Start(msgspec.Struct, frozen=True):
    """Seconds, with Python's compiled files there; the least of several tries."""

    first_answer_s: float
    import_s: float


class Results(msgspec.Struct):
    """All that one run has found; rounds of one measure are merged."""

    machine: str = ""
    paced: list[Paced] = []
    waves: list[Wave] = []
    burst: list[Burst] = []
    requests: list[Requests] = []
    memory: list[Memory] = []
    start: Start | None = None
    stalls: list[Stall] = []
    work_ns: dict[str, float] = {}
    instructions: list[Counted] = []
    problems: list[str] = []


class Size(msgspec.Struct, frozen=True):
    """How much is done."""

    streams: tuple[int, ...] = (1, 16, 64, 256)
    rounds: int = 3
    wave_streams: int = 256
    tokens: int = TOKENS
    burst_cycles: int = 20
    request_cycles: int = 100
    memory_streams: int = 1000
    start_tries: int = 5
    stall_megabytes: int = 16


QUICK = Size(
    streams=(1, 16, 64),
    stall_megabytes=2,
    rounds=1,
    wave_streams=32,
    tokens=50,
    burst_cycles=5,
    request_cycles=15,
    memory_streams=100,
    start_tries=1,
)


class Bench:
    """One run: what is measured in it, at which targets, behind which stand-in."""

    def __init__(
        self, standin: Target, targets: list[Target], size: Size, say: Callable[[str], None]
    ) -> None:
        self._standin = standin
        self._targets = targets
        self._size = size
        self._say = say
        self._usage = {target.name: Usage(target.pid) for target in targets}
        self.results = Results()

    def run(self) -> Results:
        """Measure everything."""
        self._warm_up()
        for streams in self._size.streams:
            self._say(f"paced, {streams} streams")
            self._measure_paced(streams)
        self._say(f"a wave of {self._size.wave_streams} streams")
        self._measure_wave()
        self._say("burst")
        self._measure_burst()
        for task in TASKS:
            self._say(f"requests: {task}")
            self._measure_requests(task)
        self._say("memory")
        self._measure_memory()
        self._say("stalls")
        self._measure_stalls()
        self._say("start and work per chunk")
        self._measure_start()
        self.results.work_ns = {name: work.time_ns(each) for name, each in work.works().items()}
        return self.results

    def _warm_up(self) -> None:
        servers.set_plan(self._standin, Plan(tokens=20))
        for target in self._targets:
            self._drive(target, "stream", workers=4, cycles=10)

    def _turns(self, number: int) -> list[Target]:
        """Return the targets, each round beginning with another one."""
        first = number % len(self._targets)
        return self._targets[first:] + self._targets[:first]

    def _measure_paced(self, streams: int) -> None:
        size = self._size
        servers.set_plan(self._standin, Plan(tokens=size.tokens, interval_s=PACE_S))
        # One stream yields few first tokens, and costs little.
        cycles = 3 if streams == 1 else 1
        merged: dict[str, tuple[Yield, int]] = {}
        each: dict[str, list[float]] = {}
        for number in range(size.rounds):
            for target in self._turns(number):
                got, cpu_ns = self._drive(
                    target, "stream", workers=streams, cycles=cycles, stagger_s=PACE_S * 7.5
                )
                if got.tokens != streams * cycles * size.tokens:
                    self._note(f"{target.name}: {got.tokens} tokens came, paced, {streams} streams")
                before, used = merged.setdefault(target.name, (Yield(), 0))
                before.first_token = before.first_token + got.first_token
                before.token = before.token + got.token
                before.tokens += got.tokens
                merged[target.name] = before, used + cpu_ns
                each.setdefault(target.name, []).append(cpu_ns / max(got.tokens, 1) / 1000)
        for name, (got, cpu_ns) in merged.items():
            if got.tokens:
                self.results.paced.append(
                    Paced(
                        name,
                        streams,
                        Spread.of(got.first_token),
                        Spread.of(got.token),
                        cpu_ns / got.tokens / 1000,
                        each[name],
                    )
                )

    def _measure_wave(self) -> None:
        size = self._size
        streams = size.wave_streams
        # Few tokens: how long the first ones take is looked at.
        servers.set_plan(self._standin, Plan(tokens=10, interval_s=PACE_S))
        waits: dict[str, list[list[int]]] = {}
        for number in range(size.rounds):
            for target in self._turns(number):
                got, _ = self._drive(target, "stream", workers=streams, cycles=1)
                if got.first_token:
                    waits.setdefault(target.name, []).append(got.first_token)
        for name, rounds in waits.items():
            spread = Spread.of([wait for found in rounds for wait in found])
            medians = [Spread.of(found).p50 for found in rounds]
            self.results.waves.append(Wave(name, streams, spread, medians))

    def _measure_burst(self) -> None:
        size = self._size
        servers.set_plan(self._standin, Plan(tokens=size.tokens))
        rows: dict[str, list[tuple[int, int, int]]] = {}
        for number in range(size.rounds):
            for target in self._turns(number):
                got, cpu_ns = self._drive(target, "stream", workers=8, cycles=size.burst_cycles)
                rows.setdefault(target.name, []).append(
                    (got.requests * size.tokens, cpu_ns, got.wall_ns)
                )
        for name, found in rows.items():
            tokens, cpu_ns, wall_ns = (sum(column) for column in zip(*found, strict=True))
            if tokens and cpu_ns:
                self.results.burst.append(
                    Burst(
                        name,
                        cpu_ns / tokens / 1000,
                        tokens / cpu_ns * 1e9,
                        tokens / wall_ns * 1e9,
                        [used / each / 1000 for each, used, _ in found if each],
                    )
                )

    def _measure_requests(self, task: Task) -> None:
        size = self._size
        servers.set_plan(self._standin, Plan(tokens=size.tokens))
        cycles = max(3, size.request_cycles // 10) if task in LARGE else size.request_cycles
        rows: dict[str, list[tuple[int, int, int]]] = {}
        for number in range(size.rounds):
            for target in self._turns(number):
                if request(target.dialect, task) is None or target.pid == self._standin.pid:
                    continue
                got, cpu_ns = self._drive(target, task, workers=4, cycles=cycles)
                rows.setdefault(target.name, []).append((got.requests, cpu_ns, got.wall_ns))
        for name, found in rows.items():
            count, cpu_ns, wall_ns = (sum(column) for column in zip(*found, strict=True))
            if count and cpu_ns:
                self.results.requests.append(
                    Requests(
                        name,
                        task,
                        cpu_ns / count / 1000,
                        count / cpu_ns * 1e9,
                        count / wall_ns * 1e9,
                        [used / each / 1000 for each, used, _ in found if each],
                    )
                )

    def _measure_memory(self) -> None:
        streams = self._size.memory_streams
        # Few tokens a second: open streams are looked at here, not busy ones.
        plan = Plan(tokens=14, interval_s=1.0)
        for target in self._targets:
            if target.pid == self._standin.pid:
                continue
            usage = self._usage[target.name]
            at_rest = usage.rss_bytes()
            servers.set_plan(self._standin, plan)
            job = Job(
                url=target.url,
                dialect=target.dialect,
                task="stream",
                model=MODEL,
                workers=streams,
                stagger_s=3.0,
            )
            with load.start(job) as process:
                time.sleep(6.0)
                early = usage.rss_bytes()
                time.sleep(5.0)
                late = usage.rss_bytes()
                got = load.finish(process, job)
            self._note_all(target, got)
            stuck = None
            if target.dialect == "ollama" or target.name == "bare pass-through":
                stuck = self._read_nothing(target, usage)
            mib = 1024 * 1024
            self.results.memory.append(
                Memory(
                    target.name,
                    streams,
                    at_rest / mib,
                    early / mib,
                    late / mib,
                    None if stuck is None else stuck / mib,
                )
            )

    def _read_nothing(self, target: Target, usage: Usage) -> int:
        """Return by how much memory grows behind a client that asks for a lot and reads nothing."""
        servers.set_plan(self._standin, Plan(tokens=300_000))
        message = request(target.dialect, "stream")
        assert message is not None
        before = usage.rss_bytes()
        where = urlsplit(target.url)
        assert where.hostname is not None
        assert where.port is not None
        with socket.create_connection((where.hostname, where.port)) as client:
            client.sendall(message)
            most = 0
            for _ in range(30):
                time.sleep(0.1)
                most = max(most, usage.rss_bytes() - before)
        return most

    def _measure_stalls(self) -> None:
        servers.set_plan(self._standin, Plan(tokens=5))
        for target in self._targets:
            if target.dialect == "ollama":
                self.results.stalls += stalls.measure(target, self._size.stall_megabytes)

    def _measure_start(self) -> None:
        answers: list[float] = []
        imports: list[float] = []
        code = "import time; t=time.perf_counter(); import gateway.app, gateway.server.process; "
        code += "print(time.perf_counter()-t)"
        with tempfile.TemporaryDirectory() as folder:
            compiled = Path(folder)
            importing = [sys.executable, "-c", code]
            env = servers.compiling(compiled, os.environ)
            # Once for what an installation does: Python's compiled files are there afterwards.
            subprocess.check_output(importing, env=env)
            for _ in range(self._size.start_tries):
                began = time.monotonic()
                with (
                    tempfile.TemporaryDirectory() as state,
                    servers.started(
                        "gateway",
                        "ollama",
                        *servers.gateway_arguments(self._standin.url),
                        state=Path(state),
                        compiled=compiled,
                    ) as target,
                ):
                    answers.append(servers.first_answer_s(target.url, "/api/version", began))
                imports.append(float(subprocess.check_output(importing, env=env)))
        self.results.start = Start(min(answers), min(imports))

    def _drive(
        self, target: Target, task: Task, *, workers: int, cycles: int, stagger_s: float = 0.0
    ) -> tuple[Yield, int]:
        job = Job(
            url=target.url,
            dialect=target.dialect,
            task=task,
            model=MODEL,
            workers=workers,
            cycles=cycles,
            stagger_s=stagger_s,
        )
        usage = self._usage[target.name]
        before = usage.cpu_ns()
        with load.start(job) as process:
            got = load.finish(process, job)
        cpu_ns = usage.cpu_ns() - before
        self._note_all(target, got)
        return got, cpu_ns

    def _note_all(self, target: Target, got: Yield) -> None:
        for problem in got.problems:
            self._note(f"{target.name}: {problem}")

    def _note(self, problem: str) -> None:
        if problem not in self.results.problems:
            self.results.problems.append(problem)
            self._say(f"problem: {problem}")


def as_json(results: Results) -> str:
    """Return the results as JSON text."""
    return json.dumps(msgspec.to_builtins(results), indent=1) + "\n"
