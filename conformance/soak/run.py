"""
The soak itself: warm up, measure, load, measure again, and compare.

What the gateway holds when it has nothing to do is looked at twice, and told as a ratio: how much
that is depends on the machine, whether it grows does not. Every request that reached the stand-in
must be over there when its client is: answered, closed by a fault, or left.
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import msgspec

from conformance.bench.waits import BOUND_MS, Waits, watched, without_processor_s
from conformance.soak.asking import (
    FAULT_IDS,
    LARGE,
    PATIENCE_S,
    Asking,
    Manner,
    Outcome,
    ask,
    draw,
    is_wrong,
)
from conformance.soak.gateway import Gateway, Measure, run_gateway
from conformance.soak.patience import Patience
from conformance.standin import StandIn
from conformance.standin.script import Rule
from conformance.standin.seen import Exchange

WARM_UP = 0.3
"""Which part of the time is warm-up; what is measured after it is what is compared with."""
LARGE_PIECES, LARGE_PIECE_BYTES = 128, 16 * 1024
SETTLES_S = 20.0
"""How long what runs may take to end after the last request."""
MOST_GROWTH = {"tasks": 1.0, "files": 1.1, "sockets": 1.1, "memory": 1.25}
"""How many times as much as after the warm-up there may be in the end."""
SWEEP_S = 0.5
MOST_HELD_MS = 3 * BOUND_MS
"""
Milliseconds that a small request may wait, without the wait for a processor. The bound is one for a
single other request; here many come and go in the steps of the loop that one request takes.
"""
MOST_LATE = 0.01
"""Which part of the healthy requests may meet a time limit, because the machine is too busy."""


@dataclass(frozen=True)
class Wish:
    """How long, how many at a time, how fast, and with which dice."""

    seconds: float
    streams: int
    rate: float
    seed: int
    large: float = 0.0
    """The part of the requests that have bodies of megabytes."""


@dataclass
class Report:
    """What was done and measured, and what is wrong."""

    figures: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


@dataclass(eq=False)
class Left:
    """A client that left, and when, in the stand-in's milliseconds."""

    asking: Asking
    at_ms: float


@dataclass(eq=False)
class Soak:
    """One run: its parts, and what has become of the requests so far."""

    wish: Wish
    standin: StandIn
    gateway: Gateway
    session: aiohttp.ClientSession
    patience: Patience
    report: Report = field(default_factory=Report)
    outcomes: Counter[str] = field(default_factory=Counter)
    lefts: list[Left] = field(default_factory=list)
    exchanges: dict[str, Exchange] = field(default_factory=dict)
    untagged: int = 0
    number: int = 0
    healthy: int = 0
    late: int = 0
    lag_s: float = 0.0
    look_s: float = 0.0

    async def load(self, seconds: float) -> None:
        """Keep as many clients busy as wished, for a time."""
        end = time.monotonic() + seconds
        watches = [asyncio.create_task(each) for each in (self._watch(), self.patience.keep())]
        try:
            async with asyncio.TaskGroup() as clients:
                for _ in range(self.wish.streams):
                    clients.create_task(self._be_client(end))
        finally:
            for watch in watches:
                watch.cancel()
                with suppress(asyncio.CancelledError):
                    await watch
            self._sweep()

    async def settle(self) -> Measure:
        """Wait until nothing runs any more, and measure."""
        end = time.monotonic() + SETTLES_S
        least = await self.gateway.measure(self.session)
        while time.monotonic() < end:
            await asyncio.sleep(1.5)
            now = await self.gateway.measure(self.session)
            if now == least or (now.tasks, now.files) == (least.tasks, least.files):
                return now
            least = now
        return least

    async def _be_client(self, end: float) -> None:
        self.number += 1
        dice = random.Random(f"{self.wish.seed} {self.number}")
        # Not all at once, so that requests begin and end at every moment.
        await asyncio.sleep(dice.random() * min(2.0, self.wish.seconds / 10))
        while time.monotonic() < end:
            self.number += 1
            asking = draw(dice, f"{self.number:x}", self.wish.large)
            outcome, words = await ask(self.session, asking, dice, self.patience)
            self._note(asking, outcome, words)

    def _note(self, asking: Asking, outcome: Outcome, words: str) -> None:
        self.outcomes["all"] += 1
        self.outcomes[outcome] += 1
        self.outcomes[asking.manner] += 1
        if asking.fault is not None:
            self.outcomes[f"fault {asking.fault}"] += 1
        else:
            self.healthy += 1
            self.late += outcome == Outcome.LATE
        if outcome == Outcome.LEFT:
            self.lefts.append(Left(asking, self.standin.log.now_ms()))
        if is_wrong(asking, outcome):
            self.report.problems.append(
                f"{asking.path} stream={asking.is_stream} fault={asking.fault}, "
                f"a client that {asking.manner}: {outcome} {words}"
            )

    async def _watch(self) -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(SWEEP_S)
            self.lag_s = max(self.lag_s, time.monotonic() - began - SWEEP_S)
            began = time.monotonic()
            await self.gateway.counted(self.session)
            self.look_s = max(self.look_s, time.monotonic() - began)
            self.gateway.note_rss()
            self._sweep()

    def _sweep(self) -> None:
        """Take over what the stand-in has noted, whose own notes are limited."""
        for exchange in self.standin.seen:
            tag = exchange.raw.partition(b"tag=")[2].partition(b";")[0].decode()
            if tag:
                self.exchanges[tag] = exchange
            else:
                self.untagged += 1
            if exchange.finished or exchange.left or exchange.closed_ms is not None:
                exchange.raw = b""
        self.standin.seen.clear()

    def judge_cancels(self) -> None:
        """See that nothing is still being answered, and that who left was left for."""
        for tag, one in self.exchanges.items():
            if not (one.finished or one.left or one.closed_ms is not None):
                self.report.problems.append(f"the stand-in still answers {tag}: {one.path}")
        cancelled: list[float] = []
        counts: Counter[str] = Counter()
        for left in self.lefts:
            exchange = self.exchanges.get(left.asking.tag)
            if exchange is None:
                counts["never asked"] += 1
            elif exchange.left_ms is not None:
                counts["cancelled"] += 1
                cancelled.append(exchange.left_ms - left.at_ms)
            else:
                counts["over before"] += 1
        cancelled.sort()
        figures = self.report.figures
        figures["clients that left"] = str(len(self.lefts))
        figures["  seen as cancels upstream"] = str(counts["cancelled"])
        figures["  over before, never asked"] = f"{counts['over before']}, {counts['never asked']}"
        if cancelled:
            middle, most = cancelled[len(cancelled) // 2], cancelled[-1]
            figures["  cancel seen after"] = f"{middle:.0f} ms (median), {most:.0f} ms (most)"
        elif self.lefts:
            self.report.problems.append("clients left, and the stand-in saw no cancel")

    def compare(self, before: Measure, after: Measure) -> None:
        """Compare what the gateway holds before and after."""
        pairs = {
            "tasks": (before.tasks, after.tasks),
            "files": (before.files, after.files),
            "sockets": (before.sockets, after.sockets),
            "memory": (before.rss_mib, after.rss_mib),
        }
        for name, (first, last) in pairs.items():
            ratio = last / max(first, 1)
            self.report.figures[name] = f"{first:.0f} -> {last:.0f} (ratio {ratio:.2f})"
            if ratio > MOST_GROWTH[name]:
                self.report.problems.append(
                    f"{name} grew from {first:.0f} to {last:.0f}, "
                    f"more than {MOST_GROWTH[name]} times"
                )

    def judge_waits(self, waits: list[Waits]) -> None:
        """Tell what small requests waited, at the gateway and at a server that does nothing."""
        own, bare, asleep = waits
        self.report.figures["small requests waited"] = own.told()
        self.report.figures["  at a bare server"] = bare.told()
        self.report.figures["  who only slept"] = asleep.told()
        machine_ms = max(bare.worst_held_ms, asleep.worst_held_ms)
        if own.worst_held_ms - machine_ms > MOST_HELD_MS:
            self.report.problems.append(
                f"a small request waited {own.worst_held_ms:.0f} ms for others, without the wait "
                f"for a processor; the machine alone makes that {machine_ms:.0f} ms"
            )

    def tell(self) -> None:
        """Put what was done among the figures."""
        figures = self.report.figures
        figures["requests"] = str(self.outcomes["all"])
        for outcome in Outcome:
            figures[f"  {outcome}"] = str(self.outcomes[outcome])
        for manner in Manner:
            figures[f"  {manner}"] = str(self.outcomes[manner])
        faults = {name: self.outcomes[f"fault {name}"] for name in FAULT_IDS}
        figures["faults"] = f"{sum(faults.values())} of {sum(map(bool, faults.values()))} kinds"
        figures["healthy and late"] = f"{self.late} of {self.healthy}"
        if self.late > self.healthy * MOST_LATE:
            self.report.problems.append(
                f"{self.late} of {self.healthy} healthy requests met a time limit: "
                "fewer --streams, when the machine is busy"
            )
        figures["had a processor"] = self.patience.told()
        figures["most lag of the clients"] = f"{self.lag_s:.2f} s"
        figures["slowest /metrics"] = f"{self.look_s:.2f} s"
        figures["most memory under load"] = f"{self.gateway.peak_mib:.0f} MiB"


async def soak(wish: Wish) -> Report:
    """Run the whole; problems are in the report, and nothing is raised for them."""
    async with _started(wish) as run:
        await run.load(wish.seconds * WARM_UP)
        before = await run.settle()
        async with watched(run.gateway.url, run.gateway.process.pid) as waits:
            await run.load(wish.seconds * (1 - WARM_UP))
        run.judge_waits(waits)
        after = await run.settle()
        run.tell()
        run.judge_cancels()
        run.compare(before, after)
        counted = await run.gateway.counted(run.session)
        if counted["olgate_running_streams"]:
            run.report.problems.append(
                f"{counted['olgate_running_streams']:.0f} streams still run in the gateway"
            )
        gateway = run.gateway
    if gateway.process.returncode != 0:
        run.report.problems.append(f"the gateway ended with {gateway.process.returncode}")
    if gateway.tracebacks:
        last = "\n".join(gateway.traced)
        run.report.problems.append(f"{gateway.tracebacks} exceptions in the gateway:\n{last}")
    # Its own looks at /metrics are requests, too.
    if gateway.requests < run.outcomes["all"] - run.outcomes[Manner.LEAVES_EARLY]:
        run.report.problems.append(
            f"{gateway.requests} lines for {run.outcomes['all']} requests in the journal"
        )
    return run.report


@asynccontextmanager
async def _started(wish: Wish) -> AsyncIterator[Soak]:
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=1)
    with tempfile.TemporaryDirectory(prefix="olgate-soak-") as folder:
        store = {"OLGATE_STORE_PATH": str(Path(folder) / "store.db")}
        async with (
            StandIn(rate=wish.rate, parallel=0) as standin,
            run_gateway(standin.url, store) as gateway,
            aiohttp.ClientSession(
                gateway.url,
                connector=connector,
                timeout=aiohttp.ClientTimeout(),
                read_bufsize=2**14,
            ) as session,
        ):
            standin.app.script.add(_rules())
            pids = gateway.process.pid, os.getpid()
            patience = Patience(PATIENCE_S, lambda: sum(map(without_processor_s, pids)))
            yield Soak(wish, standin, gateway, session, patience)


def _rules() -> list[Rule]:
    """Return the faults by what stands in a prompt, and the large answer."""
    rules = [
        {"match": {"path": "/v1/*", "body_contains": f"fault={name};"}, "fault": name}
        for name in FAULT_IDS
    ]
    text = "x" * LARGE_PIECE_BYTES
    piece = (
        'data: {"id":"c-1","object":"chat.completion.chunk","choices":[{"index":0,'
        f'"text":"{text}","delta":{{"content":"{text}"}},"finish_reason":null}}]}}\n\n'
    )
    last = (
        'data: {"id":"c-1","object":"chat.completion.chunk","choices":[{"index":0,"text":"",'
        '"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    )
    chunks = [[0, piece] for _ in range(LARGE_PIECES)] + [[0, last]]
    answer = {"chunks": chunks, "headers": {"Content-Type": "text/event-stream"}}
    rules.append({"match": {"path": "/v1/*", "body_contains": LARGE}, "answer": answer})
    return [msgspec.convert(rule, Rule) for rule in rules]
