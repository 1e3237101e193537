"""
What is measured, and how: every measure asks each target in turn, so that all meet the same noise.

Times are nanoseconds. CPU time is the server's own, its worker processes included, user and system
together; what the stand-in and the load generator use is not in it.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from conformance.bench import fleet, load, servers, stalls, work
from conformance.bench.dialect import LARGE, TASKS, Task, request
from conformance.bench.generator import Job, Yield
from conformance.bench.load import PACE_S
from conformance.bench.results import Cost, Memory, Paced, Results, Size, Spread, Start, Wave
from conformance.bench.servers import Target, Usage
from conformance.bench.standin import Plan
from conformance.bench.wire import MODEL

_SETTLING_S = 1.0

MANY = 64
"""So many streams are shared among several processes; fewer may all fall to one of them."""


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
        self._say(f"{fleet.HOSTS} hosts")
        self.results.fleet, self.results.skipped = fleet.measure(self._size.fleet_turns)
        self._say("start and work per chunk")
        self._measure_start()
        self.results.work_ns = {name: work.time_ns(each) for name, each in work.works().items()}
        return self.results

    def _warm_up(self) -> None:
        servers.set_plan(self._standin, Plan(tokens=20))
        for target in self._targets:
            task: Task = "models" if request(target.dialect, "stream") is None else "stream"
            self._drive(target, task, workers=4, cycles=10)

    def _rounds(
        self,
        targets: list[Target],
        task: Task,
        *,
        workers: int,
        cycles: int = 1,
        stagger_s: float = 0.0,
        rounds: int | None = None,
    ) -> dict[str, list[tuple[Yield, int]]]:
        """
        Drive the targets that have such a task, each round beginning with another one.

        There are as many rounds as the run has, or as stated.

        Returns what came of each round and its CPU time in nanoseconds, by the target's name.
        """
        asked = [each for each in targets if request(each.dialect, task) is not None]
        found: dict[str, list[tuple[Yield, int]]] = {target.name: [] for target in asked}
        for number in range(rounds or self._size.rounds):
            first = number % len(asked)
            for target in asked[first:] + asked[:first]:
                found[target.name].append(
                    self._drive(target, task, workers=workers, cycles=cycles, stagger_s=stagger_s)
                )
        return found

    def _several(self, streams: int) -> list[Target]:
        """Return the targets for so many streams: several processes are for many of them."""
        return [each for each in self._targets if each.processes == 1 or streams >= MANY]

    def _measure_paced(self, streams: int) -> None:
        size = self._size
        # A long stream yields one first token only, and one at a time takes long.
        tokens, cycles = (size.lone_tokens, size.lone_streams) if streams == 1 else (size.tokens, 1)
        servers.set_plan(self._standin, Plan(tokens=tokens, interval_s=PACE_S))
        found = self._rounds(
            self._several(streams), "stream", workers=streams, cycles=cycles, stagger_s=PACE_S * 7.5
        )
        for name, rounds in found.items():
            for got, _ in rounds:
                if got.tokens != streams * cycles * tokens:
                    self._note(f"{name}: {got.tokens} tokens came, paced, {streams} streams")
            came = sum(got.tokens for got, _ in rounds)
            if came:
                self.results.paced.append(
                    Paced(
                        target=name,
                        streams=streams,
                        first_token=Spread.of([ns for got, _ in rounds for ns in got.first_token]),
                        token=Spread.of([ns for got, _ in rounds for ns in got.token]),
                        cpu_us_per_token=sum(cpu_ns for _, cpu_ns in rounds) / came / 1000,
                        rounds=[cpu_ns / max(got.tokens, 1) / 1000 for got, cpu_ns in rounds],
                    )
                )

    def _measure_wave(self) -> None:
        streams = self._size.wave_streams
        # Few tokens: how long the first ones take is looked at.
        servers.set_plan(self._standin, Plan(tokens=10, interval_s=PACE_S))
        found = self._rounds(self._several(streams), "stream", workers=streams)
        for name, rounds in found.items():
            waits = [got.first_token for got, _ in rounds if got.first_token]
            if waits:
                self.results.waves.append(
                    Wave(
                        target=name,
                        streams=streams,
                        first_token=Spread.of([ns for each in waits for ns in each]),
                        rounds=[Spread.of(each).p50 for each in waits],
                    )
                )

    def _measure_burst(self) -> None:
        servers.set_plan(self._standin, Plan(tokens=self._size.tokens))
        size = self._size
        found = self._rounds(
            self._several(1),
            "stream",
            workers=8,
            cycles=size.burst_cycles,
            rounds=size.short_rounds,
        )
        self.results.burst += costs("stream", found, size.tokens)

    def _measure_requests(self, task: Task) -> None:
        size = self._size
        servers.set_plan(self._standin, Plan(tokens=size.tokens))
        cycles = max(3, size.request_cycles // 10) if task in LARGE else size.request_cycles
        targets = [each for each in self._several(1) if each.pid != self._standin.pid]
        for target in targets:
            if request(target.dialect, task) is not None:
                self._drive(target, task, workers=1, cycles=1)
        # A server may load a library at the first use, on another thread.
        time.sleep(_SETTLING_S)
        found = self._rounds(targets, task, workers=4, cycles=cycles, rounds=size.short_rounds)
        self.results.requests += costs(task, found, 1)

    def _measure_memory(self) -> None:
        streams = self._size.memory_streams
        # Few tokens a second: open streams are looked at here, not busy ones.
        plan = Plan(tokens=14, interval_s=1.0)
        for target in self._several(1):
            if target.pid == self._standin.pid or request(target.dialect, "stream") is None:
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
        for target in self._several(1):
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


def costs(task: Task, found: dict[str, list[tuple[Yield, int]]], size: int) -> Iterator[Cost]:
    """
    Yield what each target's requests cost, as many parts as `size` says for each.

    `found` has of each target what came of its rounds, and their CPU time in nanoseconds.
    """
    for name, rounds in found.items():
        each_us = [ns / got.requests / size / 1000 for got, ns in rounds if got.requests]
        count = sum(got.requests for got, _ in rounds) * size
        if each_us and (cpu_us := statistics.median(each_us)):
            yield Cost(
                target=name,
                task=task,
                cpu_us=cpu_us,
                per_cpu_s=1e6 / cpu_us,
                per_wall_s=count / sum(got.wall_ns for got, _ in rounds) * 1e9,
                rounds=each_us,
            )
