"""
Outlier detection: hosts that fail get no requests for a time, and are asked whether they are back.

A pure state machine: it has no clock, no timer and no network. A host is

- up: it gets requests;
- suspect: it has failed lately, or came back lately; it gets requests, and is probed;
- down: it gets no request while another host can serve.

A host to which no connection can be opened is down at once, until a probe reaches it. A host that
answers badly several times in a row is ejected for a time that grows with each ejection; at most
half of a tier is ejected at a time, because then the fault is probably elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal, TypeAlias

Failure: TypeAlias = Literal["connect", "answer"]
HostState: TypeAlias = Literal["up", "suspect", "down"]


@dataclass(frozen=True, slots=True)
class EjectionRules:
    """
    When a host is ejected, and for how long. Times are in seconds.

    `failures` is how many bad answers in a row eject. The n-th ejection in a row lasts n times
    `base_s`, at most `longest_s`. A host that has been up for `forgiven_s` is as if it had never
    been ejected. Probes follow each other after `probe_s`, which doubles up to `longest_probe_s`.
    Every pause is multiplied by 1 up to 1 + `jitter`, so that gateways don't probe in step.
    """

    failures: int = 3
    base_s: float = 10.0
    longest_s: float = 300.0
    forgiven_s: float = 60.0
    most_of_tier: float = 0.5
    probe_s: float = 1.0
    longest_probe_s: float = 15.0
    jitter: float = 0.25


class _Host:
    __slots__ = (
        "ejections",
        "failures",
        "is_ejected",
        "is_unreachable",
        "probe_at",
        "probes",
        "up_since",
    )

    def __init__(self) -> None:
        self.failures = 0
        self.ejections = 0
        self.is_ejected = False
        self.is_unreachable = False
        self.probe_at = inf
        self.probes = 0
        self.up_since = -inf


class Ejections:
    """The health of all hosts, by their numbers. Times are seconds of one monotonic clock."""

    def __init__(
        self, tiers: Sequence[int], rules: EjectionRules, jitter: Callable[[], float]
    ) -> None:
        """Know one host for each item of `tiers`, all up. `jitter` returns 0 up to 1."""
        self._tiers = tuple(tiers)
        self._rules = rules
        self._jitter = jitter
        self._hosts = [_Host() for _ in tiers]
        self.shut_until: list[float] = [0.0] * len(self._hosts)
        """Until when each host gets no request; infinity until a probe reaches it."""

    def state(self, number: int, now: float) -> HostState:
        """Return the state of a host."""
        host = self._hosts[number]
        if self.shut_until[number] > now:
            return "down"
        is_suspect = host.failures or host.is_unreachable or host.is_ejected
        return "suspect" if is_suspect else "up"

    def note_failure(self, number: int, kind: Failure, now: float) -> None:
        """Note that no connection could be opened, or that an answer was bad or missing."""
        host = self._hosts[number]
        host.failures += 1
        if kind == "connect":
            host.is_unreachable = True
            self.shut_until[number] = inf
            self._probe_next(host, now)
            return
        if self.shut_until[number] > now:
            return
        # A host that was just ejected for its answers gets one chance and not several.
        needed = 1 if host.is_ejected else self._rules.failures
        if host.failures >= needed and self._may_eject(number, now):
            self._eject(number, host, now)

    def note_answer(self, number: int, now: float) -> None:
        """Note that a host has answered a request well."""
        host = self._hosts[number]
        if not (host.failures or host.is_unreachable or host.is_ejected):
            return
        if host.is_ejected and self.shut_until[number] > now:
            # An answer that began before the ejection says nothing about now.
            return
        self._open(number, host, now)

    def note_probe(self, number: int, now: float, *, is_well: bool) -> None:
        """
        Note what a probe has found: whether the host could be asked something small.

        That ends the state of a host that could not be reached. It does not shorten an ejection for
        bad answers: a host can be able to list its models and unable to use them.
        """
        host = self._hosts[number]
        host.probe_at = inf
        if not is_well:
            self.note_failure(number, "connect", now)
            return
        if host.is_unreachable:
            host.is_unreachable = False
            self.shut_until[number] = 0.0
            if not host.is_ejected:
                self._open(number, host, now)

    def due(self, now: float) -> list[int]:
        """Return the hosts that have to be probed now, each only once until `note_probe`."""
        due = [number for number, host in enumerate(self._hosts) if host.probe_at <= now]
        for number in due:
            self._hosts[number].probe_at = inf
        return due

    def next_probe_at(self) -> float:
        """Return when the next probe is due, infinity if none is."""
        return min((host.probe_at for host in self._hosts), default=inf)

    def _may_eject(self, number: int, now: float) -> bool:
        tier = self._tiers[number]
        mates = [other for other, its in enumerate(self._tiers) if its == tier]
        # Hosts that can't be reached count, too: the rest must not get their requests and less.
        shut = sum(self.shut_until[other] > now for other in mates)
        return shut + 1 <= self._rules.most_of_tier * len(mates)

    def _eject(self, number: int, host: _Host, now: float) -> None:
        rules = self._rules
        if not host.is_ejected and now - host.up_since >= rules.forgiven_s:
            host.ejections = 0
        host.ejections += 1
        host.is_ejected = True
        pause_s = min(rules.base_s * host.ejections, rules.longest_s)
        self.shut_until[number] = now + self._jittered(pause_s)

    def _open(self, number: int, host: _Host, now: float) -> None:
        host.failures = host.probes = 0
        host.is_ejected = host.is_unreachable = False
        host.probe_at = inf
        host.up_since = now
        self.shut_until[number] = 0.0

    def _probe_next(self, host: _Host, now: float) -> None:
        pause_s = min(self._rules.probe_s * 2.0**host.probes, self._rules.longest_probe_s)
        host.probes = min(host.probes + 1, 16)
        host.probe_at = now + self._jittered(pause_s)

    def _jittered(self, pause_s: float) -> float:
        return pause_s * (1 + self._rules.jitter * self._jitter())
