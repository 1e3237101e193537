"""LM Studio's own routes where there are several hosts."""

from typing import Any

import pytest

from conformance.standin.catalogue import EMBEDDING, GRADED, PLAIN, SWITCHED
from conformance.tests.gateway.fleet.fleets import open_fleet
from conformance.tests.gateway.support import UNLOAD, generate

A: dict[str, Any] = {"models": (PLAIN, GRADED)}
B: dict[str, Any] = {"models": (PLAIN, SWITCHED, EMBEDDING)}
ALL = {PLAIN.key, GRADED.key, SWITCHED.key, EMBEDDING.key}


@pytest.mark.parametrize(
    ("path", "member", "by"),
    [
        ("/v1/models", "data", "id"),
        ("/api/v0/models", "data", "id"),
        ("/api/v1/models", "models", "key"),
    ],
)
async def test_lists_are_of_all_hosts(path: str, member: str, by: str) -> None:
    """Each model once; a pinned host's list is its own."""
    async with open_fleet(A, B) as fleet:
        items = (await fleet.get(path))[member]
        own = (await fleet.get(path, **{"x-olgate-host": "a"}))[member]

    names = [item[by] for item in items if item[by] in ALL]
    assert sorted(ALL) == sorted(names)
    assert {PLAIN.key, GRADED.key} == {item[by] for item in own} & ALL


async def test_instances_of_a_model_are_those_of_all_hosts() -> None:
    """The item has them in one list."""
    both = {"models": (GRADED,)}
    async with open_fleet(both, both) as fleet:
        for host in ("a", "b"):
            await fleet.post("/api/generate", generate(GRADED.key), **{"x-olgate-host": host})
        (item,) = (await fleet.get("/api/v1/models"))["models"]

    assert 2 == len(item["loaded_instances"])


async def test_a_host_without_the_route_is_left_out() -> None:
    """An older LM Studio has no /api/v1/models."""
    async with open_fleet(A, {**B, "host_version": "0.3"}) as fleet:
        models = (await fleet.get("/api/v1/models"))["models"]

    assert {PLAIN.key, GRADED.key} == {item["key"] for item in models}


async def test_a_host_that_is_gone_holds_up_no_list() -> None:
    """The others' lists are there."""
    async with open_fleet(A, B) as fleet:
        await fleet.standins["b"].stop()
        items = (await fleet.get("/v1/models"))["data"]
        await fleet.standins["b"].start()

    assert {PLAIN.key, GRADED.key} == {item["id"] for item in items} & ALL


async def test_an_instance_is_unloaded_where_it_is() -> None:
    """Its identifier says where."""
    async with open_fleet(A, B) as fleet:
        loaded = await fleet.post("/api/v1/models/load", {"model": SWITCHED.key})
        assert 200 == loaded.status_code, loaded.text
        (instance,) = fleet.instances("b", SWITCHED.key)
        answer = await fleet.post(UNLOAD, {"instance_id": instance})

        assert (200, "b") == (answer.status_code, answer.headers["x-olgate-host"])
        assert [] == fleet.instances("b", SWITCHED.key)


async def test_a_model_of_the_older_list_is_shown_by_its_host() -> None:
    """The path names it."""
    async with open_fleet(A, B) as fleet:
        for key, host in ((GRADED.key, "a"), (SWITCHED.key, "b")):
            answer = await fleet.client.get(f"/api/v0/models/{key}")
            assert (200, host) == (answer.status_code, answer.headers["x-olgate-host"])
