"""Odd answers of LM Studio: a part of them against a gateway, and proof that judges can fail."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from conformance.oddities.calls import CALLS, Call, Got
from conformance.oddities.check import Checker, Try, all_tries, checker, some_tries
from conformance.oddities.mutate import Mutation, mutations
from conformance.standin.script import Rule

in_session = pytest.mark.asyncio(loop_scope="session")

COUNT, SEED = 1200, 20261130


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def odd() -> AsyncIterator[Checker]:
    """Run a gateway whose LM Studio answers oddly."""
    async with checker() as running:
        yield running


@in_session
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
async def test_the_ordinary_answer_is_one(odd: Checker, call: Call) -> None:
    """Else its mutations would show nothing."""
    got = await odd.ask(call, call.bytes_with(0, None))

    assert isinstance(got, Got), got
    assert (200, "") == (got.status, got.error)


@in_session
async def test_an_odd_answer_costs_only_what_is_odd(odd: Checker) -> None:
    """A part of them, drawn by a seed."""
    wrong = [
        f"{one.name}: {problem}"
        for one in some_tries(COUNT, SEED)
        if (problem := await odd.problem(one))
    ]

    assert [] == wrong


@in_session
async def test_a_list_of_the_last_try_is_not_the_list_of_the_next(odd: Checker) -> None:
    """Although it is still on its way, for somebody in the background."""
    standin, listed = odd.standins["v1"], json.dumps({"models": []})
    answer = {"headers": {"content-type": "application/json"}, "chunks": [[200, listed]]}
    standin.app.script.clear()
    standin.log.clear()
    standin.app.script.add(
        [msgspec.convert({"match": {"path": "/api/v1/models"}, "answer": answer}, Rule)]
    )
    looking = asyncio.ensure_future(odd.clients["v1"].get("/api/tags"))
    assert await standin.log.wait_until(lambda: bool(standin.log.select("/api/v1/models")))

    call = CALL["raw generate, one-shot"]
    got = await odd.ask(call, call.bytes_with(0, None))

    assert isinstance(got, Got), got
    assert (200, "") == (got.status, got.error)
    assert {"models": []} == (await looking).json()


def test_a_value_is_mutated_at_every_place() -> None:
    """In each way, and no mutation is the value itself."""
    value = {"a": [1, {"b": None}], "c": "x"}
    found = list(mutations(value))
    texts = {one.text for one in found}

    assert json.dumps(value, separators=(",", ":")).encode() not in texts
    assert {(), ("a",), ("a", 0), ("a", 1), ("a", 1, "b"), ("c",)} == {one.place for one in found}
    for how, text in (
        ("absent", b'{"a":[1,{"b":null}]}'),
        ("null", b'{"a":[1,{"b":null}],"c":null}'),
        ("doubled", b'{"a":[1,{"b":null}],"c":"x","c":"x"}'),
        ("cut", b'{"a":[1,{"b":null}],"c":'),
    ):
        assert Mutation(("c",), how, text) in found


def test_a_stream_has_one_odd_event() -> None:
    """The others stay as they are."""
    one = next(one for one in all_tries() if one.call.is_stream and one.mutation.how == "absent")
    events = one.call.bytes_with(one.at, one.mutation).split(b"\n\n")
    plain = one.call.bytes_with(one.at, None).split(b"\n\n")

    assert 1 == sum(first != second for first, second in zip(events, plain, strict=True))


CALL = {call.name: call for call in CALLS}
GOOD = Got(200, "One two three", "", {"done": True})
CREATED, TEXT = Mutation(("created",), "null", b""), Mutation(("choices",), "null", b"")


@pytest.mark.parametrize(
    ("name", "mutation", "got", "problem"),
    [
        ("chat, streamed", CREATED, GOOD, ""),
        ("chat, streamed", CREATED, Got(200, "One two", "", {}), "was lost"),
        ("chat, streamed", CREATED, Got(200, "One", "", {"error": "x"}), "took the answer away"),
        ("chat, streamed", TEXT, Got(200, "One two", "", {}), "was lost"),
        ("tool call, streamed", CREATED, GOOD, "the call was lost"),
        ("tool call, streamed", CREATED, Got(200, "", '"tide"', {}), ""),
        ("embed", CREATED, Got(200, "", "", {"embeddings": [[1]]}), "a vector is missing"),
        ("embed", CREATED, Got(502, "", "", {"error": "x"}), "took the vectors away"),
        ("load", CREATED, Got(500, "", "", {"error": ""}), "without words"),
        (
            "list of tags",
            Mutation(("models", 0, "type"), "null", b""),
            Got(200, "", "[]", {"models": []}),
            "vanished",
        ),
    ],
)
def test_a_judge_sees_what_is_lost(name: str, mutation: Mutation, got: Got, problem: str) -> None:
    """And is content with what is not."""
    found = CALL[name].judge(CALL[name], 1 if name.startswith("chat") else 0, mutation, got)

    assert problem in found
    assert bool(problem) == bool(found)


@in_session
async def test_an_internal_error_is_seen(odd: Checker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the judge of a call says."""
    call = CALL["load"]

    async def ask(*_: Any) -> Got:
        return Got(500, "", '{"error":"internal error of the gateway"}', {"error": "internal"})

    monkeypatch.setattr(odd, "ask", ask)
    assert "internal error" in await odd.problem(Try(call, 0, CREATED))
    odd.told.append("Exception in ASGI application")
    assert "an exception" in await odd.problem(Try(call, 0, CREATED))
