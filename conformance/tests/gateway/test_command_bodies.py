"""
What the `ollama` command sends, request by request, without the command
(docs/facts/ollama.md#command).

Its bodies carry every field, most of them at Go's zero value; each must mean what it means when it
is left out. `nox -s clients` runs the command itself where Go is there.
"""

from typing import Any

import pytest

from conformance.tests.gateway.support import COLD, LOADED, Pair, frames, open_pair

QUICK = {"downloads": {"poll_interval_s": 0.01}}


def show(name: str) -> dict[str, Any]:
    """Return the body of a look at a model."""
    empty = {"model": "", "system": "", "template": "", "verbose": False, "options": None}
    return {**empty, "name": name}


def generate(name: str, prompt: str, **more: Any) -> dict[str, Any]:
    """Return the body of a generate request."""
    empty = {"suffix": "", "system": "", "template": "", "options": None}
    return {"model": name, "prompt": prompt, **empty, **more}


async def stop(pair: Pair, name: str) -> dict[str, Any]:
    """Send what `stop` sends."""
    answer = await pair.post("/api/generate", generate(name, "", keep_alive="0s"))
    return frames(answer.text)[-1]


async def test_every_command_looks_whether_somebody_is_there() -> None:
    """Anything below 400 is fine, and nothing else is asked."""
    async with open_pair() as pair:
        answer = await pair.client.head("/")

    assert 200 == answer.status_code


async def test_list_and_ps() -> None:
    """Digests that are too short crash the command; sizes and times are numbers and texts."""
    async with open_pair() as pair:
        listed = (await pair.get("/api/tags"))["models"]
        running = (await pair.get("/api/ps"))["models"]

    assert listed
    assert running
    assert all(len(model["digest"]) >= 12 for model in [*listed, *running])
    assert all(model["size_vram"] == model["size"] > 0 for model in running)
    assert all(model["context_length"] > 0 and model["expires_at"] for model in running)


async def test_show() -> None:
    """The command prints these, and takes numbers for numbers."""
    async with open_pair() as pair:
        shown = (await pair.post("/api/show", show(COLD))).json()

    architecture = shown["model_info"]["general.architecture"]
    assert isinstance(shown["model_info"][f"{architecture}.context_length"], int)
    assert "completion" in shown["capabilities"]


async def test_run_with_a_prompt() -> None:
    """A look, then one streamed prompt."""
    async with open_pair() as pair:
        assert 200 == (await pair.post("/api/show", show(LOADED))).status_code
        told = frames((await pair.post("/api/generate", generate(LOADED, "Why?"))).text)

    assert told[-1]["done"]
    assert "".join(frame["response"] for frame in told)


async def test_run_without_a_prompt() -> None:
    """The model is loaded first, then each turn is a chat with the whole conversation."""
    turn = {"role": "user", "content": "Why?"}
    chat = {"model": COLD, "messages": [turn], "format": "", "options": {}, "keep_alive": "10m0s"}
    async with open_pair() as pair:
        loading = await pair.post("/api/generate", generate(COLD, "", keep_alive="10m0s"))
        told = frames((await pair.post("/api/chat", chat)).text)

    assert "load" == frames(loading.text)[-1]["done_reason"]
    assert told[-1]["done"]


async def test_stop() -> None:
    """The model goes, whatever name of it was said."""
    async with open_pair() as pair:
        await pair.post("/api/generate", generate(COLD, ""))
        last = await stop(pair, f"{COLD}:latest")
        left = pair.instances(COLD)

    assert "unload" == last["done_reason"]
    assert [] == left


async def test_create_cp_and_rm() -> None:
    """What a Modelfile with FROM, SYSTEM and PARAMETER becomes, under two names, and gone again."""
    made = {
        "model": "pilot",
        "from": LOADED,
        "system": "You are a pilot.",
        "parameters": {"temperature": 0.3, "stop": ["END"]},
    }
    async with open_pair() as pair:
        told = frames((await pair.post("/api/create", made)).text)
        copied = await pair.post("/api/copy", {"source": "pilot", "destination": "mate"})
        shown = (await pair.post("/api/show", show("mate"))).json()
        await stop(pair, "mate")
        removed = await pair.client.request(
            "DELETE", "/api/delete", json={"model": "", "name": "mate"}
        )
        gone = await pair.post("/api/show", show("mate"))

    assert {"status": "success"} == told[-1]
    assert [200, 200, 404] == [answer.status_code for answer in (copied, removed, gone)]
    assert [b"", b""] == [copied.content, removed.content]
    assert "You are a pilot." == shown["system"]


@pytest.mark.parametrize("name", ["harbor/beacon-9b", "hf.co/harbor/Beacon-GGUF:Q4_K_M"])
async def test_pull(name: str) -> None:
    """The bar needs a digest and a count above zero."""
    body = {"model": "", "username": "", "password": "", "name": name}
    async with open_pair(QUICK) as pair:
        told = frames((await pair.post("/api/pull", body)).text)

    assert any(frame.get("completed", 0) > 0 and frame["digest"] for frame in told)
    assert {"status": "success"} == told[-1]


async def test_pull_of_an_unknown_name_is_tried_in_the_cloud() -> None:
    """The words are looked for, and then the cloud's name is looked at, which must be an error."""
    body = {"model": "", "username": "", "password": "", "name": "no-such-model"}
    async with open_pair(QUICK) as pair:
        told = frames((await pair.post("/api/pull", body)).text)
        cloud = await pair.post("/api/show", show("no-such-model:cloud"))

    assert "pull model manifest: file does not exist" == told[-1]["error"]
    assert cloud.status_code >= 400
