"""
Which model a name stands for, on every surface; never a neighbour
(docs/facts/clients.md#near-names).
"""

from typing import Any

import pytest

from conformance.standin.catalogue import Model, q4
from conformance.tests.gateway.support import (
    CHAT,
    COLD,
    LOAD,
    LOADED,
    LOADED_EMBEDDER,
    VARIED,
    Pair,
    chat,
    generate,
    open_pair,
    written,
)

TAKEN = {
    "the key": (LOADED, LOADED),
    "its tag": (f"{LOADED}:latest", LOADED),
    "another letter case": (LOADED.upper(), LOADED),
    "another letter case with its tag": (f"{LOADED.title()}:LATEST", LOADED),
    "Ollama's place": (f"registry.ollama.ai/library/{LOADED}", LOADED),
    "Ollama's place with a tag": (f"registry.ollama.ai/library/{LOADED}:latest", LOADED),
    "the default namespace": (f"library/{LOADED}", LOADED),
    "a scheme": (f"https://registry.ollama.ai/library/{LOADED}:latest", LOADED),
    "blanks around it": (f"  {LOADED}\t", LOADED),
    "its only variant by its key": (f"{LOADED}@q4_k_m", LOADED),
    "its only variant as a tag": (f"{LOADED}:q4_k_m", LOADED),
    "its only variant in capitals": (f"{LOADED}:Q4_K_M", LOADED),
    "an instance's number": (f"{LOADED}:2", LOADED),
    "another number": (f"{LOADED}:17", LOADED),
    "a publisher": (COLD, COLD),
    "a publisher in another letter case": ("Harbor/LANTERN-8b:Latest", COLD),
    "a publisher at Ollama's place": (f"registry.ollama.ai/{COLD}", COLD),
    "a model of several variants": (VARIED, VARIED),
    "a variant by its key": (f"{VARIED}@q8_0", f"{VARIED}@q8_0"),
    "a variant as a tag": (f"{VARIED}:q8_0", f"{VARIED}@q8_0"),
    "a variant in capitals": (f"{VARIED.upper()}:Q8_0", f"{VARIED}@q8_0"),
    "the selected variant as a tag": (f"{VARIED}:q4_k_m", f"{VARIED}@q4_k_m"),
}
UNKNOWN = {
    "a beginning": LOADED[:-2],
    "an ending": LOADED[5:],
    "more at its end": f"{LOADED}-v2",
    "another size": "tiny-plain-3b-instruct",
    "the name without its publisher": COLD.partition("/")[2],
    "another publisher": f"elsewhere/{COLD.partition('/')[2]}",
    "a publisher for one that has none": f"harbor/{LOADED}",
    "another place": f"hf.co/library/{LOADED}",
    "another tag": f"{LOADED}:7b",
    "another variant": f"{VARIED}:q5_k_m",
    "another variant by its key": f"{VARIED}@q5_k_m",
    "the first instance's number": f"{LOADED}:1",
    "a number with a zero": f"{LOADED}:02",
    "the family": "llama",
    "the display name": "Tiny-Plain-1B-Instruct-",
    "another letter": LOADED.replace("1b", "1c"),
}


@pytest.mark.parametrize(("name", "key"), TAKEN.values(), ids=TAKEN.keys())
async def test_a_name_stands_for_its_model(pair: Pair, name: str, key: str) -> None:
    """The model is asked for under LM Studio's own key; the client sees its own words."""
    answer = await pair.post("/api/chat", chat(name))
    assert 200 == answer.status_code, answer.text
    assert [key] == [body["model"] for body in pair.bodies(CHAT)]
    assert name == answer.json()["model"]
    passed = await pair.post(CHAT, chat(name))
    assert 200 == passed.status_code
    assert key == pair.bodies(CHAT)[-1]["model"]
    assert 200 == (await pair.post("/api/show", {"model": name})).status_code


@pytest.mark.parametrize("name", UNKNOWN.values(), ids=UNKNOWN.keys())
async def test_a_name_near_a_models_is_nobodys(pair: Pair, name: str) -> None:
    """404 in every route's own words, and nothing is loaded or asked of a model."""
    refused: list[tuple[str, dict[str, Any], str]] = [
        ("/api/chat", chat(name), f"model '{name}' not found"),
        ("/api/chat", {"model": name}, f"model '{name}' not found"),
        ("/api/generate", generate(name), f"model '{name}' not found"),
        ("/api/generate", {"model": name, "keep_alive": 0}, f"model '{name}' not found"),
        (
            "/api/embed",
            {"model": name, "input": "Why?"},
            f'model "{name}" not found, try pulling it first',
        ),
        (
            "/api/embeddings",
            {"model": name, "prompt": "Why?"},
            f'model "{name}" not found, try pulling it first',
        ),
    ]
    for path, body, text in refused:
        answer = await pair.post(path, body)
        expected = 400 if "@" in name else 404
        assert (path, expected) == (path, answer.status_code)
        assert ("invalid model name" if "@" in name else text) == answer.json()["error"]
    answer = await pair.post("/api/show", {"model": name})
    assert answer.status_code in (400, 404)
    passed = await pair.post(CHAT, chat(name))
    assert 404 == passed.status_code
    assert f"model '{name}' not found" == passed.json()["error"]["message"]
    assert [] == [one for one in pair.standin.seen if one.method == "POST"]


@pytest.mark.parametrize("name", ["a b", "a:b:c", "a/b/c/d/e", "-x", "ü", "a@b", ":", "/", "x:"])
async def test_an_illegal_name_is_told_apart(pair: Pair, name: str) -> None:
    """It can't be a model's, so nothing is looked up; a file that is missing is not meant."""
    for path in ("/api/chat", "/api/generate", "/api/embed", "/api/embeddings"):
        answer = await pair.post(path, {"model": name})
        assert (path, 400) == (path, answer.status_code)
        assert "invalid model name" == answer.json()["error"]


@pytest.mark.parametrize(
    "key", ["a b", "ü-model", "dotted.pub/model", "a/b/c/d/e", "m@odd@q4", ".m"]
)
async def test_an_illegal_name_that_is_a_key_is_that_models(key: str) -> None:
    """What LM Studio calls a model is always taken, whatever Ollama's grammar says."""
    model = Model(key=key, publisher="p", display_name="M", architecture="llama", variants=(q4(1),))
    async with open_pair(models=(model,)) as pair:
        (listed,) = (await pair.get("/api/tags"))["models"]
        for name in (key, listed["name"], listed["name"].removesuffix(":latest")):
            answer = await pair.post("/api/chat", chat(name))
            assert (name, 200) == (name, answer.status_code)
        assert [{"model": key}] == pair.bodies(LOAD)
        assert {key} == {body["model"] for body in pair.bodies(CHAT)}


async def test_an_instances_own_name_stands_for_its_model(pair: Pair) -> None:
    """An alias that somebody gave an instance at LM Studio (docs/facts/lmstudio.md#instances)."""
    await pair.change("load", COLD, instance_id="my-lantern")
    for name in ("my-lantern", "my-lantern:latest", "MY-LANTERN"):
        answer = await pair.post("/api/chat", chat(name))
        assert (name, 200) == (name, answer.status_code)
        assert name == answer.json()["model"]
    assert {COLD} == {body["model"] for body in pair.bodies(CHAT)}
    assert [] == pair.asked(LOAD)


async def test_an_instance_of_a_variant_stands_for_that_variant(pair: Pair) -> None:
    """Its quantisation is what the client asked for."""
    for _ in range(2):
        await pair.change("load", f"{VARIED}@q8_0")
    for name in (f"{VARIED}@q8_0", f"{VARIED}@q8_0:2"):
        assert 200 == (await pair.post("/api/chat", chat(name))).status_code
    assert {f"{VARIED}@q8_0"} == {body["model"] for body in pair.bodies(CHAT)}


async def test_the_exact_key_goes_first() -> None:
    """Of two keys that differ in letter case, the one that was written is meant."""
    one, two = (
        Model(key=key, publisher="p", display_name=key, architecture="llama", variants=(q4(1),))
        for key in ("Twin-a", "other")
    )
    async with open_pair(models=(one, two)) as pair:
        await pair.post("/api/chat", chat("Twin-a"))
        await pair.post("/api/chat", chat("TWIN-A"))
        assert ["Twin-a", "Twin-a"] == [body["model"] for body in pair.bodies(CHAT)]


async def test_a_key_with_a_number_at_its_end_is_no_instance() -> None:
    """The number is taken off only when no model is called so."""
    models = tuple(
        Model(key=key, publisher="p", display_name=key, architecture="llama", variants=(q4(1),))
        for key in ("deepseek-r1", "deepseek-r1:2")
    )
    async with open_pair(models=models) as pair:
        await pair.post("/api/chat", chat("deepseek-r1:2"))
        await pair.post("/api/chat", chat("deepseek-r1:3"))
        assert ["deepseek-r1:2", "deepseek-r1"] == [body["model"] for body in pair.bodies(CHAT)]


async def test_tags_ps_and_show_agree_on_names(pair: Pair) -> None:
    """One model, one name, whatever it was asked by."""
    await pair.post("/api/chat", chat(f"{COLD.upper()}:latest"))
    listed = {one["name"] for one in (await pair.get("/api/tags"))["models"]}
    running = set(await pair.running())
    assert f"{COLD}:latest" in running
    assert running <= listed
    for name in running:
        assert 200 == (await pair.post("/api/show", {"name": name})).status_code


async def test_an_embedder_is_found_by_its_key_only(pair: Pair) -> None:
    """The prefix that LM Studio gives it is a part of its name."""
    for name, status in ((LOADED_EMBEDDER, 200), (f"{LOADED_EMBEDDER}:latest", 200)):
        answer = await pair.post("/api/embed", {"model": name, "input": "Why?"})
        assert status == answer.status_code
    answer = await pair.post("/api/embed", {"model": "tiny-v1", "input": "Why?"})
    assert 404 == answer.status_code


async def test_an_odd_name_is_served_and_warned_of_once() -> None:
    """Another letter case may be meant or not; the log says so, and not with every request."""
    with written() as stream:
        async with open_pair() as pair:
            for _ in range(2):
                assert 200 == (await pair.post("/api/chat", chat(COLD.upper()))).status_code

    assert 1 == stream.getvalue().count("suspicious model name")
