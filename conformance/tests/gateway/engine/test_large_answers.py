"""Large answers of LM Studio's: what is made in steps of the event loop, and what in a thread."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Generator
from typing import Any

import pytest

from conformance.tests.gateway.support import LOADED_EMBEDDER, Pair, caching, open_pair
from gateway import transforms
from gateway.engine.turns import Turns
from gateway.wire import float32
from gateway.wire.writing import ANSWER_AT_ONCE

PATH = "/v1/embeddings"
WIDTH = 128
TEXTS = 600
"""So many vectors are some blocks, with the libraries for vectors and without them."""


def vector(at: int) -> list[float]:
    """Return a vector that no other text has."""
    numbers = [0.0] * WIDTH
    numbers[at % WIDTH] = 0.6
    numbers[(at + 1 + at // WIDTH) % WIDTH] = -0.8
    return numbers


def answer(vectors: list[Any], **more: Any) -> str:
    """Return LM Studio's answer with these vectors."""
    items = [
        {"object": "embedding", "embedding": each, "index": at} for at, each in enumerate(vectors)
    ]
    return json.dumps({"object": "list", "data": items, "model": LOADED_EMBEDDER, **more})


def scripted(body: str) -> dict[str, Any]:
    """Return a rule with this answer."""
    headers = {"Content-Type": "application/json"}
    return {
        "match": {"path": PATH},
        "answer": {"chunks": [[0, body]], "headers": headers, "status": 200},
    }


@pytest.fixture(autouse=True)
def libraries() -> None:
    """Load what reads vectors, which is loaded at its first use: a gateway in use has it."""
    float32.read([b"[1]"])


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note what is made in turns, step by step, and what in a thread."""
    seen: list[str] = []
    run, apart = Turns.run, Turns.apart

    def counted(work: Generator[None, None, Any]) -> Generator[None, None, Any]:
        while True:
            try:
                next(work)
            except StopIteration as end:
                return end.value
            seen.append("step")
            yield

    async def noting_run(turns: Turns, work: Generator[None, None, Any], size: int = 0) -> Any:
        return await run(turns, counted(work), size)

    async def noting_apart(turns: Turns, work: Callable[..., Any], *values: Any) -> Any:
        seen.append("thread")
        return await apart(turns, work, *values)

    monkeypatch.setattr(Turns, "run", noting_run)
    monkeypatch.setattr(Turns, "apart", noting_apart)
    return seen


async def embedded(body: str, texts: int) -> tuple[int, Any]:
    """Return the status and the answer for so many texts."""
    async with open_pair(caching()) as pair:
        pair.script(scripted(body))
        return await ask(pair, texts)


async def ask(pair: Pair, texts: int) -> tuple[int, Any]:
    """Ask for the vectors of so many texts."""
    asked = {"model": LOADED_EMBEDDER, "input": ["a"] * texts}
    found = await pair.client.post("/api/embed", json=asked)
    return found.status_code, found.json()


async def test_many_vectors_are_made_in_steps(made: list[str]) -> None:
    """The loop comes round between them: a thread would take its lock for as long."""
    vectors = [vector(at) for at in range(TEXTS)]
    body = answer(vectors)
    assert len(body) > 4 * ANSWER_AT_ONCE
    status, found = await embedded(body, TEXTS)
    assert (200, vectors) == (status, found["embeddings"])
    assert made.count("step") >= 2
    assert "thread" not in made


async def test_the_first_batch_loads_what_reads_vectors_in_a_thread(
    made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes long, and without it each vector would."""
    unloaded = float32._Libraries()
    monkeypatch.setattr(float32, "_libraries", unloaded)
    vectors = [vector(at) for at in range(TEXTS)]
    status, found = await embedded(answer(vectors), TEXTS)
    assert (200, vectors) == (status, found["embeddings"])
    assert made.count("thread") == 1
    assert unloaded.is_loaded


async def test_the_time_of_a_batch_has_the_making_of_its_vectors_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It ends after the last of them."""
    read, elapsed_ns = float32.read, transforms.elapsed_ns
    made_at: list[int] = []
    ends: list[int] = []

    def noting_read(lists: Any) -> Any:
        made_at.append(time.perf_counter_ns())
        return read(lists)

    def noting_end(since: int, until: int) -> int:
        ends.append(until)
        return elapsed_ns(since, until)

    monkeypatch.setattr(float32, "read", noting_read)
    monkeypatch.setattr(transforms, "elapsed_ns", noting_end)
    status, _ = await embedded(answer([vector(at) for at in range(TEXTS)]), TEXTS)
    assert 200 == status
    assert len(made_at) >= 2
    assert max(ends) > made_at[-1]


async def test_few_vectors_are_made_at_once(made: list[str]) -> None:
    """Turns would take longer than the vectors."""
    status, found = await embedded(answer([vector(0), vector(1)]), 2)
    assert (200, [vector(0), vector(1)]) == (status, found["embeddings"])
    assert [] == made


async def test_many_vectors_beside_an_odd_value_are_made_in_a_thread(made: list[str]) -> None:
    """What is not as described is read value by value, which takes long."""
    vectors = [vector(at) for at in range(TEXTS)]
    status, found = await embedded(answer(vectors, usage="none"), TEXTS)
    assert (200, vectors) == (status, found["embeddings"])
    assert ["thread", "thread"] == [one for one in made if one == "thread"]


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ([0.5] * (WIDTH - 1), "different lengths"),
        ([None] * WIDTH, "without numbers"),
        ([], "without numbers"),
        ("text", "without numbers"),
    ],
)
async def test_a_fault_of_the_last_vector_is_told(last: Any, words: str) -> None:
    """Nothing of an answer is sent before all of it is made."""
    vectors = [*(vector(at) for at in range(TEXTS - 1)), last]
    status, found = await embedded(answer(vectors), TEXTS)
    assert 502 == status
    assert words in found["error"]


async def test_others_are_answered_between_the_steps() -> None:
    """A list is not behind a batch, however many vectors are made meanwhile."""
    async with open_pair(caching()) as pair:
        pair.script(*[scripted(answer([vector(at) for at in range(TEXTS)]))] * 8)
        await pair.client.get("/api/tags")
        batches = [asyncio.ensure_future(ask(pair, TEXTS)) for _ in range(8)]
        lists = 0
        while not any(batch.done() for batch in batches):
            assert 200 == (await pair.client.get("/api/tags")).status_code
            lists += 1
        for batch in batches:
            assert 200 == (await batch)[0]
    assert lists
