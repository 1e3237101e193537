"""Explaining and translating agree on every case of the suite."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from itertools import groupby
from typing import Any

import msgspec
import pytest
from msgspec import UNSET

from conformance.runner.client import NoAnswer
from conformance.runner.control import open_standin
from conformance.runner.runner import Bench, Pair, make_gateway, serve_app
from conformance.suite.case import Case, ClientRequest, Run, load_cases, method_of
from conformance.suite.judge import Answer, Seen
from conformance.tests.gateway.explain.relayed import RelayedHost
from gateway.app import create_app
from gateway.explain.asked import Asked
from gateway.explain.assembling import as_json
from gateway.explain.explaining import explain
from gateway.explain.models import assume
from gateway.explain.report import Explanation
from gateway.settings.schema import Settings

CASES = {
    folder: list(cases)
    for folder, cases in groupby(load_cases(), key=lambda case: case.name.split("/", 1)[0])
}

BASE = msgspec.convert(
    {"models": {"catalogue_ttl_s": 0}, "downloads": {"poll_interval_s": 0.01}}, Settings
)
"""The settings that the suite's own gateways have."""

SHARING = ("chat", "generate", "embed", "embeddings", "v1")
"""Folders whose answers do not depend on what a gateway has seen before."""

CHANGING = re.compile(
    r"(.*_)?(id|duration|at|created|tokens_per_second|time_to_first_token(_seconds)?|"
    r"generation_time|load_time_seconds)"
)
"""Members whose values differ from run to run."""

ADDRESS = re.compile(r"127\.0\.0\.1:\d+")

NOT_EXPLAINED = {
    "chat/rows/nobody-there": "its settings name a host that is away; a played one never is",
}
"""Cases that can't be compared, and why."""


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with Bench() as one:
        yield one


@pytest.mark.parametrize("folder", CASES)
def test_explaining_and_translating_agree(bench: Bench, folder: str) -> None:
    problems: list[str] = []
    for case in CASES[folder]:
        if case.name not in NOT_EXPLAINED:
            found = bench.submit(partial(_compare, bench, Run(case, case.runs[0])))
            problems += [f"{case.name}: {text}" for text in found]
    assert not problems, "\n".join(problems)


async def _compare(bench: Bench, run: Run) -> list[str]:
    """Return in what an explanation of a case differs from what the gateway did."""
    case = run.case
    async with AsyncExitStack() as stack:
        if case.own_pair or case.name.split("/")[0] not in SHARING:
            own = await stack.enter_async_context(open_standin(case.host))
            app = make_gateway(own.url, case.settings)
            pair = Pair(await stack.enter_async_context(serve_app(app)), own)
        else:
            pair = await bench.pair_for(case.settings, case.host)
        assert pair.control is not None
        await pair.prepare(run)
        for request in case.before:
            await pair.send(case, request)
        earlier = len(await pair.control.seen())
        try:
            answer = await pair.send(case, case.client)
        except NoAnswer:
            return []
        asked = [one for one in (await pair.control.seen())[earlier:] if _counts(one.path)]
    async with open_standin(case.host) as control:
        pair = Pair("", control)
        await pair.prepare(run)
        explanation = await asyncio.to_thread(_explained, case, control.url)
    return [*_requests(explanation, asked), *_answers(explanation, answer), *_rules(explanation)]


def _explained(case: Case, standin_url: str) -> Explanation:
    return explain(
        _asked(case, case.client),
        BASE,
        create_app,
        assume(None, "a test"),
        lambda _: RelayedHost(standin_url),
    )


def _asked(case: Case, request: ClientRequest) -> Asked:
    path, _, query = case.path_of(request).partition("?")
    before = () if request is not case.client else tuple(_asked(case, one) for one in case.before)
    headers = {name.lower(): value for name, value in request.headers.items()}
    return Asked(
        method_of(request),
        path,
        query,
        headers,
        request.body,
        before=before,
        settings=case.settings,
    )


def _counts(path: str) -> bool:
    """Requests that come after the answer, or as often as time allows, are not compared."""
    return not path.startswith(("/api/v1/models", "/api/v0/models", "/v1/models"))


def _requests(explanation: Explanation, asked: list[Seen]) -> Iterator[str]:
    shown = [one for one in explanation.calls if _counts(one.path)]
    mine = [(one.method, one.path.partition("?")[0], one.body) for one in shown]
    theirs = [(one.method, one.path, as_json(one.body) if one.body else UNSET) for one in asked]
    if mine != theirs:
        yield f"LM Studio got {theirs}, explained are {mine}"


def _answers(explanation: Explanation, answer: Answer) -> Iterator[str]:
    mine = explanation.answer
    if mine is None:
        yield f"the client got {answer.status}, explained is nothing"
        return
    if mine.status != answer.status:
        yield f"the client got {answer.status}, explained is {mine.status} {mine.body}"
        return
    kind = answer.header("content-type") or ""
    theirs: Any
    shown: Any
    if "ndjson" in kind:
        theirs, shown = [as_json(line) for line in answer.body.splitlines()], mine.lines
    elif "json" in kind and "event-stream" not in kind:
        theirs, shown = as_json(answer.body), mine.body
    else:
        theirs, shown = answer.body.decode("utf-8", "replace"), mine.text
    if "event-stream" in kind:
        theirs, shown = _events(theirs), _events(shown)
    if _steady(theirs) != _steady(shown):
        yield f"the client got {theirs}, explained is {shown}"
    yield from _rewrites(explanation, theirs if isinstance(theirs, list) else [theirs])


def _rewrites(explanation: Explanation, got: list[Any]) -> Iterator[str]:
    """A rewriter made what the client got, unless a later rule has changed that."""
    if any(
        one.verdict == "changed" and one.verb != "remove"
        for one in explanation.changed
        if one.side == "stream" or (one.side == "answer" and one.verb != "rewrite")
    ):
        return
    sent = [_steady(one["choices"]) for one in got if isinstance(one, dict) and "choices" in one]
    rewrites = [one for one in explanation.changed if one.verb == "rewrite"]
    changed = [one for one in rewrites if one.verdict == "changed"]
    made = [choices for one in changed[-1:] for choices in one.after]
    for choices in made:
        if _steady(choices) not in sent:
            yield f"a rewriter made {choices}, the client got {sent}"


def _events(text: str) -> list[Any]:
    return [as_json(line.removeprefix("data: ").encode()) for line in text.splitlines()]


def _steady(value: Any) -> Any:
    """Return a value without what differs from run to run."""
    if isinstance(value, dict):
        return {key: _steady(one) for key, one in value.items() if not CHANGING.fullmatch(key)}
    if isinstance(value, str):
        return ADDRESS.sub("(address)", value)
    return [_steady(one) for one in value] if isinstance(value, list) else value


def _rules(explanation: Explanation) -> Iterator[str]:
    """Every field that a rule should have made has one."""
    made = [(one, call.path) for call in explanation.calls for one in call.made]
    made += [(one, "the way back") for part in explanation.way_back for one in part.made]
    for one, where in made:
        if not one.at:
            yield f"{one.path} of {where} has no rule"
    if explanation.way == "plan" and explanation.mapping:
        for call in explanation.calls:
            if call.purpose == "answer" and call.method == "POST" and not call.made:
                yield f"the fields of {call.path} have no rules"
