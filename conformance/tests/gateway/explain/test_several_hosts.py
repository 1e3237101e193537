"""`explain` where the gateway has several hosts, or keys with names."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from conformance.standin import StandIn
from conformance.standin.catalogue import GRADED, PLAIN
from conformance.standin.options import Options
from gateway.app import create_app
from gateway.explain.asked import for_route
from gateway.explain.explaining import explain
from gateway.explain.models import OPENAI, Models
from gateway.explain.running import settings_for
from gateway.settings.schema import Settings


def settings(**hosts: str) -> Settings:
    """Return settings with hosts, and with a key that is asked for when a request is served."""
    found: dict[str, Any] = {
        "hosts": {name: {"url": url} for name, url in hosts.items()},
        "keys": {"alice": {"digest": "0" * 64}},
    }
    return msgspec.convert(found, Settings)


def chat(model: str) -> bytes:
    """Return a body that asks a model."""
    wish = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    return msgspec.json.encode(wish)


def explained(body: bytes, used: Settings, models: Models | None = None) -> Any:
    """Return what becomes of a chat."""
    return explain(for_route("/api/chat", body, "a test"), used, create_app, models)


async def test_the_host_that_has_the_model_is_found() -> None:
    """As it would be for the request; only lists are asked for."""
    async with StandIn(Options(models=(PLAIN,))) as a, StandIn(Options(models=(GRADED,))) as b:
        used = settings(a=a.url, b=b.url)
        found = await asyncio.to_thread(explained, chat(GRADED.key), used)
        seen = {(one.method, one.path) for each in (a, b) for one in each.seen}

    (call,) = [one for one in found.calls if one.purpose == "answer"]
    assert ("b", "b") == (call.host, found.model.host)
    assert found.answer is None or found.answer.status == 200
    assert {"GET"} == {method for method, _ in seen}


async def test_a_host_that_is_away_is_left_out() -> None:
    """And said so."""
    async with StandIn(Options(models=(PLAIN,))) as a:
        used = settings(a=a.url, b="http://127.0.0.1:9")
        found = await asyncio.to_thread(explained, chat(PLAIN.key), used)

    assert "a" == found.model.host
    assert any("the host b is left out: " in note for note in found.notes)


def test_a_list_of_a_file_stands_for_one_host() -> None:
    """Nobody is asked."""
    rows = {OPENAI: {"object": "list", "data": [{"id": "m", "object": "model"}]}}
    used = settings(a="http://127.0.0.1:9", b="http://127.0.0.1:10")
    found = explained(chat("m"), used, Models("file", "list.json", rows))

    assert "m" == found.model.key
    assert "" == found.model.host
    assert any("stands for one host" in note for note in found.notes)


def test_keys_and_further_ports_are_not_asked_for(tmp_path: Path) -> None:
    """A key with a name is none of the explained request's."""
    used = settings_for(settings(a="http://127.0.0.1:9"), "http://h", tmp_path)

    assert {} == used.keys
    assert {} == used.hosts
    assert () == used.listen.keys
