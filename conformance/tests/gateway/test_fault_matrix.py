"""Every fault on every route, streamed and not: never a success that is none."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from ruamel.yaml import YAML

from conformance.faults.matrix import CUTS, FORMS, ROUTES, TABLE, Row, ask, fits, read_rows
from conformance.standin import StandIn
from conformance.standin.server import bind
from conformance.tests.gateway.support import CHAT, LONG, Pair, chat, open_gateway, open_pair

SHORT_S = 0.3
SLOW = ("first_byte_timeout", "silence_timeout")
ROWS = read_rows()
CELLS = [
    pytest.param(row, route, form, cut, id=f"{row.name}-{route}-{form}-{cut}")
    for row in ROWS
    for route in ROUTES
    for form in FORMS
    if row.expected(route, form) != "-" and (route, form) != ("embed", "streamed")
    for cut in (CUTS if (row.stream or row.raw) and not row.whole else CUTS[:1])
]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def standing() -> AsyncIterator[Pair]:
    """Run a gateway that knows the catalogue, so that faults meet the inference alone."""
    async with open_pair({"models": {"catalogue_ttl_s": LONG}}) as pair:
        yield pair


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def hasty() -> AsyncIterator[Pair]:
    """Run one that soon loses patience."""
    limits = {"first_byte_timeout_s": SHORT_S, "silence_timeout_s": SHORT_S}
    async with open_pair({"upstream": limits, "models": {"catalogue_ttl_s": LONG}}) as pair:
        yield pair


@asynccontextmanager
async def pointed_at(where: str) -> AsyncIterator[Pair]:
    """Run a gateway that is pointed where no answer can come from."""
    async with StandIn() as standin:
        closed = bind("127.0.0.1", 0)
        port = closed.getsockname()[1]
        closed.close()
        places: Mapping[str, Mapping[str, Any]] = {
            "closed": {"url": f"http://127.0.0.1:{port}"},
            "dns": {"url": "http://nowhere.invalid"},
            "tls": {"url": standin.url.replace("http:", "https:")},
            "pool": {"max_connections": 1, "first_byte_timeout_s": SHORT_S},
            "wrong_server": {},
        }
        async with open_gateway(standin, {"upstream": places[where]}) as pair:
            yield pair


@pytest.mark.parametrize(("row", "route", "form", "cut"), CELLS)
async def test_a_fault_is_told_for_what_it_is(
    row: Row, route: str, form: str, cut: Any, standing: Pair, hasty: Pair
) -> None:
    """A status before the first frame, an error line after it, an answer only when it is whole."""
    if row.upstream is not None:
        async with pointed_at(row.upstream) as pair:
            told = await ask_in_vain(pair, row, route, form)
    else:
        pair = hasty if row.fault in SLOW else standing
        await pair.reset()
        await pair.get("/health")
        pair.script(row.rule(cut))
        told = await ask(pair.client, route, form)
    expected = row.expected(route, form)
    assert fits(expected, told), f"expected {expected[:200]!r}, came {told[:300]!r}"


async def ask_in_vain(pair: Pair, row: Row, route: str, form: str) -> str:
    """Ask a gateway that reaches nobody; for the pool, while its one connection is busy."""
    if row.upstream == "wrong_server":
        pair.script({"match": {"path": "/[!_]*"}, "fault": "not_sse"})
    if row.upstream != "pool":
        return await ask(pair.client, route, form)
    pair.script({"match": {"path": CHAT}, "hold": "busy", "after": 2, "nth": 1})
    async with pair.client.stream("POST", CHAT, json=chat(stream=True)) as busy:
        parts = busy.aiter_bytes()
        await anext(parts)
        return await ask(pair.client, route, form)


def test_every_fault_is_in_the_matrix() -> None:
    """The closed list of faults is tried as a whole."""
    listed = YAML(typ="safe").load(TABLE.with_name("faults.yaml").read_text(encoding="utf-8"))
    places = {"closed": "connect"}
    tried = {row.fault or places.get(row.upstream or "", row.upstream) for row in ROWS}
    assert {fault["id"] for fault in listed["faults"]} <= tried


def test_no_row_stands_twice() -> None:
    """A name says which."""
    names = [row.name for row in ROWS]
    assert sorted(set(names)) == sorted(names)
