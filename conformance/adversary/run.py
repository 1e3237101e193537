"""
The run: exchanges with a gateway on one of the event loops, and what it holds before and after.

All that is drawn hangs on the seed and on an exchange's number, so that each can be repeated alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import time
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import aiohttp

from conformance.adversary.acts import Act, draw_act, draw_silence
from conformance.adversary.asks import Ask, draw_ask
from conformance.adversary.hostile import Hostile, open_hostile
from conformance.adversary.judging import Received, judge
from conformance.soak.gateway import Gateway, Measure, run_gateway

AT_A_TIME = 32
HANGS_S = 60.0
"""No exchange takes that long unless something hangs: the limits of the gateway are far below."""
WARM_UP = 0.3
IDLE_S = 2.5
"""More than the seconds for which the gateway keeps an idle connection."""
QUIET_S = 0.25
"""After its last whole answer, what else a connection sends would come within this time."""
SETTINGS = {
    "OLGATE_LIMITS_BODY_BYTES": "4000000",
    "OLGATE_LIMITS_BODY_S": "8",
    "OLGATE_LIMITS_HEADER_S": "8",
    "OLGATE_UPSTREAM_FIRST_BYTE_TIMEOUT_S": "8",
    "OLGATE_UPSTREAM_SILENCE_TIMEOUT_S": "8",
    "OLGATE_MODELS_LOAD_TIMEOUT_S": "5",
}
_ONLY_ASYNCIO = (
    "import sys, runpy; sys.modules['uvloop'] = None; sys.argv[0] = 'gateway'; "
    "runpy.run_module('gateway', run_name='__main__')"
)
LOOPS: dict[str, tuple[str, ...]] = {"uvloop": ("-m", "gateway"), "asyncio": ("-c", _ONLY_ASYNCIO)}
_RESET = struct.pack("ii", 1, 0)


@dataclass
class Report:
    """What was done on one event loop, and what is wrong."""

    loop: str
    figures: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


@dataclass(eq=False)
class Run:
    """One gateway, its hostile upstream, and what came of the exchanges."""

    seed: int
    hostile: Hostile
    gateway: Gateway
    report: Report
    kinds: Counter[str] = field(default_factory=Counter)
    given: set[bytes] = field(default_factory=set)
    """The tags of all exchanges so far."""
    lag_s: float = 0.0

    async def exchanges(self, first: int, last: int) -> None:
        """Make the exchanges of these numbers, some at a time."""
        numbers = iter(range(first, last))

        async def work() -> None:
            for number in numbers:
                await self.exchange(number)

        await asyncio.gather(*(work() for _ in range(AT_A_TIME)))

    async def exchange(self, number: int) -> None:
        """Make one exchange and judge it."""
        dice = random.Random(f"{self.seed} {number}")
        tags = tuple(f"q{dice.getrandbits(40):010x}" for _ in range(dice.choice([2, 3, 5])))
        ask = draw_ask(dice, tags, is_hostile=dice.random() < 0.6)
        acts = [self._act(dice, ask, tag) for tag in ask.tags]
        for tag, act in zip(ask.tags, acts, strict=True):
            self.hostile.acts[tag.encode()] = act
            self.given.add(tag.encode())
        self.kinds.update((f"ask {ask.name}", *(f"act {act.name}" for act in acts)))
        try:
            async with asyncio.timeout(HANGS_S):
                received = await self._talk(ask)
            asked = [self.hostile.asked[tag.encode()] for tag in ask.tags]
            played = [act if number else None for act, number in zip(acts, asked, strict=True)]
            problems = judge(ask, played, received, self.given)
        except TimeoutError:
            problems = [f"hung for {HANGS_S:g} s"]
        finally:
            for tag in ask.tags:
                del self.hostile.acts[tag.encode()]
        names = ", ".join(act.name for act in acts)
        self.report.problems += [
            f"exchange {number} ({ask.name} to {ask.route}, answered {names}): {words}"
            for words in problems
        ]

    def _act(self, dice: random.Random, ask: Ask, tag: str) -> Act:
        # Few, as each takes as long as a time limit.
        if dice.random() < 0.003:
            return draw_silence(dice, tag, is_stream=ask.is_stream)
        return draw_act(dice, tag, is_stream=ask.is_stream)

    async def _talk(self, ask: Ask) -> Received:
        """Send what is asked, and return everything that comes."""
        address = urlsplit(self.gateway.url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            with contextlib.suppress(OSError):
                for piece in ask.pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
            if ask.after == "close":
                return Received()
            if ask.after == "reset":
                connection: socket.socket = writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                writer.transport.abort()
                return Received()
            if ask.after == "half":
                with contextlib.suppress(OSError):
                    writer.write_eof()
            return await self._read(ask, reader)
        finally:
            writer.close()

    async def _read(self, ask: Ask, reader: asyncio.StreamReader) -> Received:
        received = Received()
        while True:
            told = received.told
            is_all = len(told) >= len(ask.tags) and all(one.is_whole for one in told)
            if is_all and ask.is_well:
                return received
            is_refused = any(one.is_whole and one.status >= 400 for one in told)
            may_end = is_all or bool(received.problem) or (is_refused and not ask.is_well)
            try:
                async with asyncio.timeout(QUIET_S if may_end else None):
                    part = await reader.read(2**16)
            except (TimeoutError, OSError):
                return received
            if not part:
                return received
            received.feed(part)
            if ask.after == "slow":
                await asyncio.sleep(0.01)

    async def watch(self) -> None:
        """Note how late this program is: its own lag must not look like a gateway's."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.1)
            self.lag_s = max(self.lag_s, time.monotonic() - began - 0.1)

    def compare(self, before: Measure, after: Measure) -> None:
        """Compare what the gateway holds when it has nothing to do."""
        for name, first, last, most in (
            ("tasks", before.tasks, after.tasks, before.tasks),
            ("files", before.files, after.files, before.files + 2),
            ("memory in MiB", before.rss_mib, after.rss_mib, before.rss_mib * 1.25 + 16),
        ):
            self.report.figures[name] = f"{first:.0f} -> {last:.0f}"
            if last > most:
                self.report.problems.append(f"{name} grew from {first:.0f} to {last:.0f}")


async def attack(loop: str, count: int, seed: int, first: int = 0) -> Report:
    """Make `count` exchanges with a gateway on an event loop; problems are in the report."""
    report = Report(loop)
    began = time.monotonic()
    async with (
        open_hostile() as hostile,
        run_gateway(hostile.url, SETTINGS, LOOPS[loop]) as gateway,
        aiohttp.ClientSession(gateway.url) as session,
    ):
        run = Run(seed, hostile, gateway, report)
        watching = asyncio.create_task(run.watch())
        warm = first + int(count * WARM_UP)
        await run.exchanges(first, warm)
        before = await _settled(gateway, session)
        await run.exchanges(warm, first + count)
        after = await _settled(gateway, session)
        watching.cancel()
        report.figures["most lag of this program"] = f"{run.lag_s:.2f} s"
        if count > 1:
            run.compare(before, after)
        async with session.get("/api/version") as answer:
            if answer.status != 200:
                report.problems.append(f"at the end, /api/version is a {answer.status}")
    report.figures["exchanges"] = str(count)
    report.figures["seconds"] = f"{time.monotonic() - began:.0f}"
    report.figures["most memory in MiB"] = f"{gateway.peak_mib:.0f}"
    report.figures["kinds"] = ", ".join(f"{name} {n}" for name, n in sorted(run.kinds.items()))
    if gateway.process.returncode != 0:
        report.problems.append(f"the gateway ended with {gateway.process.returncode}")
    if gateway.tracebacks:
        lines = "\n".join(gateway.traced)
        report.problems.append(f"{gateway.tracebacks} exceptions in the gateway:\n{lines}")
    return report


async def _settled(gateway: Gateway, session: aiohttp.ClientSession) -> Measure:
    """Measure when nothing runs any more, and idle connections to the upstream are closed."""
    now = await gateway.measure(session)
    equal = 0
    for _ in range(60):
        await asyncio.sleep(0.5)
        least, now = now, await gateway.measure(session)
        equal = equal + 1 if (now.tasks, now.files) == (least.tasks, least.files) else 0
        if equal * 0.5 > IDLE_S:
            break
    return now
