"""
LM Studio may let another model answer than the one asked for
(docs/facts/lmstudio.md#substituted-model, docs/facts/clients.md#other-model).
"""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from conformance.standin.catalogue import DEFAULT, Loaded, Model, q4
from conformance.tests.gateway.support import (
    CHAT,
    COLD,
    EMBEDDINGS,
    LOADED,
    LOADED_EMBEDDER,
    VARIED,
    Pair,
    chat,
    frames,
    generate,
    open_pair,
)

WARN = {"answers": {"wrong_model": "warn"}}
OTHER_EMBEDDER = Model(
    key="text-embedding-other-v2",
    type="embedding",
    publisher="harbor",
    display_name="Other Embed v2",
    architecture="nomic-bert",
    variants=(q4(80),),
    loaded=(Loaded(),),
)
MODELS = (*DEFAULT, OTHER_EMBEDDER)
WRONG = {
    "chat": ("/api/chat", chat(), CHAT),
    "streamed chat": ("/api/chat", chat(stream=True), CHAT),
    "generate": ("/api/generate", generate(), CHAT),
    "streamed generate": ("/api/generate", generate(stream=True), CHAT),
    "raw": ("/api/generate", generate(raw=True), "/v1/completions"),
    "embed": ("/api/embed", {"model": LOADED_EMBEDDER, "input": "Why?"}, EMBEDDINGS),
    "embeddings": ("/api/embeddings", {"model": LOADED_EMBEDDER, "prompt": "Why?"}, EMBEDDINGS),
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def wary() -> AsyncIterator[Pair]:
    """Run a gateway that takes another model's answer for an error, before two embedders."""
    async with open_pair(models=MODELS) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lenient() -> AsyncIterator[Pair]:
    """Run a gateway that only warns of it."""
    async with open_pair(WARN, models=MODELS) as running:
        yield running


def answer_as(model: str) -> dict[str, Any]:
    """Return a rule by which a stream is answered in the name of some model."""
    events = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "Reeds."}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]
    text = "".join(f"data: {json.dumps({'model': model, **event})}\n\n" for event in events)
    chunks = [[0, text + "data: [DONE]\n\n"]]
    return {"match": {"path": CHAT}, "answer": {"chunks": chunks}}


@pytest.mark.parametrize(("path", "body", "upstream"), WRONG.values(), ids=WRONG.keys())
async def test_an_answer_of_another_model_is_an_error(
    wary: Pair, path: str, body: dict[str, Any], upstream: str
) -> None:
    """Before the first line there is a status, and the words name both models."""
    await wary.reset()
    wary.script({"match": {"path": upstream}, "fault": "wrong_model"})
    answer = await wary.post(path, body)
    assert 502 == answer.status_code, answer.text
    assert f"asked for {body['model']}, answered by " in answer.json()["error"]
    assert 1 == len(wary.asked(upstream))


@pytest.mark.parametrize(("path", "body", "upstream"), WRONG.values(), ids=WRONG.keys())
async def test_the_setting_warns_instead(
    lenient: Pair, path: str, body: dict[str, Any], upstream: str
) -> None:
    """The answer goes through, and a header tells of it."""
    await lenient.reset()
    lenient.script({"match": {"path": upstream}, "fault": "wrong_model"})
    answer = await lenient.post(path, body)
    assert 200 == answer.status_code, answer.text
    assert f"asked for {body['model']}" in answer.headers["x-olgate-warning"]
    assert "error" not in frames(answer.text)[-1]


async def test_a_right_answer_is_not_warned_of(lenient: Pair) -> None:
    """The header is there for nothing else."""
    await lenient.reset()
    answer = await lenient.post("/api/chat", chat())
    assert "x-olgate-warning" not in answer.headers


@pytest.mark.parametrize(
    "named",
    [
        LOADED,
        LOADED.upper(),
        f"{LOADED}:2",
        f"{LOADED}@q4_k_m",
        "/models/harbor/tiny-plain-1b-instruct.gguf",
        "never-heard-of",
        "",
    ],
)
@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "one-shot"])
async def test_ids_that_are_no_other_models_are_taken(
    pair: Pair, named: str, streamed: bool
) -> None:
    """Instances, variants, paths and what is not known at all may be the model asked for."""
    pair.script(answer_as(named))
    answer = await pair.post("/api/chat", chat(stream=streamed))
    assert 200 == answer.status_code, answer.text
    assert frames(answer.text)[-1]["done"] is True


async def test_an_instance_with_a_name_of_its_own_is_its_models(pair: Pair) -> None:
    """
    Asked for a key, LM Studio answers in the name of the instance
    (docs/facts/lmstudio.md#answering-model).
    """
    await pair.change("load", COLD, instance_id="my-lantern")
    answer = await pair.post("/api/chat", chat(COLD))
    assert 200 == answer.status_code, answer.text


@pytest.mark.parametrize("name", [VARIED, f"{VARIED}:q8_0", f"{VARIED}:q4_k_m", f"{VARIED}@q8_0"])
async def test_a_variant_is_its_models(pair: Pair, name: str) -> None:
    """Whichever of a model's quantisations answers, it is the model."""
    answer = await pair.post("/api/chat", chat(name))
    assert 200 == answer.status_code, answer.text


@pytest.mark.parametrize("named", [COLD, COLD.upper(), f"{COLD}:2", f"{VARIED}@q8_0", "my-lantern"])
async def test_every_name_of_another_model_is_found_out(pair: Pair, named: str) -> None:
    """Its key in any letter case, its instances, its variants."""
    await pair.change("load", COLD, instance_id="my-lantern")
    pair.script(answer_as(named))
    answer = await pair.post("/api/chat", chat())
    assert 502 == answer.status_code, answer.text


async def test_the_client_sees_the_name_that_it_sent(pair: Pair) -> None:
    """Not the key, not the instance that answered."""
    name = f"{LOADED.title()}:latest"
    for body in (chat(name), chat(name, stream=True)):
        answer = await pair.post("/api/chat", body)
        assert {name} == {frame["model"] for frame in frames(answer.text)}
