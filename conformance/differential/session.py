"""
A session: requests to both servers, their replies compared, and what is found made small.
"""

from __future__ import annotations

import json
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from conformance.differential.compare import Difference, compare
from conformance.differential.deviations import undeclared
from conformance.differential.minimise import minimise
from conformance.differential.requests import Drawn, draw
from conformance.differential.sequences import draw_sequence, post
from conformance.differential.wire import Late, NoReply, Reply, Request, ask

THREADS = 6
SEQUENCE_SHARE = 0.12
"""How much of all requests belongs to sequences."""
OFFLINE = re.compile(rb"proxyconnect|account unavailable|there was an error signing out|kimi-k2")
"""What Ollama answers where it wanted ollama.com: no difference to judge, but counted."""
ENGINE_GONE = re.compile(
    rb"dial tcp 127\.0\.0\.1:\d+: connect: connection refused"
    rb"|llama-server process no longer running"
)
"""What Ollama answers where its engine was unloaded under the request: no difference to judge."""
MOST_KINDS = 60
"""After so many kinds of difference a session has told enough."""


@dataclass(frozen=True)
class Finding:
    """An undeclared difference: the smallest request that shows it, both replies, and before it."""

    drawn: Drawn
    differences: tuple[Difference, ...]
    real: Reply
    ours: Reply
    before: tuple[Drawn, ...] = ()

    @property
    def kind(self) -> str:
        """What tells findings apart."""
        return kind_of(self.drawn, self.differences)


def kind_of(drawn: Drawn, differences: Sequence[Difference]) -> str:
    """Return the route, and the place of the first difference with its values if it is a status."""
    first = differences[0]
    values = f" {first.real}/{first.ours}" if first.at == "status" else ""
    return f"{drawn.route} {first.kind}{values}"


@dataclass
class Tally:
    """What a session came to."""

    requests: int = 0
    equal: int = 0
    declared: Counter[str] = field(default_factory=Counter)
    findings: dict[str, Finding] = field(default_factory=dict)
    seen: Counter[str] = field(default_factory=Counter)
    offline: int = 0
    unloaded: int = 0
    late: int = 0


class Session:
    """Two servers by their addresses, how a model of the real one is made anew, and the tally."""

    def __init__(self, real: str, ours: str, remake: Callable[[str], None]) -> None:
        self.real = real
        self.ours = ours
        self._remake = remake
        self.tally = Tally()
        self._lock = threading.Lock()
        self._models = {url: self.models(url) for url in (real, ours)}

    def run(self, count: int, seed: int) -> None:
        """Send so many generated requests; the same ones for the same seed."""
        dice = random.Random(seed)
        several = int(count * SEQUENCE_SHARE)
        drawn = [draw(dice) for _ in range(count - several)]
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(self.check, (one for one in drawn if not one.changes)))
        for one in drawn:
            if one.changes:
                self.check(one)
                self.restore()
        while several > 0:
            steps = draw_sequence(dice)
            several -= len(steps)
            self.check_sequence(steps)
            self.restore()

    def check(self, drawn: Drawn) -> None:
        """Send a request to both and note what differs; make it small when its kind is new."""
        outcome = self.probe(drawn, steady="/api/ps" not in drawn.target.lower())
        if outcome is None:
            return
        left, real, ours = outcome
        kind = kind_of(drawn, left)
        with self._lock:
            self.tally.seen[kind] += 1
            if kind in self.tally.findings or len(self.tally.findings) >= MOST_KINDS:
                return
            self.tally.findings[kind] = Finding(drawn, tuple(left), real, ours)
        small = minimise(drawn, lambda one: self._shows(one, kind))
        outcome = self.probe(small, count=False)
        if outcome is not None:
            self.tally.findings[kind] = Finding(small, tuple(outcome[0]), *outcome[1:])

    def check_sequence(self, steps: Sequence[Drawn]) -> None:
        """Send requests one after the other, and note the first difference of each kind."""
        for place, step in enumerate(steps):
            outcome = self.probe(step)
            if outcome is None:
                continue
            left, real, ours = outcome
            kind = kind_of(step, left)
            self.tally.seen[kind] += 1
            if kind not in self.tally.findings:
                before = tuple(steps[:place])
                self.tally.findings[kind] = Finding(step, tuple(left), real, ours, before)

    def probe(
        self, drawn: Drawn, *, count: bool = True, steady: bool = True
    ) -> tuple[list[Difference], Reply, Reply] | None:
        """
        Ask both; return what differs undeclared and both replies, or None when nothing does.

        What is not `steady` depends on other requests, so its body says nothing.
        """
        try:
            real = ask(self.real, drawn.request)
        except Late:
            # It says nothing of what Ollama answers. That of the gateway's would be a difference.
            with self._lock:
                self.tally.requests += count
                self.tally.late += count
            return None
        except NoReply as error:
            real = Reply(0, (), f"no reply: {error}".encode())
        try:
            ours = ask(self.ours, drawn.request)
        except NoReply as error:
            ours = Reply(0, (), f"no reply: {error}".encode())
        if OFFLINE.search(real.body):
            with self._lock:
                self.tally.requests += count
                self.tally.offline += count
            return None
        if ENGINE_GONE.search(real.body):
            with self._lock:
                self.tally.requests += count
                self.tally.unloaded += count
            return None
        differences = compare(real, ours)
        if steady is False:
            differences = [one for one in differences if not one.at.startswith("body")]
        left, met = undeclared(drawn, real, ours, differences)
        if count:
            with self._lock:
                self.tally.requests += 1
                self.tally.equal += not differences
                self.tally.declared.update(met)
        return (left, real, ours) if left else None

    def _shows(self, drawn: Drawn, kind: str) -> bool:
        outcome = self.probe(drawn, count=False)
        if drawn.changes:
            self.restore()
        return outcome is not None and kind_of(drawn, outcome[0]) == kind

    def models(self, url: str) -> dict[str, str]:
        """Return the names of a server's models, and the digest of each."""
        reply = ask(url, Request("GET", "/api/tags"))
        return {one["name"]: one["digest"] for one in json.loads(reply.body)["models"]}

    def restore(self) -> None:
        """Undo what requests have made, changed or deleted, so that both have the same models."""
        for url, known in self._models.items():
            changed = self.models(url).items() - known.items()
            for name, _ in changed:
                # `:local` at the end is no part of a name there, so it is said once more.
                spoken = f"{name}:local" if name.endswith(":local") else name
                ask(url, post("/api/delete", {"model": spoken}, "DELETE").request)
            there = self.models(url)
            for name, digest in known.items():
                if there.get(name) != digest and url == self.real:
                    self._remake(name)


def findings_of(tally: Tally) -> Iterator[Finding]:
    """Yield the findings, the most frequent first."""
    for kind, _ in tally.seen.most_common():
        if kind in tally.findings:
            yield tally.findings[kind]


def kinds(findings: Iterable[Finding]) -> list[str]:
    """Return the kinds of findings."""
    return [one.kind for one in findings]
