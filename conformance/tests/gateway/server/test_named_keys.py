"""Keys with names: what each may do, how much of it, and what others see of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from conformance.tests.gateway.support import (
    CHAT,
    COLD,
    LIST,
    LOADED,
    LOADED_EMBEDDER,
    chat,
    lines_of,
    open_pair,
    written,
)
from gateway.server.keys import KeyGate
from gateway.settings.live import LiveSettings
from gateway.settings.schema import KeySettings, Settings


def key(secret: str, **more: Any) -> dict[str, Any]:
    """Return the table of a key."""
    return {"digest": sha256(secret.encode()).hexdigest(), **more}


def bearer(secret: str) -> dict[str, str]:
    """Return the header that carries a key."""
    return {"authorization": f"Bearer {secret}"}


def locked(**tables: dict[str, Any]) -> dict[str, Any]:
    """Return settings with keys, and one without a name."""
    return {"listen": {"keys": ("plain",)}, "keys": tables}


SENT = [
    ("/api/chat", lambda error: error),
    (CHAT, lambda error: error["message"]),
    ("/v1/messages", lambda error: error["message"]),
]
"""A route of each dialect, and how an error of it is read."""


async def test_a_key_is_known_by_its_name_and_not_by_its_secret() -> None:
    """In the log and in the metrics; one without a name has its place."""
    async with open_pair(locked(alice=key("sesame"))) as pair:
        with written(format="json") as lines:
            for secret in ("sesame", "plain"):
                headers = bearer(secret)
                assert (
                    200
                    == (
                        await pair.client.post("/api/chat", json=chat(), headers=headers)
                    ).status_code
                )
            answer = await pair.client.get("/metrics", headers=bearer("plain"))
        assert ["alice", "1"] == [line["key"] for line in lines_of(lines, path="/api/chat")]
        assert 'key="alice"' in answer.text
        assert "sesame" not in answer.text + lines.getvalue()
        assert "sesame" not in "".join(str(one.headers) for one in pair.standin.seen)


@pytest.mark.parametrize(("path", "text_of"), SENT)
async def test_above_a_limit_a_request_is_refused_in_its_dialect(
    path: str, text_of: Callable[[Any], str]
) -> None:
    """With the time to wait; LM Studio is not asked."""
    limited = locked(alice=key("sesame", requests_per_minute=1), bob=key("mellon"))
    async with open_pair(limited) as pair:
        body = chat(max_tokens=5)
        first = await pair.client.post(path, json=body, headers=bearer("sesame"))
        pair.forget()
        second = await pair.client.post(path, json=body, headers=bearer("sesame"))
        assert [] == pair.standin.log.select()
        other = await pair.client.post(path, json=body, headers=bearer("mellon"))

    assert (200, 429, 200) == (first.status_code, second.status_code, other.status_code)
    assert 1 <= int(second.headers["retry-after"]) <= 60
    error = second.json()["error"]
    assert "limit of 1 (keys.NAME.requests_per_minute)" in text_of(error)
    if path != "/api/chat":
        assert "rate_limit_error" == error["type"]


@pytest.mark.parametrize("ends", ["answer", "leave", "fault"])
async def test_as_many_requests_run_as_may(ends: str) -> None:
    """However the one before ended, it makes room."""
    async with open_pair(locked(alice=key("sesame", max_running=1))) as pair:
        fault = {"fault": "closed_before_headers"} if ends == "fault" else {}
        pair.script({"match": {"path": CHAT}, "hold": "it", "nth": 1, **fault})
        ask: dict[str, Any] = {"json": chat(), "headers": bearer("sesame")}
        first = asyncio.create_task(pair.client.post("/api/chat", **ask))
        await pair.until_asked(CHAT)
        refused = await pair.client.post("/api/chat", **ask)
        if ends == "leave":
            first.cancel()
            await pair.until_left(CHAT)
        pair.release("it")
        await asyncio.gather(first, return_exceptions=True)
        await pair.client.get("/health")
        after = await pair.client.post("/api/chat", **ask)

    assert (429, "1") == (refused.status_code, refused.headers["retry-after"])
    assert 200 == after.status_code


async def test_tokens_are_counted() -> None:
    """Those of the prompt and of the answer, translated and passed on alike."""
    async with open_pair(locked(alice=key("sesame", tokens_per_minute=1))) as pair:
        for path, status in ((CHAT, 200), ("/api/chat", 429)):
            answer = await pair.client.post(path, json=chat(), headers=bearer("sesame"))
            assert status == answer.status_code
            await pair.client.get("/health")
    assert "tokens_per_minute" in answer.text


async def test_a_route_that_is_not_allowed_is_forbidden() -> None:
    """Patterns with ! take away."""
    routes = ("/api/*", "/v1/*", "!/api/delete")
    async with open_pair(locked(alice=key("sesame", routes=routes))) as pair:
        found = {}
        for method, path in (
            ("GET", "/api/tags"),
            ("GET", "/v1/models"),
            ("DELETE", "/api/delete"),
            ("GET", "/metrics"),
        ):
            answer = await pair.client.request(method, path, headers=bearer("sesame"))
            found[path] = answer.status_code
    assert {"/api/tags": 200, "/v1/models": 200, "/api/delete": 403, "/metrics": 403} == found


NAMED: list[tuple[str, str, Any]] = [
    ("POST", "/api/chat", chat(COLD)),
    ("POST", "/api/show", {"model": COLD}),
    ("POST", "/api/generate", {"model": COLD, "keep_alive": 0}),
    ("POST", "/api/copy", {"source": COLD, "destination": "mine"}),
    ("POST", CHAT, chat(COLD)),
    ("POST", "/v1/messages", chat(COLD, max_tokens=5)),
    ("GET", f"/v1/models/{COLD}", None),
]


@pytest.mark.parametrize(("method", "path", "body"), NAMED)
async def test_a_model_that_is_not_allowed_does_not_exist(
    method: str, path: str, body: Any
) -> None:
    """A 404 as for any unknown name, which no hint betrays; another key may use it."""
    async with open_pair(locked(alice=key("sesame", models=(LOADED,)), bob=key("mellon"))) as pair:
        answer = await pair.client.request(method, path, json=body, headers=bearer("sesame"))
        open_to = await pair.client.request(method, path, json=body, headers=bearer("mellon"))
    assert (404, 200) == (answer.status_code, open_to.status_code)
    assert COLD not in answer.headers.get("x-olgate-nearest", "")


@pytest.mark.parametrize("path", ["/api/tags", "/v1/models", LIST, "/api/v0/models", "/api/ps"])
async def test_lists_hide_models(path: str) -> None:
    """Ollama's, OpenAI's and LM Studio's own."""
    patterns = (f"!{COLD}*", f"!{LOADED}*")
    async with open_pair(locked(alice=key("sesame", models=patterns))) as pair:
        whole = (await pair.client.get(path, headers=bearer("plain"))).text
        shown = await pair.client.get(path, headers=bearer("sesame"))
    assert 200 == shown.status_code
    assert LOADED in whole
    assert LOADED not in shown.text
    assert COLD not in shown.text
    assert LOADED_EMBEDDER in shown.text


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b'{"messages": [{"role": "user", "content": "x"}]}', {"content-type": "application/json"}),
        (b'{"model": "%s"}' % COLD.encode(), {"content-type": "application/octet-stream"}),
        (b'{"model": 5}', {"content-type": "application/json"}),
        (b"[]", {"content-type": "application/json"}),
    ],
    ids=["no name", "no JSON", "odd name", "no object"],
)
async def test_no_way_leads_around_the_models_of_a_key(
    content: bytes, headers: dict[str, str]
) -> None:
    """LM Studio itself would choose a model, or read a body that the gateway does not."""
    async with open_pair(locked(alice=key("sesame", models=(LOADED,)))) as pair:
        answer = await pair.client.post(
            CHAT, content=content, headers={**headers, **bearer("sesame")}
        )
        assert [] == pair.asked(CHAT)
    assert answer.status_code in (400, 415)
    assert "keys.NAME.models" in answer.text


@pytest.mark.parametrize(
    "query", ["key=sesame", "api_key=x", "TOKEN=x", "whatever=sesame", "a=%73esame"]
)
@pytest.mark.parametrize("headers", [{}, bearer("sesame")])
async def test_a_key_in_an_address_is_refused_and_never_logged(
    query: str, headers: dict[str, str]
) -> None:
    """Also where the header has it: addresses end up in logs."""
    async with open_pair(locked(alice=key("sesame"))) as pair:
        with written(format="json") as lines:
            for path in ("/api/tags", "/v1/models", "/nosuch"):
                answer = await pair.client.get(f"{path}?{query}", headers=headers)
                assert 401 == answer.status_code
                assert "sesame" not in answer.text
        assert "sesame" not in lines.getvalue()
        assert [] == pair.standin.log.select()


@pytest.mark.parametrize(
    "value",
    [
        "Bearer",
        "Bearer sesam",
        "Bearer sesame, Bearer plain",
        "Bearer sesame\xe9",
        "Basic c2VzYW1lOg==",
        "sesame",
        "Bearer " + "s" * 5000,
        "Bearer " + sha256(b"sesame").hexdigest(),
    ],
)
async def test_forged_and_odd_headers_open_nothing(value: str) -> None:
    """The digest itself is no key either."""
    async with open_pair(locked(alice=key("sesame"))) as pair:
        headers = [(b"authorization", value.encode("latin-1"))]
        answer = await pair.client.get("/api/tags", headers=headers)
    assert 401 == answer.status_code


async def test_who_may_have_settings_reloaded() -> None:
    """A key that may change the gateway, and one without a name; each other is told apart."""
    tables = {"alice": key("sesame"), "root": key("mellon", admin=True)}
    async with open_pair(locked(**tables)) as pair:
        found = {
            secret: (await pair.client.post("/reload", headers=bearer(secret))).status_code
            for secret in ("sesame", "mellon", "plain", "wrong")
        }
        inner = await pair.client.get("/olgate/anything", headers=bearer("sesame"))
        outer = await pair.client.get("/olgate/anything", headers=bearer("mellon"))
    assert {"sesame": 403, "mellon": 200, "plain": 200, "wrong": 401} == found
    assert (403, 404) == (inner.status_code, outer.status_code)


def test_a_reload_changes_keys() -> None:
    """The next request sees it."""

    def settings(secret: str) -> Settings:
        return Settings(keys={"alice": KeySettings(**key(secret))})

    live = LiveSettings(settings("old"), lambda: settings("new"))
    gate = KeyGate(live.current)
    live.watch(gate.prepare)
    assert ("keys",) == live.use(live.reread()).changed
    for secret in ("old", "wrong"):
        scope = {"path": "/", "headers": [(b"authorization", f"Bearer {secret}".encode())]}
        answer = gate(scope, Settings())
        assert isinstance(answer, tuple)
        assert 401 == answer[0]
