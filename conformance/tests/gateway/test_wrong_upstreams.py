"""Upstreams that are not LM Studio: what the answer, `/health` and the log say, word for word."""

import asyncio
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from conformance.runner.runner import make_gateway
from conformance.standin import StandIn
from conformance.tests.gateway.support import (
    LIST,
    LOADED,
    Pair,
    chat,
    lines_of,
    open_gateway,
    open_pair,
    serve,
    speak_to,
    written,
)
from gateway.server.loops import loop_text
from gateway.settings.schema import Settings

ADVICE = "set --upstream (upstream.url, LMSTUDIO_URL) to the address of LM Studio's server"
PAGE = "<!doctype html>\n<html><head><title>Router  login</title></head></html>"
HTML = {"Content-Type": "text/html"}
V1_LIST = '{"object":"list","data":[{"id":"tiny","object":"model","owned_by":"OWNER"}]}'


def says(path: str, text: str, status: int = 200, **headers: str) -> dict[str, Any]:
    """Return a rule for one path of the stand-in."""
    answer = {"status": status, "chunks": [[0, text]], "headers": headers or None}
    return {"match": {"path": path}, "answer": answer}


def everything(text: str, status: int = 200, **headers: str) -> dict[str, Any]:
    """Return a rule for all paths but those that control the stand-in."""
    return says("/[!_]*", text, status, **headers)


def page(status: int) -> list[dict[str, Any]]:
    """Play a web server that knows one page."""
    return [says("/", PAGE, status, **HTML), everything(PAGE, status, **HTML)]


OLLAMA = [
    says("/", "Ollama is running"),
    says("/v1/models", V1_LIST.replace("OWNER", "library")),
    everything("404 page not found", 404),
]
LLAMA_CPP = [
    says("/v1/models", V1_LIST.replace("OWNER", "llamacpp"), Server="llama.cpp"),
    everything('{"error":{"code":404,"message":"File Not Found"}}', 404, Server="llama.cpp"),
]
VLLM = [
    says("/v1/models", V1_LIST.replace("OWNER", "vllm")),
    everything('{"detail":"Not Found"}', 404),
]
TEAPOT = [says("/", "tea", 418), everything("tea", 404)]


async def health(pair: Pair) -> tuple[int, Mapping[str, Any]]:
    """Return the status of `/health`, and what it says of the upstream."""
    answer = await pair.client.get("/health")
    return answer.status_code, answer.json()["upstream"]


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        pytest.param(
            page(200),
            'a web server answers at {url} with an HTML page titled "Router login", not LM '
            f"Studio; {ADVICE}",
            id="page",
        ),
        pytest.param(
            page(404),
            'a web server answers at {url} with an HTML page titled "Router login", not LM '
            f"Studio; {ADVICE}",
            id="page-404",
        ),
        pytest.param(
            page(401),
            'a web server answers at {url} with an HTML page titled "Router login", not LM '
            f"Studio; {ADVICE}",
            id="page-401",
        ),
        pytest.param(
            TEAPOT,
            "what answers at {url} is not LM Studio: it has no list of models (GET /v1/models is "
            f"answered with status 404); {ADVICE}",
            id="unknown",
        ),
    ],
)
async def test_a_server_that_cannot_be_used(rules: list[dict[str, Any]], sentence: str) -> None:
    """One sentence in answers, in `/health` and in the log: what is there, and what to do."""
    async with open_pair() as pair:
        pair.script(*rules)
        wanted = sentence.format(url=pair.standin.url)
        with written(format="json") as log:
            for path, body in (("/api/chat", chat()), ("/api/show", {"model": LOADED})):
                answer = await pair.post(path, body)
                assert (502, wanted) == (answer.status_code, answer.json()["error"])
            answer = await pair.client.get("/api/tags")
            assert (502, wanted) == (answer.status_code, answer.json()["error"])
            passed = await pair.post("/v1/chat/completions", chat())
            assert (502, wanted) == (passed.status_code, passed.json()["error"]["message"])
        status, shown = await health(pair)
        assert (503, wanted) == (status, shown["reason"])
        failures = lines_of(log, "upstream failure")
        assert 4 == len(failures)
        assert {("wrong_server", wanted)} == {(one["fault"], one["reason"]) for one in failures}


@pytest.mark.parametrize(
    ("rules", "server", "sentence"),
    [
        pytest.param(
            OLLAMA,
            "ollama",
            "an Ollama answers at {url}, not LM Studio; clients can use it without olgate, or "
            + ADVICE,
            id="ollama",
        ),
        pytest.param(
            LLAMA_CPP,
            "llama.cpp",
            "llama.cpp answers at {url}, not LM Studio; its models are served, but olgate cannot "
            "load, unload or download models there",
            id="llama.cpp",
        ),
        pytest.param(
            VLLM,
            "openai",
            "a server with the OpenAI API answers at {url}, not LM Studio; its models are served, "
            "but olgate cannot load, unload or download models there",
            id="vllm",
        ),
    ],
)
async def test_another_server_is_served_and_named(
    rules: list[dict[str, Any]], server: str, sentence: str
) -> None:
    """It has models and works; `/health` says what it is."""
    async with open_pair() as pair:
        pair.script(*rules)
        listed = await pair.get("/api/tags")
        assert ["tiny:latest"] == [one["name"] for one in listed["models"]]
        assert (
            200,
            {
                "url": pair.standin.url,
                "reachable": True,
                "server": server,
                "dialect": "openai",
                "models": 1,
                "loaded": 0,
                "reason": sentence.format(url=pair.standin.url),
            },
        ) == await health(pair)


async def test_a_path_that_leads_nowhere() -> None:
    """LM Studio answers 200 to every path, so the gateway looks where its greeting is."""
    async with (
        StandIn() as standin,
        open_gateway(standin, {"upstream": {"url": f"{standin.url}/chat-ui"}}) as pair,
    ):
        url = standin.url
        wanted = (
            f"LM Studio answers at {url}, but not below the path of {url}/chat-ui; set --upstream "
            f"(upstream.url, LMSTUDIO_URL) to {url}"
        )
        answer = await pair.client.get("/api/tags")
        assert (502, wanted) == (answer.status_code, answer.json()["error"])
        status, shown = await health(pair)
        assert (503, wanted) == (status, shown["reason"])


SILENT = {"match": {"path": "/*"}, "answer": {"chunks": [], "end": "hang"}}


async def test_a_silent_host_gets_504_within_a_bound() -> None:
    """It took the request and says nothing; the limit of a list is not the one of an answer."""
    async with open_pair({"limits": {"list_s": 0.05}}) as pair:
        pair.script({"match": {"path": LIST}, "answer": {"chunks": [], "end": "hang"}})
        answer = await pair.client.get("/api/tags")
        assert 504 == answer.status_code
        said = answer.json()["error"]
        assert said.startswith("LM Studio did not answer in time: no complete answer within 0.")
        status, shown = await health(pair)
        assert (503, "restart LM Studio's server") == (status, shown["advice"])


LOOP = loop_text(Settings(), "")


async def test_a_silent_host_is_listed_as_it_was_last_seen() -> None:
    """What is known is better than nothing, and the log says so."""
    async with open_pair({"limits": {"list_s": 1.0}}) as pair:
        known = await pair.get("/api/tags")
        pair.script({"match": {"path": LIST}, "answer": {"chunks": [], "end": "hang"}})
        with written(format="json") as log:
            assert known == await pair.get("/api/tags")
        assert lines_of(log, "LM Studio is silent; listed as last seen")
        assert 503 == (await health(pair))[0]


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port: int = trial.getsockname()[1]
        return port


async def test_a_gateway_that_calls_itself_stops_at_the_first_hop() -> None:
    """One request causes one more and not thousands; all places say what is wrong."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    wanted = f"this gateway itself answers at {url}, not LM Studio; {ADVICE}"
    async with serve(make_gateway(url, {}), port), speak_to(url) as client:
        with written(format="json") as log:
            answer = await client.get("/api/tags")
        assert (502, wanted) == (answer.status_code, answer.json()["error"])
        heard = [(one["path"], one["status"]) for one in lines_of(log, "request")]
        assert [
            ("/api/v1/models", 508),
            ("/lmstudio-greeting", 508),
            ("/api/tags", 502),
        ] == heard
        passed = await client.get("/v1/models")
        assert (502, wanted) == (passed.status_code, passed.json()["error"]["message"])
        passed = await client.get("/api/v1/models")
        assert "upstream.url leads to the gateway itself" in LOOP
        assert (508, LOOP) == (passed.status_code, passed.json()["error"]["message"])
        shown = (await client.get("/health")).json()["upstream"]
        assert wanted == shown["reason"]


async def test_of_several_hosts_the_one_is_named_that_leads_back() -> None:
    """By its key in the settings; a loop through a proxy can be due to any of them."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    hosts = {"hosts": {"den": {"url": "http://127.0.0.1:9"}, "attic": {"url": url}}}
    async with serve(make_gateway(url, hosts), port), speak_to(url) as client:
        pinned = {"x-olgate-host": "attic"}
        answer = await client.get("/api/v1/models", headers=pinned)
        assert 508 == answer.status_code
        told = answer.json()["error"]["message"]
        assert ": hosts.attic.url leads to the gateway itself; set it to the address of" in told
    both = loop_text(msgspec.convert(hosts, Settings), "proxy.local")
    assert "hosts.den.url or hosts.attic.url leads" in both


async def test_two_gateways_that_lead_to_each_other_stop() -> None:
    """The request is stopped where it comes back, and the first gateway knows why."""
    first, second = free_port(), free_port()
    urls = [f"http://127.0.0.1:{port}" for port in (first, second)]
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serve(make_gateway(urls[1], {}), first))
        await stack.enter_async_context(serve(make_gateway(urls[0], {}), second))
        client = await stack.enter_async_context(speak_to(urls[0]))
        answer = await client.get("/api/tags")
        wanted = (
            f"another olgate answers at {urls[1]}, and it leads back to this one; {ADVICE}, there "
            "or here"
        )
        assert (502, wanted) == (answer.status_code, answer.json()["error"])
        listed = await client.get("/v1/models")
        assert (502, wanted) == (listed.status_code, listed.json()["error"]["message"])
        assert 508 == (await client.get("/api/v1/models")).status_code


async def test_two_gateways_whose_lists_wait_for_each_other_are_a_loop() -> None:
    """Without LM Studio's routes, each asks the other for the list that the other asks for."""
    first, second = free_port(), free_port()
    urls = [f"http://127.0.0.1:{port}" for port in (first, second)]
    settings = {"routes": {"lmstudio": False}, "limits": {"list_s": 0.3}}
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serve(make_gateway(urls[1], settings), first))
        await stack.enter_async_context(serve(make_gateway(urls[0], settings), second))
        client = await stack.enter_async_context(speak_to(urls[0]))
        answer = await client.get("/api/tags")
    wanted = f"another olgate answers at {urls[1]}, and it leads back to this one; {ADVICE}, there "
    assert (502, f"{wanted}or here") == (answer.status_code, answer.json()["error"])


async def test_a_gateway_before_a_gateway_works() -> None:
    """Two in a row are a detour and no loop; `/health` names the next one."""
    async with (
        open_pair() as near,
        open_gateway(near.standin, {"upstream": {"url": near.url}}) as far,
    ):
        answer = await far.post("/api/chat", chat())
        assert 200 == answer.status_code
        status, shown = await health(far)
        assert (200, "olgate", "v1") == (status, shown["server"], shown["dialect"])
        assert (
            f"another olgate answers at {near.url}, not LM Studio; it works, but {ADVICE} to save "
            "the detour"
        ) == shown["reason"]


async def test_a_ring_of_many_gateways_is_bounded() -> None:
    """More hops than any chain has are a loop, even if no name is known."""
    async with open_pair() as pair:
        many = [("x-olgate-via", f"gateway-{number}") for number in range(9)]
        answer = await pair.client.get("/v1/models", headers=many)
        assert (508, LOOP) == (answer.status_code, answer.json()["error"]["message"])
        assert 200 == (await pair.client.get("/v1/models", headers=many[:8])).status_code


async def test_many_ask_while_the_server_is_wrong() -> None:
    """They share one look at it, whatever it costs."""
    async with open_pair() as pair:
        pair.script(*page(200))
        answers = await asyncio.gather(*(pair.client.get("/api/tags") for _ in range(20)))
        assert {502} == {answer.status_code for answer in answers}
        assert len(pair.standin.seen) < 20
