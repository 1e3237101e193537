"""
What must hold in a history of a cluster, whatever failed.

Each invariant is a function of the events: it returns how often it was tried and each violation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from conformance.standin.history import Event

ENDLESS = float("inf")


@dataclass(frozen=True)
class Violation:
    """An invariant that did not hold, when, and what happened."""

    at: float
    invariant: str
    text: str


@dataclass
class Finding:
    """What one invariant found: the times at which it was tried, and what was wrong."""

    invariant: str
    tried: list[float] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)

    def blame(self, at: float, text: str) -> None:
        """Note a violation."""
        self.violations.append(Violation(at, self.invariant, text))


def check(events: Sequence[Event]) -> list[Finding]:
    """Return the findings of all invariants, in the order of `INVARIANTS`."""
    found = []
    for name, look in INVARIANTS.items():
        finding = Finding(name)
        look(events, finding)
        found.append(finding)
    return found


def check_loads(events: Sequence[Event], finding: Finding) -> None:
    """No model is loaded on a host that has it, or is loading it."""
    there: dict[str, list[str]] = defaultdict(list)
    loading: dict[str, list[str]] = defaultdict(list)
    for event in events:
        host = event.part
        match event.what:
            case "started":
                there[host], loading[host] = [], []
            case "load begun":
                finding.tried.append(event.at)
                if event.model in (*there[host], *loading[host]):
                    finding.blame(event.at, f"{event.by} loads {event.model} on {host} once more")
                loading[host].append(event.model)
            case "load failed" if event.model in loading[host]:
                loading[host].remove(event.model)
            case "loaded":
                if event.model in loading[host]:
                    loading[host].remove(event.model)
                there[host].append(event.model)
            case "unloaded" if event.model in there[host]:
                there[host].remove(event.model)


def check_unloads(events: Sequence[Event], finding: Finding) -> None:
    """No gateway unloads an instance while it answers."""
    running: dict[tuple[str, str], list[str]] = defaultdict(list)
    for event in events:
        place = (event.part, event.instance)
        match event.what:
            case "started":
                for known in [one for one in running if one[0] == event.part]:
                    del running[known]
            case "begun":
                running[place].append(event.ask)
            case "ended" if event.ask in running[place]:
                running[place].remove(event.ask)
            case "unloaded" if event.by:
                finding.tried.append(event.at)
                if asks := running[place]:
                    text = f"{event.by} unloads {event.instance} on {event.part} under {asks}"
                    finding.blame(event.at, text)


def check_foreign(events: Sequence[Event], finding: Finding) -> None:
    """No gateway unloads what no gateway loaded."""
    loaders: dict[tuple[str, str], str] = {}
    for event in events:
        place = (event.part, event.instance)
        if event.what == "loaded":
            loaders[place] = event.by
        elif event.what == "unloaded" and event.by:
            finding.tried.append(event.at)
            if not loaders.get(place):
                text = f"{event.by} unloads {event.instance} on {event.part}, loaded by hand"
                finding.blame(event.at, text)


def check_generations(events: Sequence[Event], finding: Finding) -> None:
    """No request is generated on two hosts at a time, nor again after it was generated."""
    running: dict[str, set[str]] = defaultdict(set)
    finished: set[str] = set()
    for event in events:
        match event.what:
            case "started" | "killed":
                for hosts in running.values():
                    hosts.discard(event.part)
            case "begun" if event.ask:
                finding.tried.append(event.at)
                if event.ask in finished:
                    finding.blame(event.at, f"{event.ask} runs again, on {event.part}")
                elif running[event.ask]:
                    there = ", ".join(running[event.ask])
                    finding.blame(event.at, f"{event.ask} runs on {event.part} and {there}")
                running[event.ask].add(event.part)
            case "ended" if event.ask:
                running[event.ask].discard(event.part)
                if event.how == "finished":
                    finished.add(event.ask)


def check_answers(events: Sequence[Event], finding: Finding) -> None:
    """
    Every request is answered whole or told an error, and told one only for a reason.

    The reason is a fault of a gateway or host on which it ran. A request of which nothing is known
    but its end may have been on any gateway that failed meanwhile.
    """
    names = {event.by: event.part for event in events if event.what == "named"}
    faults = list(_faults(events))
    touched: dict[str, set[str]] = defaultdict(set)
    for event in events:
        if event.what == "begun":
            touched[event.ask] |= {event.part, names.get(event.by, event.by)}
    answers = {event.ask: event for event in events if event.what == "answered"}
    for asked in (event for event in events if event.what == "asked"):
        finding.tried.append(asked.at)
        answer = answers.get(asked.ask)
        if answer is None or answer.how not in ("whole", "error", "broken"):
            how = answer.how if answer else "without an end"
            finding.blame(asked.at, f"{asked.ask} is {how}")
            continue
        if answer.how == "whole":
            continue
        on = touched[asked.ask] | {asked.part, names.get(answer.by, answer.by)} - {""}
        meanwhile = [
            part for part, since, until in faults if since <= answer.at and asked.at <= until
        ]
        is_blind = on == {""} or not on
        if not any(part in on or is_blind for part in meanwhile):
            on_text = ", ".join(sorted(on)) or "nothing that is known"
            text = f"{asked.ask} is told an error ({answer.how}, {answer.names}), but ran on"
            finding.blame(asked.at, f"{text} {on_text}; failing: {meanwhile}")


def _faults(events: Sequence[Event]) -> Iterator[tuple[str, float, float]]:
    """Yield each part that failed, since when, and until when."""
    since: dict[str, float] = {}
    for event in events:
        if event.what in ("killed", "fault"):
            since.setdefault(event.part, event.at)
        elif event.what == "healed" and event.part in since:
            yield event.part, since.pop(event.part), event.at
    for part, at in since.items():
        yield part, at, ENDLESS


def check_aliases(events: Sequence[Event], finding: Finding) -> None:
    """
    No alias that was made is lost, and none that was deleted comes back.

    A list of the gateway that made the last change must show it; lists of others must do so where
    the run has waited for it (`settled`). After a change that failed, both is right.
    """
    exists: dict[str, bool | None] = {}
    writers: dict[str, str] = {}
    for event in events:
        match event.what:
            case "alias made" | "alias deleted":
                made = event.what == "alias made"
                exists[event.model] = made if event.how == "done" else None
                writers[event.model] = event.part
            case "aliases listed":
                finding.tried.append(event.at)
                for name, is_there in exists.items():
                    is_due = event.how == "settled" or event.part == writers[name]
                    if is_there is None or not is_due:
                        continue
                    if is_there and name not in event.names:
                        finding.blame(event.at, f"{event.part} has lost {name}")
                    elif not is_there and name in event.names:
                        finding.blame(event.at, f"{event.part} has {name}, which was deleted")


INVARIANTS: dict[str, Callable[[Sequence[Event], Finding], None]] = {
    "loaded once": check_loads,
    "no unload under an answer": check_unloads,
    "only own instances unloaded": check_foreign,
    "generated once": check_generations,
    "whole, or an error with a reason": check_answers,
    "no alias lost or back": check_aliases,
}
