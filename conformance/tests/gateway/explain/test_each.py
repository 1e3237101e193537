"""What each route makes of a name: one application says the same as one for each route."""

import asyncio
import gc
import warnings
from pathlib import Path
from typing import Any

import msgspec
import pytest

from conformance.standin.catalogue import PLAIN, SWITCHED
from conformance.tests.gateway.support import Pair, open_gateway
from gateway.app import create_app
from gateway.explain.explaining import explain, explain_each
from gateway.explain.hosts import Lists, ask_hosts
from gateway.explain.job import _asks, _route_view
from gateway.settings.schema import Settings, UpstreamSettings


class Made:
    """Makes applications, and counts them."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, settings: Settings) -> Any:
        """Make the application that serves."""
        self.count += 1
        return create_app(settings)


async def lists_of(fresh: Pair, name: str, **more: Any) -> tuple[Settings, Lists]:
    """Return settings with the stand-in as host, and its lists."""
    settings = Settings(upstream=UpstreamSettings(url=fresh.standin.url), **more)
    return settings, await ask_hosts(settings, name)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(PLAIN.key, id="loaded"),
        pytest.param(SWITCHED.key, id="not-loaded"),
        pytest.param("nobody", id="unknown"),
    ],
)
async def test_one_application_says_what_many_say(fresh: Pair, name: str) -> None:
    """And it is made for few of the routes."""
    settings, lists = await lists_of(fresh, name)
    asks, made = list(_asks(name)), Made()

    def both() -> tuple[list[Any], list[Any]]:
        together = explain_each(asks, settings, made, lists)
        return together, [explain(asked, settings, create_app, lists) for asked in asks]

    together, alone = await asyncio.to_thread(both)

    assert [*map(_route_view, asks, alone)] == [*map(_route_view, asks, together)]
    assert made.count < len(asks) / 4


async def test_a_name_that_a_route_deletes_is_there_for_the_next(
    fresh: Pair, tmp_path: Path
) -> None:
    """As it is in the store, of which every application has a copy."""
    path = tmp_path / "store.sqlite3"
    async with open_gateway(fresh.standin, {"store": {"path": str(path)}}) as own:
        created = await own.post("/api/create", {"model": "nick", "from": PLAIN.key})
        assert 200 == created.status_code
    base = Settings()
    store_settings = msgspec.structs.replace(base.store, path=str(path))
    settings, lists = await lists_of(fresh, "nick", store=store_settings)
    asks, made = list(_asks("nick")), Made()

    found = await asyncio.to_thread(explain_each, asks, settings, made, lists)

    views = {each.route: each for each in map(_route_view, asks, found)}
    assert "answered" == views["DELETE /api/delete"].verdict
    assert "refused" not in {views[f"POST /api/{one}"].verdict for one in ("generate", "show")}
    assert made.count > 1


async def test_nothing_of_the_applications_is_left(fresh: Pair) -> None:
    """No connection, no task, no file."""
    settings, lists = await lists_of(fresh, PLAIN.key)
    asks = list(_asks(PLAIN.key))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        await asyncio.to_thread(explain_each, asks, settings, create_app, lists)
        gc.collect()
    assert [] == [str(one.message) for one in told if one.category is ResourceWarning]
