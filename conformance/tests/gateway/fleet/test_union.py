"""Several hosts as one: what is listed, and where a request goes."""

from typing import Any

import pytest

from conformance.standin.catalogue import EMBEDDING, GRADED, PLAIN, SWITCHED
from conformance.tests.gateway.fleet.fleets import Fleet, open_fleet
from conformance.tests.gateway.support import CHAT, chat, generate

A: dict[str, Any] = {"models": (PLAIN, GRADED)}
B: dict[str, Any] = {"models": (PLAIN, SWITCHED, EMBEDDING)}


async def test_a_name_is_listed_once() -> None:
    """Whatever the number of its homes."""
    async with open_fleet(A, B) as fleet:
        tags = (await fleet.get("/api/tags"))["models"]

    keys = {PLAIN.key, GRADED.key, SWITCHED.key, EMBEDDING.key}
    assert len(keys) == len(tags)


async def test_a_request_goes_to_a_host_that_has_the_model() -> None:
    """The answer says which."""
    async with open_fleet(A, B) as fleet:
        for model, host in ((GRADED.key, "a"), (SWITCHED.key, "b")):
            answer = await fleet.post("/api/chat", chat(model))
            assert (200, host) == (answer.status_code, answer.headers["x-olgate-host"])
            passed = await fleet.post("/v1/chat/completions", chat(model))
            assert (200, host) == (passed.status_code, passed.headers["x-olgate-host"])
            assert 2 == len(fleet.asked(host, CHAT))


async def test_a_loaded_home_is_preferred() -> None:
    """It needs no load."""
    async with open_fleet(A, B) as fleet:
        await fleet.post("/api/generate", generate(PLAIN.key), **{"x-olgate-host": "b"})
        fleet.standins["a"].app.host.table.instances.clear()
        for _ in range(3):
            answer = await fleet.post("/api/chat", chat(PLAIN.key))
            assert "b" == answer.headers["x-olgate-host"]


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
async def test_a_header_pins_a_host(path: str) -> None:
    """And an unknown one is told."""
    async with open_fleet(A, B) as fleet:
        for host in ("a", "b", "a"):
            answer = await fleet.post(path, chat(PLAIN.key), **{"x-olgate-host": host})
            assert (200, host) == (answer.status_code, answer.headers["x-olgate-host"])
        wrong = await fleet.post(path, chat(PLAIN.key), **{"x-olgate-host": "z"})

    assert 404 == wrong.status_code
    assert "no host is called 'z'; the hosts are: a, b" in wrong.text


async def test_a_host_that_was_never_there_is_left_out() -> None:
    """The others are listed, and serve."""
    gone = {"b": {"url": "http://127.0.0.1:9"}}
    async with open_fleet(A, B, of_hosts=gone) as fleet:
        assert 2 == len(await fleet.names())
        answer = await fleet.post("/api/chat", chat(PLAIN.key))
        assert "a" == answer.headers["x-olgate-host"]
        unknown = await fleet.post("/api/chat", chat(SWITCHED.key))
        assert 404 == unknown.status_code


async def test_a_tier_is_used_when_no_lower_one_can_serve() -> None:
    """Whatever is loaded there."""
    tiers = {"a": {"tier": 2}}
    async with open_fleet(A, B, of_hosts=tiers) as fleet:
        shared = await fleet.post("/api/chat", chat(PLAIN.key))
        own = await fleet.post("/api/chat", chat(GRADED.key))

    assert "b" == shared.headers["x-olgate-host"]
    assert "a" == own.headers["x-olgate-host"]


async def test_patterns_leave_models_out() -> None:
    """They are neither listed nor asked."""
    async with open_fleet(A, B, of_hosts={"a": {"models": [f"!{GRADED.key}"]}}) as fleet:
        listed = await fleet.names()
        answer = await fleet.post("/api/chat", chat(GRADED.key))

    assert 3 == len(listed)
    assert 404 == answer.status_code


@pytest.mark.parametrize("headers", [{}, {"x-olgate-host": "a"}], ids=["all hosts", "pinned"])
async def test_lists_leave_out_what_a_host_is_not_used_for(headers: dict[str, str]) -> None:
    """Also what is loaded there, and if the host is named."""
    name = f"{PLAIN.key}:latest"
    of_hosts = {"a": {"models": [f"!{PLAIN.key}"]}}

    async def listed(fleet: Fleet, path: str, **given: str) -> list[str]:
        return [one["name"] for one in (await fleet.get(path, **given))["models"]]

    async with open_fleet(A, B, of_hosts=of_hosts) as fleet:
        for path in ("/api/tags", "/api/ps"):
            on_b = await listed(fleet, path, **{"x-olgate-host": "b"})
            assert 1 == on_b.count(name)
            found = await listed(fleet, path, **headers)
            assert (0 if headers else 1) == found.count(name)


@pytest.mark.parametrize(
    ("model", "where"),
    [(PLAIN.key, " on the hosts a and b"), (SWITCHED.key, " on the host b")],
    ids=["on both", "on one"],
)
async def test_a_model_that_cannot_be_deleted_says_where_it_is(model: str, where: str) -> None:
    """Somebody has to go there."""
    async with open_fleet(A, B) as fleet:
        answer = await fleet.client.request("DELETE", "/api/delete", json={"model": model})

    assert 501 == answer.status_code
    assert answer.json()["error"].endswith(f"remove {model} under My Models{where}")


async def test_ps_lists_the_instances_of_all_hosts() -> None:
    """The same model twice, if it is loaded twice."""
    async with open_fleet(A, B) as fleet:
        for model, host in ((GRADED.key, "a"), (SWITCHED.key, "b")):
            await fleet.post("/api/generate", generate(model), **{"x-olgate-host": host})
        loaded = [one["name"] for one in (await fleet.get("/api/ps"))["models"]]

    assert any(GRADED.key.split("/")[-1] in name for name in loaded)
    assert any(SWITCHED.key.split("/")[-1] in name for name in loaded)


async def test_stop_unloads_on_all_hosts() -> None:
    """`ollama stop` is a request for nothing with keep_alive 0."""
    both = {"models": (GRADED,)}
    async with open_fleet(both, both) as fleet:
        for host in ("a", "b"):
            await fleet.post("/api/generate", generate(GRADED.key), **{"x-olgate-host": host})
            assert fleet.instances(host, GRADED.key)
        await fleet.post("/api/generate", {"model": GRADED.key, "keep_alive": 0, "stream": False})

        assert [] == fleet.instances("a", GRADED.key)
        assert [] == fleet.instances("b", GRADED.key)


async def test_a_derived_model_works_wherever_its_source_is() -> None:
    """It is made once, for all hosts."""
    async with open_fleet(A, B) as fleet:
        made = await fleet.post("/api/create", {"model": "mine", "from": PLAIN.key, "system": "x"})
        assert 200 == made.status_code, made.text
        for host in ("a", "b"):
            answer = await fleet.post("/api/chat", chat("mine"), **{"x-olgate-host": host})
            assert (200, host) == (answer.status_code, answer.headers["x-olgate-host"])
        assert "mine:latest" in await fleet.names()
        gone = await fleet.client.request("DELETE", "/api/delete", json={"model": "mine"})
        assert 200 == gone.status_code
        assert "mine:latest" not in await fleet.names()


@pytest.mark.parametrize("version", ["0.3", "openai"])
async def test_hosts_of_several_dialects_are_one(version: str) -> None:
    """LM Studio 0.4 with an older one, or with another server of the OpenAI dialect."""
    async with open_fleet(A, {**B, "host_version": version}) as fleet:
        assert 4 == len(await fleet.names())
        for model, host in ((GRADED.key, "a"), (SWITCHED.key, "b")):
            answer = await fleet.post("/api/chat", chat(model))
            assert (200, host) == (answer.status_code, answer.headers.get("x-olgate-host"))
            shown = await fleet.post("/api/show", {"model": model})
            assert (200, host) == (shown.status_code, shown.headers.get("x-olgate-host"))


@pytest.mark.parametrize("version", ["0.3", "openai"])
async def test_a_model_is_shown_as_it_is_listed(version: str) -> None:
    """A host that tells little of it does not hide what another one tells, in either place."""
    same = {"models": (GRADED,)}
    async with open_fleet({**same, "host_version": version}, same) as fleet:
        (listed,) = (await fleet.get("/api/tags"))["models"]
        full = (
            await fleet.post("/api/show", {"model": GRADED.key}, **{"x-olgate-host": "b"})
        ).json()
        shown = (await fleet.post("/api/show", {"model": GRADED.key})).json()
        assert "tools" in shown["capabilities"]
        assert (
            set(full["capabilities"]) == set(shown["capabilities"]) == set(listed["capabilities"])
        )
        assert full["details"] == shown["details"]
        assert full["details"]["family"] == listed["details"]["family"]
        assert full["model_info"] == shown["model_info"]


async def test_one_host_says_nothing_of_hosts() -> None:
    """Its answers are as before."""
    async with open_fleet(A) as fleet:
        answer = await fleet.post("/api/chat", chat(PLAIN.key))
        wrong = await fleet.post("/api/chat", chat(PLAIN.key), **{"x-olgate-host": "z"})

    assert 200 == answer.status_code
    assert "x-olgate-host" not in answer.headers
    assert 404 == wrong.status_code
