"""
`python -m conformance.mutants`: does a broken gateway make a case fail, and is every rule used?

First all cases run as they are, with `conformance.mutants.probes` in the generated code: what no
case passes is reported. Then one rule at a time is broken, as it is compiled: its field dropped, of
another kind, or exchanged with a neighbour; the cases that use the rule run until one fails and
names the field. Last the engine is broken from outside. What can't be observed stands with its
reason in `mutants.yaml`, and an entry there that has become wrong fails as well.

A sample is drawn with a seed, which is printed; `--all` breaks everything. This module chooses the
mutants and judges the verdicts; `conformance.mutants.hunt` runs the cases against one mutant.
"""

from __future__ import annotations

import datetime
import os
import random
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import click

from conformance.mutants.engine import ENGINE
from conformance.mutants.hunt import Hunt, Hunter, Verdict, be_silent, hunt_all, sound_runs
from conformance.mutants.probes import (
    MEMBERS,
    Mutation,
    Probes,
    can_be_left_out,
    place_probes,
    wire_name,
)
from conformance.runner.runner import Bench
from conformance.suite.case import Case, Run
from conformance.suite.source import SourceProblem, read_yaml

REASONS = Path(__file__).parent / "mutants.yaml"
SAMPLE = 60
JOBS = min(4, os.cpu_count() or 1)
EXCUSED_RUNS = 10
"""How many runs look at a mutant that is listed as unobserved: enough to find a stale entry."""
ENGINE_CASES = ("chat/stream/*", "generate/stream/*", "tags/*", "show/*", "version/*", "push/*")


@dataclass(frozen=True)
class Baseline:
    """What the sound gateway did: which runs pass which rule, shortest first."""

    users: dict[str, list[int]]
    """By rule or branch: the numbers of the runs."""
    failed: list[str]
    seconds: float


@dataclass(frozen=True)
class Reasons:
    """Patterns of what no case can notice (`unobserved`) or reach (`unused`), with reasons."""

    unobserved: dict[str, str] = field(default_factory=dict)
    unused: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def find(patterns: Iterable[str], name: str) -> str | None:
        """Return the first pattern that a name matches, or None; `*` is any text."""
        return next((one for one in patterns if fnmatchcase(name, _literal(one))), None)


def _literal(pattern: str) -> str:
    return pattern.replace("[", "[[]")


def read_reasons(path: Path = REASONS) -> Reasons:
    """Read the list; raises `SourceProblem` for another shape and for a reason that is none."""
    value = read_yaml(path).value
    parts: dict[str, dict[str, str]] = {"unobserved": {}, "unused": {}}
    problems = []
    for key, entries in value.items():
        if key not in parts or not isinstance(entries, list):
            problems.append(f"{path}: `{key}` is none of {', '.join(parts)}")
            continue
        for entry in entries:
            reason = str(entry.get("reason", ""))
            if len(reason.split()) < 3:
                problems.append(f"{path}: a reason of three words or more is missing in {entry}")
            for name in entry.get("names", ()):
                parts[key][str(name)] = reason
    if problems:
        raise SourceProblem(problems)
    return Reasons(**parts)


def run_baseline(runs: Sequence[Run], probes: Probes) -> Baseline:
    """Run everything on the sound gateway and note who passes what."""
    users: dict[str, list[tuple[float, int]]] = {}
    failed = []
    began = time.monotonic()
    with Bench() as bench:
        for number, one in enumerate(runs):
            probes.forget()
            start = time.monotonic()
            problems = bench.run(one)
            took = time.monotonic() - start
            if problems:
                failed.append(f"{one.name}: {problems[0]}")
                continue
            for name in probes.forget():
                users.setdefault(name, []).append((took, number))
    ordered = {name: [number for _, number in sorted(found)] for name, found in users.items()}
    return Baseline(ordered, failed, time.monotonic() - began)


def list_mutations(probes: Probes) -> list[Mutation]:
    """
    Return every way to break a rule that some run makes visible at all.

    A required field can't be dropped, since codegen refuses that; a swap needs a neighbour of the
    same type with another value, and takes the first.
    """
    found = []
    for name, (site, leaf) in probes.fields.items():
        kind = probes.kinds.get(site)
        if kind is None or can_be_left_out(kind, leaf):
            found.append(Mutation(site, leaf, "drop"))
        found.append(Mutation(site, leaf, "wrong"))
        partners = sorted(probes.partners.get(name, ()))
        if partners:
            found.append(Mutation(site, leaf, "swap", partners[0]))
    return found


def words_of(mutation: Mutation, probes: Probes) -> list[str]:
    """Return the field's names on the wire, of which a failure must name one; none if internal."""
    site = probes.sites[mutation.site]
    if site.api == "internal":
        return []
    if site.api == MEMBERS:
        return [one for one in (mutation.field, mutation.partner) if one]
    kind = probes.kinds.get(mutation.site)
    if kind is None:
        return [mutation.field.rpartition("_")[2], mutation.field]
    return [wire_name(kind, one) for one in (mutation.field, mutation.partner) if one]


def hunt_of(
    mutation: Mutation,
    baseline: Baseline,
    probes: Probes,
    runs: Sequence[Run],
    most: int | None = None,
) -> Hunt:
    """
    Return what looks at a broken rule: the runs that use it, or so many of them.

    Those that state the field come first, for one of them will notice.
    """
    words = words_of(mutation, probes)
    users = baseline.users.get(f"{mutation.site}.{mutation.field}", [])
    promising = words or [mutation.field]
    ordered = sorted(users, key=lambda number: not states(runs[number].case, promising))
    return Hunt(mutation.name, ordered[:most], tuple(words), mutation)


def states(case: Case, words: Sequence[str]) -> bool:
    """Say whether what a case expects, of the answer or upstream, has one of the words in it."""
    text = f"{case.expect} {case.upstream}"
    return any(re.search(rf"\b{re.escape(word)}\b", text) for word in words)


def find_unused(probes: Probes, baseline: Baseline, reasons: Reasons) -> Iterator[str]:
    """Yield a line for each rule or branch that no run passes, and for each wrong excuse."""
    everything = {**dict.fromkeys(probes.fields, ""), **probes.branches}
    unused = set(everything) - set(baseline.users)
    for name in sorted(unused):
        if Reasons.find(reasons.unused, name) is None:
            yield f"{everything[name]} {name}: no case uses this rule".lstrip()
    for pattern in reasons.unused:
        if not any(fnmatchcase(name, _literal(pattern)) for name in unused):
            yield f"{REASONS.name}: unused: `{pattern}` matches nothing that is unused: take it out"


def judge_verdicts(verdicts: Iterable[Verdict], reasons: Reasons) -> Iterator[str]:
    """Yield a line for each mutant that lived without a reason, or died in spite of one."""
    for verdict in verdicts:
        excuse = Reasons.find(reasons.unobserved, verdict.name)
        if verdict.caught_by and excuse is not None and "*" not in excuse:
            yield f"{verdict.name}: caught by {verdict.caught_by}, but listed: take `{excuse}` out"
        elif not verdict.caught_by and excuse is None:
            seen = f"{verdict.silent} runs passed"
            if verdict.unnamed:
                seen += f", {len(verdict.unnamed)} failed without naming it: {verdict.unnamed[0]}"
            yield f"{verdict.name}: {seen}"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--all", "everything", is_flag=True, help="break every rule, not a sample")
@click.option("--sample", default=SAMPLE, show_default=True, help="number of rules to break")
@click.option("--seed", default="", help="seed of the sample; by default today's date")
@click.option(
    "--only", default="*", metavar="PATTERN", help="break only mutants with matching names"
)
@click.option("--jobs", default=JOBS, show_default=True, help="number of processes")
@click.option("--verbose", is_flag=True, help="print the case that caught each mutant, and how")
def main(everything: bool, sample: int, seed: str, only: str, jobs: int, verbose: bool) -> None:
    """Break the gateway one rule at a time, and require that a case notices."""
    seed = seed or datetime.date.today().isoformat()
    sys.exit(run(everything, sample, seed, only, jobs, verbose))


def run(everything: bool, sample: int, seed: str, only: str, jobs: int, verbose: bool) -> int:
    """Do all of it; returns the exit code."""
    be_silent()
    probes = place_probes()
    reasons = read_reasons()
    runs = sound_runs()
    baseline = run_baseline(runs, probes)
    click.echo(f"{len(runs)} runs on the sound gateway in {baseline.seconds:.0f} s")
    wrong = [f"fails without a mutant: {one}" for one in baseline.failed]
    wrong += find_unused(probes, baseline, reasons)
    used = sum(name in baseline.users for name in probes.fields)
    taken = sum(name in baseline.users for name in probes.branches)
    click.echo(
        f"{used} of {len(probes.fields)} field rules and {taken} of {len(probes.branches)} "
        "branches are used by cases"
    )
    every = [one for one in list_mutations(probes) if _is_used(one, baseline)]
    wrong += check_excuses(every, reasons)
    chosen = [one for one in every if fnmatchcase(one.name, _literal(only))]
    if not everything and len(chosen) > sample:
        chosen = random.Random(seed).sample(chosen, sample)
        click.echo(f"{sample} of {len(every)} mutants, drawn with --seed {seed}")

    def excused(one: Mutation) -> bool:
        return Reasons.find(reasons.unobserved, one.name) is not None

    hunts = [
        hunt_of(one, baseline, probes, runs, EXCUSED_RUNS if excused(one) else None)
        for one in chosen
        if everything or not excused(one)
    ]
    if only == "*":
        visible = [
            number
            for number, one in enumerate(runs)
            if any(fnmatchcase(one.case.name, pattern) for pattern in ENGINE_CASES)
        ]
        hunts += [Hunt(f"engine {one.name}", visible, one.words, engine=one.name) for one in ENGINE]
    verdicts = []
    for verdict in hunt_all(hunts, Hunter(probes, runs), jobs):
        verdicts.append(verdict)
        if verbose:
            told = f"{verdict.caught_by} ({verdict.sign})" if verdict.caught_by else "lives"
            click.echo(f"{verdict.name}: {told} in {verdict.seconds:.1f} s")
    wrong += judge_verdicts(verdicts, reasons)
    for one in wrong:
        click.echo(f"WRONG {one}")
    caught = sum(bool(one.caught_by) for one in verdicts)
    click.echo(f"\n{caught} of {len(verdicts)} mutants caught, {len(wrong)} wrong")
    return 1 if wrong else 0


def _is_used(mutation: Mutation, baseline: Baseline) -> bool:
    return f"{mutation.site}.{mutation.field}" in baseline.users


def check_excuses(every: Sequence[Mutation], reasons: Reasons) -> Iterator[str]:
    """Yield a line for each excuse that is one for no mutant."""
    for pattern in reasons.unobserved:
        if not any(fnmatchcase(one.name, _literal(pattern)) for one in every):
            yield f"{REASONS.name}: unobserved: `{pattern}` names no mutant: take it out"


if __name__ == "__main__":
    main()
