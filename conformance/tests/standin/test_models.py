"""
Lists, names, loading, time to live, downloads (docs/facts/lmstudio.md#unknown-model,
docs/facts/lmstudio.md#jit, docs/facts/lmstudio.md#v1-models).
"""

import asyncio
import time
from typing import Any

import httpx
import msgspec
import pytest

from conformance.standin import StandIn
from conformance.standin.catalogue import DEFAULT, Loaded
from conformance.tests.standin.support import (
    EMBEDDING,
    GRADED,
    PLAIN,
    SILENT,
    SWITCHED,
    TWO_VARIANTS,
    ask,
    chat,
    speak_to,
    stream,
)


async def rows(client: httpx.AsyncClient) -> dict[str, Any]:
    """Return /api/v1/models by key."""
    return {row["key"]: row for row in (await client.get("/api/v1/models")).json()["models"]}


async def loaded_ids(client: httpx.AsyncClient) -> list[str]:
    """Return the ids of all loaded instances."""
    found = (await rows(client)).values()
    return [one["id"] for row in found for one in row["loaded_instances"]]


async def test_the_native_list_tells_the_default_catalogue(client: httpx.AsyncClient) -> None:
    """Capabilities where they are stated, none for embeddings and the silent model."""
    listed = await rows(client)
    assert [model.key for model in DEFAULT] == list(listed)
    assert {"vision": False, "trained_for_tool_use": False} == listed[PLAIN]["capabilities"]
    graded = listed[GRADED]["capabilities"]
    assert (True, True, "medium") == (
        graded["vision"],
        graded["trained_for_tool_use"],
        graded["reasoning"]["default"],
    )
    assert ["off", "on"] == listed[SWITCHED]["capabilities"]["reasoning"]["allowed_options"]
    assert "capabilities" not in listed[SILENT]
    assert not {"capabilities", "architecture", "variants"} & set(listed[EMBEDDING])
    assert [f"{TWO_VARIANTS}@q4_k_m", f"{TWO_VARIANTS}@q8_0"] == listed[TWO_VARIANTS]["variants"]
    assert [PLAIN, EMBEDDING] == await loaded_ids(client)
    assert "remaining_ttl_seconds" not in listed[PLAIN]["loaded_instances"][0]


async def test_the_openai_list_names_variants_and_instances(client: httpx.AsyncClient) -> None:
    """Everything downloaded is there; a second instance appears beside its key."""
    await client.post("/api/v1/models/load", json={"model": PLAIN})
    ids = [row["id"] for row in (await client.get("/v1/models")).json()["data"]]
    assert {PLAIN, f"{PLAIN}:2", EMBEDDING, TWO_VARIANTS, f"{TWO_VARIANTS}@q8_0"} < set(ids)
    one = await client.get(f"/v1/models/{GRADED}")
    expected = {"id": GRADED, "object": "model", "owned_by": "organization_owner"}
    assert expected == one.json()
    assert 404 == (await client.get("/v1/models/nobody")).status_code


async def test_without_jit_only_loaded_models_are_listed() -> None:
    """And a model that is not loaded does not answer: the one that is does."""
    async with StandIn(jit=False) as standin, speak_to(standin) as client:
        ids = [row["id"] for row in (await client.get("/v1/models")).json()["data"]]
        assert [PLAIN, EMBEDDING] == ids
        assert PLAIN == (await chat(client, GRADED))["model"]


async def test_the_v0_list_tells_state_and_tools(client: httpx.AsyncClient) -> None:
    """Types and states; a slash in an id survives."""
    data = (await client.get("/api/v0/models")).json()["data"]
    kinds = {row["id"]: (row["type"], row["state"], row.get("capabilities")) for row in data}
    assert ("llm", "loaded", None) == kinds[PLAIN]
    assert ("vlm", "not-loaded", ["tool_use"]) == kinds[GRADED]
    assert ("embeddings", "loaded", None) == kinds[EMBEDDING]
    assert ("llm", "not-loaded", None) == kinds[SILENT]
    assert GRADED == (await client.get(f"/api/v0/models/{GRADED}")).json()["id"]
    assert (
        "Q8_0" == (await client.get(f"/api/v0/models/{TWO_VARIANTS}@q8_0")).json()["quantization"]
    )


async def test_a_single_loaded_model_answers_to_any_name(client: httpx.AsyncClient) -> None:
    """
    No error, another model (docs/facts/lmstudio.md#substituted-model). The native chat has none of
    that.
    """
    answer = await chat(client, "no-such-model")
    assert (PLAIN, PLAIN) == (answer["model"], answer["system_fingerprint"])
    native = await client.post("/api/v1/chat", json={"model": "no-such-model", "input": "hi"})
    assert (404, "model_not_found") == (native.status_code, native.json()["error"]["code"])


async def test_an_unknown_name_is_refused_when_several_or_none_are_loaded(
    client: httpx.AsyncClient,
) -> None:
    """400 with a code when several are, with none when none is; streamed or not."""
    await client.post("/api/v1/models/load", json={"model": SILENT})
    for streamed in (False, True):
        answer = await client.post("/v1/chat/completions", json=ask("no-such", stream=streamed))
        assert (400, "model_not_found") == (answer.status_code, answer.json()["error"]["code"])
        assert 'Invalid model identifier "no-such"' in answer.json()["error"]["message"]
    for instance in (SILENT, PLAIN, EMBEDDING):
        await client.post("/api/v1/models/unload", json={"instance_id": instance})
    answer = await client.post("/v1/chat/completions", json=ask("no-such"))
    error = answer.json()["error"]
    assert (400, "model", None) == (answer.status_code, error["param"], error["code"])
    assert error["message"].startswith("No models loaded.")
    embedding = await client.post("/v1/embeddings", json={"model": "no-such", "input": "x"})
    assert (400, True) == (embedding.status_code, isinstance(embedding.json()["error"], str))


async def test_a_model_of_the_wrong_kind_is_refused(client: httpx.AsyncClient) -> None:
    """An embedding model does not chat, a language model does not embed."""
    answer = await client.post("/v1/chat/completions", json=ask(EMBEDDING))
    assert 400 == answer.status_code
    assert f'Invalid model identifier "{EMBEDDING}"' in answer.json()["error"]["message"]
    answer = await client.post("/v1/embeddings", json={"model": PLAIN, "input": "x"})
    assert (400, True) == (
        answer.status_code,
        answer.json()["error"].startswith("No models loaded"),
    )


async def test_old_hosts_refuse_in_their_own_words() -> None:
    """0.3 says 404 and lists the models."""
    models = (*DEFAULT[:-1], msgspec.structs.replace(DEFAULT[-1], loaded=(Loaded(),)))
    async with StandIn(host_version="0.3", models=models) as standin, speak_to(standin) as client:
        answer = await client.post("/v1/chat/completions", json=ask("no-such"))
        assert 404 == answer.status_code
        assert f"Your models:\n\n{PLAIN}\n" in answer.json()["error"]["message"]
        answer = await client.post("/v1/embeddings", json={"model": PLAIN, "input": "x"})
        assert "Model is not embedding" in answer.json()["error"]["message"]


async def test_keys_match_in_any_case_instances_exactly(client: httpx.AsyncClient) -> None:
    """The answer names the instance, whatever was asked for."""
    assert PLAIN == (await chat(client, PLAIN.upper()))["model"]
    order = {"key": SILENT, "action": "load", "instance_id": "my-fjord"}
    await client.post("/__standin/model", json=order)
    assert "my-fjord" == (await chat(client, SILENT))["model"]
    assert "my-fjord" == (await chat(client, "my-fjord"))["model"]
    refused = await client.post("/v1/chat/completions", json=ask("My-Fjord"))
    assert 400 == refused.status_code


async def test_a_request_loads_its_model_in_silence() -> None:
    """Not even headers come before the load is over; then it has an hour to live."""
    async with StandIn(load_ms=150) as standin, speak_to(standin) as client:
        began = time.monotonic()
        assert "[DONE]" == (await stream(client, ask(SILENT)))[-1][1]
        assert time.monotonic() - began >= 0.15
        exchange = standin.seen[-1]
        assert exchange.started_ms is not None
        assert exchange.started_ms - exchange.received_ms >= 150
        instance = (await rows(client))[SILENT]["loaded_instances"][0]
        assert 3590 < instance["remaining_ttl_seconds"] <= 3600


async def test_requests_for_one_model_share_its_load() -> None:
    """Two at once make one instance; a caller that leaves does not stop the load."""
    async with StandIn(load_ms=100) as standin, speak_to(standin) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post("/v1/chat/completions", json=ask(SILENT), timeout=0.03)
        await asyncio.gather(chat(client, SILENT), chat(client, SILENT))
        assert [PLAIN, EMBEDDING, SILENT] == await loaded_ids(client)


async def test_ttl_counts_only_when_the_request_loads(client: httpx.AsyncClient) -> None:
    """Negative ones are the default; on a loaded model nothing changes."""
    await chat(client, SILENT, ttl=70)
    await chat(client, SILENT, ttl=9000)
    await chat(client, SWITCHED, ttl=-5)
    listed = await rows(client)
    assert 60 < listed[SILENT]["loaded_instances"][0]["remaining_ttl_seconds"] <= 70
    assert 3590 < listed[SWITCHED]["loaded_instances"][0]["remaining_ttl_seconds"] <= 3600


async def test_auto_evict_keeps_the_last_one_loaded_by_a_request() -> None:
    """Models loaded by hand stay."""
    async with StandIn(auto_evict=True) as standin, speak_to(standin) as client:
        await chat(client, SILENT)
        await chat(client, SWITCHED)
        assert [PLAIN, EMBEDDING, SWITCHED] == await loaded_ids(client)


async def test_variants_load_beside_each_other(client: httpx.AsyncClient) -> None:
    """The selected one under the key, another under its own name."""
    assert TWO_VARIANTS == (await chat(client, TWO_VARIANTS))["model"]
    assert f"{TWO_VARIANTS}@q8_0" == (await chat(client, f"{TWO_VARIANTS}@Q8_0"))["model"]
    assert [PLAIN, EMBEDDING, TWO_VARIANTS, f"{TWO_VARIANTS}@q8_0"] == await loaded_ids(client)


async def test_load_and_unload_by_instance(client: httpx.AsyncClient) -> None:
    """A load tells its instance, a second load makes a second one, unload takes an instance id."""
    body = {"model": GRADED, "context_length": 16384, "echo_load_config": True}
    first = (await client.post("/api/v1/models/load", json=body)).json()
    assert ("llm", GRADED, "loaded") == (first["type"], first["instance_id"], first["status"])
    assert 16384 == first["load_config"]["context_length"]
    second = (await client.post("/api/v1/models/load", json={"model": GRADED})).json()
    assert f"{GRADED}:2" == second["instance_id"]
    assert "load_config" not in second
    gone = await client.post("/api/v1/models/unload", json={"instance_id": GRADED})
    assert {"instance_id": GRADED} == gone.json()
    assert f"{GRADED}:2" == (await chat(client, GRADED))["model"]
    again = await client.post("/api/v1/models/unload", json={"instance_id": GRADED})
    assert 404 == again.status_code


async def test_load_again_may_do_nothing() -> None:
    """The other behaviour that was seen: the instance that is there."""
    async with StandIn(load_again="noop") as standin, speak_to(standin) as client:
        answer = await client.post("/api/v1/models/load", json={"model": PLAIN})
        assert PLAIN == answer.json()["instance_id"]
        assert [PLAIN, EMBEDDING] == await loaded_ids(client)


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("load", {}, 400, "missing_required_parameter"),
        ("load", {"model": PLAIN, "ttl": 5}, 400, "unrecognized_keys"),
        ("load", {"model": "no-such"}, 404, "model_not_found"),
        ("load", {"model": PLAIN, "context_length": "4096"}, 400, "invalid_value"),
        ("unload", {"model": PLAIN}, 400, "missing_required_parameter"),
        ("download", {}, 400, "missing_required_parameter"),
    ],
)
async def test_native_routes_are_strict(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], status: int, code: str
) -> None:
    """Unknown keys, missing fields and names are refused with a code."""
    answer = await client.post(f"/api/v1/models/{path}", json=body)
    assert (status, code) == (answer.status_code, answer.json()["error"]["code"])
    assert "invalid_request" == answer.json()["error"]["type"]


async def test_memory_may_run_out() -> None:
    """A load that does not fit fails as LM Studio's does; after an unload it fits."""
    async with StandIn(max_instances=2) as standin, speak_to(standin) as client:
        answer = await client.post("/api/v1/models/load", json={"model": SILENT})
        assert (500, "model_load_failed") == (answer.status_code, answer.json()["error"]["type"])
        assert "insufficient system resources" in answer.json()["error"]["message"]
        jit = await client.post("/v1/chat/completions", json=ask(SILENT))
        assert (400, "model_not_found") == (jit.status_code, jit.json()["error"]["code"])
        await client.post("/api/v1/models/unload", json={"instance_id": PLAIN})
        assert SILENT == (await chat(client, SILENT))["model"]


async def test_an_unload_cuts_what_the_instance_is_saying() -> None:
    """The stream ends with an error event and without its mark."""
    async with StandIn(rate=30) as standin, speak_to(standin) as client:
        await standin.app.host.table.load(standin.app.host.table.find_model(SILENT)[0])  # type: ignore[index]  # it has it
        asking = asyncio.create_task(stream(client, ask(SILENT)))
        assert await standin.log.wait_until(lambda: bool(standin.seen and standin.seen[0].status))
        await client.post("/api/v1/models/unload", json={"instance_id": SILENT})
        events = await asking
        assert ("error", "Model unloaded.") == (events[-1][0], events[-1][1]["message"])


async def test_windows_refuse_for_a_while(client: httpx.AsyncClient) -> None:
    """While reloading "Model unloaded.", streamed or not; while unloaded "No models loaded."."""
    order = {"key": PLAIN, "action": "reload_window", "requests": 1}
    await client.post("/__standin/model", json=order)
    answer = await client.post("/v1/chat/completions", json=ask(PLAIN))
    assert (400, "Model unloaded.") == (answer.status_code, answer.json()["error"]["message"])
    assert PLAIN == (await chat(client, PLAIN))["model"]
    await client.post("/__standin/model", json={**order, "in_stream": True})
    assert [("error", "Model is unloaded.")] == [
        (name, event["message"]) for name, event in await stream(client, ask(PLAIN))
    ]
    await client.post("/__standin/model", json={**order, "action": "unload_window"})
    answer = await client.post("/v1/chat/completions", json=ask(PLAIN))
    assert answer.json()["error"]["message"].startswith("No models loaded.")


async def test_scripted_load_failures_and_expiry(client: httpx.AsyncClient) -> None:
    """The next load fails with the words asked for; `expire` ends a time to live at once."""
    failure = {"action": "fail_load", "message": "engine exited"}
    await client.post("/__standin/model", json=failure)
    answer = await client.post("/api/v1/models/load", json={"model": SILENT})
    assert (500, True) == (answer.status_code, "engine exited" in answer.text)
    await chat(client, SILENT)
    assert SILENT in await loaded_ids(client)
    await client.post("/__standin/model", json={"key": SILENT, "action": "expire"})
    assert SILENT not in await loaded_ids(client)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("acme/new-3b", ["downloading", "downloading", "downloading", "completed", "completed"]),
        ("acme/paused-3b", ["downloading", "paused", "downloading", "completed", "completed"]),
        ("acme/missing-3b", ["downloading", "failed", "failed", "failed", "failed"]),
    ],
)
async def test_downloads_go_on_when_asked_after(
    client: httpx.AsyncClient, name: str, told: list[str]
) -> None:
    """A job goes from downloading to its end; what is complete is in the catalogue."""
    job = (await client.post("/api/v1/models/download", json={"model": name})).json()
    assert ["job_id", "status", "total_size_bytes", "started_at"] == list(job)
    path = f"/api/v1/models/download/status/{job['job_id']}"
    states = [(await client.get(path)).json() for _ in told]
    assert told == [state["status"] for state in states]
    assert (told[-1] == "failed") == ("error_message" in states[-1])
    assert (told[-1] == "completed") == (name in await rows(client))
    done = [state["downloaded_bytes"] for state in states]
    assert sorted(done) == done


async def test_a_model_on_disk_is_not_downloaded_again(client: httpx.AsyncClient) -> None:
    """Only a status is told, and an unknown job is a 404."""
    answer = await client.post("/api/v1/models/download", json={"model": PLAIN})
    assert {"status": "already_downloaded"} == answer.json()
    unknown = await client.get("/api/v1/models/download/status/job_none")
    assert (404, "job_not_found") == (unknown.status_code, unknown.json()["error"]["type"])
