"""Pulling a model: LM Studio downloads it, the client is told as Ollama tells (docs/models.md)."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from conformance.standin.loading import SIZE_BYTES
from conformance.tests.gateway.support import (
    CHAT,
    COLD,
    Pair,
    chat,
    frames,
    open_gateway,
    open_pair,
)
from gateway.catalogue.aliases import Aliases
from gateway.catalogue.catalogue import Catalogue
from gateway.catalogue.downloads import Downloads
from gateway.catalogue.first_seen import FirstSeen
from gateway.catalogue.pulled_names import PulledNames
from gateway.faults import Refusal
from gateway.settings.schema import DownloadSettings, ModelSettings, UpstreamSettings
from gateway.store.sqlite import SqliteStore
from gateway.types import internal
from gateway.upstream.client import Upstream

DOWNLOAD = "/api/v1/models/download"
STATUS = re.compile(r"/api/v1/models/download/status/")
NEW = "harbor/beacon-9b"
ANY_STATUS = "/api/v1/models/download/status/*"
QUICK = {"downloads": {"poll_interval_s": 0.01}}
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def asked_after(pair: Pair) -> int:
    """Return how often a job was asked after."""
    return sum(bool(STATUS.match(one.path)) for one in pair.standin.seen)


def whole(body: dict[str, Any], status: int = 200) -> dict[str, Any]:
    """Return an answer of the stand-in, in one write."""
    headers = {"content-type": "application/json"}
    return {"status": status, "headers": headers, "chunks": [[0, json.dumps(body)]]}


async def pull(pair: Pair, model: str = NEW, **more: Any) -> httpx.Response:
    """Pull a model and wait for the end."""
    return await pair.post("/api/pull", {"model": model, **more})


async def following(pair: Pair, stack: AsyncExitStack) -> tuple[httpx.Response, AsyncIterator[str]]:
    """
    Begin a pull and read to the first line of its bar; return its answer and the lines to come.

    That line shows that the client waits for the job, and has not only begun to ask for it.
    """
    pulling = pair.client.stream("POST", "/api/pull", json={"model": NEW})
    answer = await stack.enter_async_context(pulling)
    lines = answer.aiter_lines()
    while "digest" not in await anext(lines):
        pass
    return answer, lines


async def test_a_pull_is_told_as_ollama_tells() -> None:
    """The bar grows to its whole length, and the model is there afterwards."""
    async with open_pair(QUICK) as pair:
        told = frames((await pull(pair)).text)
        served = await pair.post("/api/chat", chat(NEW))

    first, *bar, verifying, writing, last = told
    assert {"status": "pulling manifest"} == first
    assert [
        {"status": "verifying sha256 digest"},
        {"status": "writing manifest"},
        {"status": "success"},
    ] == [verifying, writing, last]
    assert all(DIGEST.fullmatch(frame["digest"]) for frame in bar)
    assert {f"pulling {bar[0]['digest'][7:19]}"} == {frame["status"] for frame in bar}
    assert {SIZE_BYTES} == {frame["total"] for frame in bar}
    done = [frame.get("completed", 0) for frame in bar]
    assert sorted(done) == done
    assert SIZE_BYTES == done[-1]
    assert 200 == served.status_code


async def test_who_wants_no_stream_gets_the_end() -> None:
    """After the download, not before it."""
    async with open_pair(QUICK) as pair:
        answer = await pull(pair, stream=False)
        names = [model["name"] for model in (await pair.get("/api/tags"))["models"]]

    assert {"status": "success"} == answer.json()
    assert f"{NEW}:latest" in names


async def test_a_model_that_is_there_is_not_asked_for() -> None:
    """One whole bar, then success."""
    async with open_pair(QUICK) as pair:
        told = frames((await pull(pair, COLD.upper())).text)
        asked = pair.asked(DOWNLOAD)

    assert [] == asked
    assert told[1]["completed"] == told[1]["total"]
    assert {"status": "success"} == told[-1]


async def test_a_model_that_lm_studio_has_is_a_success() -> None:
    """LM Studio may know it under another name than the one that was pulled."""
    async with open_pair(QUICK) as pair:
        pair.script(
            {"match": {"path": DOWNLOAD}, "answer": whole({"status": "already_downloaded"})}
        )
        told = frames((await pull(pair)).text)

    assert {"status": "success"} == told[-1]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("harbor/beacon-9b:q8_0", "harbor/beacon-9b"),
        ("hf.co/Harbor/Beacon-9B-GGUF:Q4_K_M", "Harbor/Beacon-9B-GGUF"),
        ("hf.co/Harbor/Beacon-9B-GGUF", "Harbor/Beacon-9B-GGUF"),
        ("huggingface.co/harbor/beacon-9b", "harbor/beacon-9b"),
        ("harbor/beacon-9b", "harbor/beacon-9b"),
    ],
)
async def test_a_pulled_name_can_be_used(tmp_path: Path, name: str, key: str) -> None:
    """The very name, whatever LM Studio calls the model; also by the next gateway."""
    settings = {**QUICK, "store": {"path": str(tmp_path / "store.db")}}
    async with open_pair(settings) as pair:
        assert {"status": "success"} == frames((await pull(pair, name)).text)[-1]
        answer = await pair.post("/api/chat", chat(name))
        assert 200 == answer.status_code, answer.text
        assert key == pair.bodies(CHAT)[-1]["model"]
        assert 200 == (await pair.post("/api/show", {"model": name.upper()})).status_code
        async with open_gateway(pair.standin, settings) as second:
            assert 200 == (await second.post("/v1/chat/completions", chat(name))).status_code
        again = frames((await pull(pair, name)).text)
        assert {"status": "success"} == again[-1]
        assert 1 == len(pair.asked(DOWNLOAD))


async def test_a_pulled_name_finds_a_model_that_was_there() -> None:
    """By the name of its source, if one model alone has it."""
    async with open_pair(QUICK) as pair:
        told = frames((await pull(pair, "hf.co/somebody/Lantern-8B-GGUF:Q8_0")).text)
        assert {"status": "success"} == told[-1]
        answer = await pair.post("/api/chat", chat("hf.co/somebody/Lantern-8B-GGUF:Q8_0"))
    assert 200 == answer.status_code, answer.text


async def test_a_paused_download_is_waited_for() -> None:
    """Whoever paused it can let it go on."""
    async with open_pair(QUICK) as pair:
        told = frames((await pull(pair, "harbor/paused-9b")).text)

    assert {"status": "success"} == told[-1]


async def test_a_failed_download_is_an_error() -> None:
    """A line in a stream and a status without one, in LM Studio's words."""
    async with open_pair(QUICK) as pair:
        told = frames((await pull(pair, "harbor/missing-9b")).text)
        once = await pull(pair, "harbor/missing-9b", stream=False)

    words = "the download of harbor/missing-9b failed: "
    assert told[-1]["error"].startswith(words)
    assert ["error"] == list(told[-1])
    assert 500 == once.status_code
    assert once.json()["error"].startswith(words)


async def test_a_model_that_lm_studio_cannot_find_reads_as_in_ollama() -> None:
    """The command line looks for these words."""
    refusal = whole({"error": {"message": "No.", "type": "model_not_found"}}, status=404)
    async with open_pair(QUICK) as pair:
        pair.script({"match": {"path": DOWNLOAD}, "answer": refusal})
        told = frames((await pull(pair)).text)

    assert [
        {"status": "pulling manifest"},
        {"error": "pull model manifest: file does not exist"},
    ] == told


async def test_a_name_without_a_publisher_is_told_what_works() -> None:
    """LM Studio is not asked for what it cannot know."""
    async with open_pair(QUICK) as pair:
        told = frames((await pull(pair, "lantern3.2")).text)
        asked = pair.asked(DOWNLOAD)

    assert [] == asked
    assert "[pull]" in told[1]["status"]
    assert "pull model manifest: file does not exist" == told[-1]["error"]


@pytest.mark.parametrize(
    ("name", "wish"),
    [
        ("lantern3.2", {"model": NEW}),
        ("Lantern3.2:latest", {"model": NEW}),
        (
            "linked",
            {"model": "https://huggingface.co/harbor/Beacon-GGUF", "quantization": "Q8_0"},
        ),
        (
            "hf.co/harbor/Beacon-GGUF:Q4_K_M",
            {"model": "https://huggingface.co/harbor/Beacon-GGUF", "quantization": "Q4_K_M"},
        ),
        ("huggingface.co/harbor/Beacon", {"model": "https://huggingface.co/harbor/Beacon"}),
    ],
)
async def test_what_lm_studio_is_asked_for(name: str, wish: dict[str, str]) -> None:
    """The configuration's table first, then links to Hugging Face, then LM Studio's own names."""
    table = {"lantern3.2": NEW, "linked": "hf.co/harbor/Beacon-GGUF:Q8_0"}
    async with open_pair({**QUICK, "pull": table}) as pair:
        assert {"status": "success"} == (await pull(pair, name, stream=False)).json()
        asked = pair.bodies(DOWNLOAD)

    assert [wish] == asked


async def test_two_pulls_of_one_model_share_a_job() -> None:
    """Both are told the same end, and LM Studio is asked once."""
    async with open_pair(QUICK) as pair:
        pair.script({"match": {"path": DOWNLOAD}, "hold": "begin", "nth": 1})
        pulls = [asyncio.create_task(pull(pair)) for _ in range(2)]
        await pair.until_asked(DOWNLOAD)
        await pair.let_pass()
        pair.release("begin")
        answers = await asyncio.gather(*pulls)
        asked = len(pair.asked(DOWNLOAD))

    assert 1 == asked
    assert [{"status": "success"}] * 2 == [frames(answer.text)[-1] for answer in answers]


async def test_a_client_that_leaves_stops_its_own_waiting_only() -> None:
    """The other one is told to the end."""
    async with open_pair(QUICK) as pair:
        pair.script(
            {"match": {"path": "/api/v1/models/download/status/*"}, "hold": "state", "nth": 2}
        )
        async with AsyncExitStack() as stack:
            leaving, _ = await following(pair, stack)
            _, told = await following(pair, stack)
            await pair.until(lambda: asked_after(pair) >= 2)
            await leaving.aclose()
            await pair.let_pass()
            pair.release("state")
            *_, last = [line async for line in told]
        asked = len(pair.asked(DOWNLOAD))

    assert {"status": "success"} == json.loads(last)
    assert 1 == asked


async def test_a_job_that_nobody_waits_for_is_taken_up_again() -> None:
    """It went on in LM Studio meanwhile, and nobody asked after it."""
    async with open_pair(QUICK) as pair:
        async with pair.client.stream("POST", "/api/pull", json={"model": NEW}) as leaving:
            lines = leaving.aiter_lines()
            while "completed" not in await anext(lines):
                pass
        told = frames((await pull(pair)).text)
        asked = len(pair.asked(DOWNLOAD))

    assert {"status": "success"} == told[-1]
    assert 1 == asked


async def test_a_host_that_forgot_the_job_is_asked_again() -> None:
    """As after its restart; what it had got is not lost."""
    async with open_pair(QUICK) as pair:
        pair.script({"match": {"path": DOWNLOAD}, "hold": "begin", "nth": 1})
        pulling = asyncio.create_task(pull(pair))
        await pair.until_asked(DOWNLOAD)
        pair.release("begin")
        await pair.until(lambda: asked_after(pair) >= 1)
        pair.standin.app.host.jobs.clear()
        told = frames((await pulling).text)
        asked = len(pair.asked(DOWNLOAD))

    assert {"status": "success"} == told[-1]
    assert asked in (1, 2)


async def test_a_host_that_is_away_for_long_is_an_error() -> None:
    """A short absence is waited out, a long one is told."""
    brief = {"downloads": {"poll_interval_s": 0.01, "away_timeout_s": 0.05}}
    async with open_pair(QUICK) as patient, open_pair(brief) as impatient:
        for pair in (patient, impatient):
            times = {"times": 3} if pair is patient else {}
            match = {"path": ANY_STATUS}
            pair.script({"match": match, "fault": "closed_before_headers", **times})
        survived = frames((await pull(patient)).text)
        told = frames((await pull(impatient)).text)

    assert {"status": "success"} == survived[-1]
    assert ["error"] == list(told[-1])


async def test_a_download_that_stands_still_is_an_error() -> None:
    """Waiting has an end."""
    still = {"downloads": {"poll_interval_s": 0.01, "stall_timeout_s": 0.05}}
    state = {"job_id": "j", "status": "downloading", "downloaded_bytes": 5, "total_size_bytes": 9}
    async with open_pair(still) as pair:
        pair.script({"match": {"path": "/api/v1/models/download*"}, "answer": whole(state)})
        told = frames((await pull(pair)).text)

    assert told[-1]["error"].startswith(f"LM Studio's download of {NEW} made no progress for ")


@pytest.mark.parametrize("version", ["0.3", "openai"])
async def test_hosts_without_downloads_say_so(version: str) -> None:
    """With a status, before anything is told."""
    async with open_pair(QUICK, host_version=version) as pair:
        answer = await pull(pair)

    assert 501 == answer.status_code
    assert "has no call for downloads" in answer.json()["error"]


@asynccontextmanager
async def downloads_of(pair: Pair) -> AsyncIterator[Downloads]:
    """Follow downloads of the stand-in without a gateway around it."""
    upstream = Upstream(UpstreamSettings(url=pair.standin.url))
    store = SqliteStore(None)
    first_seen = FirstSeen(store, pair.standin.url)
    catalogue = Catalogue(
        upstream, ModelSettings(), Aliases(store, {}), first_seen, PulledNames(store), ()
    )
    downloads = Downloads(upstream, catalogue, DownloadSettings(poll_interval_s=0.01))
    try:
        yield downloads
    finally:
        await downloads.aclose()
        await upstream.aclose()
        store.close()


async def test_a_slow_reader_misses_neither_the_end_nor_a_failure() -> None:
    """What happens while it is busy with a line is told with its next look."""
    async with open_pair() as pair, downloads_of(pair) as downloads:
        failing = downloads.follow(internal.DownloadWish(model="harbor/missing-9b"))
        ending = downloads.follow(internal.DownloadWish(model=NEW))
        bad, good = await anext(failing), await anext(ending)
        for job in (bad, good):
            while not job.is_over:
                await job.wait(job.updates)
        with pytest.raises(Refusal, match="could not be found"):
            await anext(failing)
        last = await anext(ending)
        with pytest.raises(StopAsyncIteration):
            await anext(ending)

    assert last.is_done
    assert SIZE_BYTES == last.completed


async def test_the_end_of_the_process_ends_all_waiting() -> None:
    """With a word, and without waiting for LM Studio."""
    async with open_pair() as pair, downloads_of(pair) as downloads:
        pair.script({"match": {"path": ANY_STATUS}, "hold": "state"})
        waiting = downloads.follow(internal.DownloadWish(model=NEW))
        await anext(waiting)
        next_one = asyncio.create_task(anext(waiting))
        await pair.until(lambda: asked_after(pair) >= 1)
        await downloads.aclose()
        with pytest.raises(Refusal, match="shutting down"):
            await next_one
