"""
The targets of schemathesis: which host is asked by which description, and the totals.

Used by the long run (`conformance.schemas.fuzz`) and by the page of compatibility; the tests ask
operation by operation. `conformance.schemas.ollama` and `conformance.schemas.upstream` run one
operation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy  # noqa: F401 - Hypothesis looks into it, while a gateway's thread may still load it

from conformance.runner.runner import Bench
from conformance.schemas.ollama import (
    PHASES,
    Account,
    copy_for,
    operation_ids,
    read_document,
    run_operation,
)
from conformance.schemas.upstream import Api, Host, known_of, operations, run_upstream
from conformance.standin.catalogue import DEFAULT
from conformance.suite.known import KnownFailing, read_known_failing

KNOWN = Path(__file__).with_name("known.txt")
FIXTURES = Path(__file__).parents[1] / "fixtures" / "lmstudio-0.4"
SHAPES = "response_schema_conformance"
"""The check that reads an answer by its schema."""
MOST_CAPABLE = "harbor/lantern-8b"

HOSTS: Mapping[Host, Mapping[str, str]] = {
    "gateway": {},
    "standin": {},
    "fixtures": {"fixtures": str(FIXTURES)},
}
"""Each host, and how its stand-in is started."""


class Target(NamedTuple):
    """One host asked by one or more descriptions, which are files of specs/."""

    name: str
    host: Host
    apis: tuple[Literal["ollama"] | Api, ...]


TARGETS = (
    Target("gateway", "gateway", ("ollama",)),
    Target("gateway, passed through", "gateway", ("openai",)),
    Target("stand-in", "standin", ("lmstudio", "openai")),
    Target("stand-in, answering from fixtures", "fixtures", ("lmstudio", "openai")),
)


class Ran(NamedTuple):
    """One operation that was run, and which of its findings are known."""

    target: Target
    operation: str
    account: Account
    known: KnownFailing


@dataclass
class Totals:
    """What a target came to, counted: operations, requests, answers read by schema, findings."""

    operations: int = 0
    requests: int = 0
    validated: int = 0
    known: int = 0
    failures: int = 0

    def add(self, ran: Ran) -> None:
        """Count an operation; what the engine could not do is a failure, too."""
        account = ran.account
        news = [one for one in account.findings if ran.known.find(one.name) is None]
        self.operations += 1
        self.requests += account.cases
        self.validated += account.checks[SHAPES]
        self.known += len(account.findings) - len(news)
        self.failures += len(news) + len(account.troubles)


@cache
def model_names() -> dict[str, list[str]]:
    """Return the stand-in's models by kind, the most capable first."""
    found = {
        kind: [model.key for model in DEFAULT if model.type == kind]
        for kind in ("llm", "embedding")
    }
    found["llm"].sort(key=lambda name: name != MOST_CAPABLE)
    return found


def run_targets(
    bench: Bench,
    targets: Sequence[Target] = TARGETS,
    phases: Collection[str] = PHASES,
    only: Collection[str] = (),
) -> Iterator[Ran]:
    """Run the operations of targets, or those that are named, one after the other."""
    document = copy_for(read_document(), model_names())
    for target in targets:
        pair = bench.submit(partial(bench.pair_for, {}, HOSTS[target.host]))
        url = pair.gateway_url if target.host == "gateway" else pair.control.url
        for api in target.apis:
            for operation in operation_ids(document) if api == "ollama" else operations(api):
                if only and operation not in only:
                    continue
                bench.submit(pair.control.reset)
                if api == "ollama":
                    account = run_operation(url, document, operation, phases)
                    known = read_known_failing(KNOWN)
                else:
                    account = run_upstream(url, api, operation, model_names(), phases)
                    known = known_of(target.host, operation)
                yield Ran(target, operation, account, known)


def totals_of(done: Iterable[Ran]) -> dict[Target, Totals]:
    """Count what targets came to."""
    totals: dict[Target, Totals] = {}
    for ran in done:
        totals.setdefault(ran.target, Totals()).add(ran)
    return totals
