"""A client's connection before anything is read from it, and what one costs."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any, cast

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from conformance.tests.gateway.server.test_protocol import GET, NO_LIMITS, Wire
from gateway.server.protocol import ClientHttp

CALLS = 20
"""The most functions that are entered for a connection on which nothing is asked."""


class Placed(Wire):
    """A connection whose ends have names."""

    def __init__(self, ends: dict[str, object]) -> None:
        super().__init__()
        self.ends = ends

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self.ends.get(name, default)


async def answer(scope: Any, _receive: Any, send: Any) -> None:
    """Answer nothing but the scope's client."""
    body = repr((scope["client"], scope["server"], scope["scheme"])).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def protocol_for(state: ServerState) -> ClientHttp:
    """Return what reads a new connection of a server."""
    config = Config(
        cast("Any", answer), http=ClientHttp, ws="none", log_config=None, proxy_headers=False
    )
    return ClientHttp.limited_by(NO_LIMITS)(config, state, {})


@pytest.mark.parametrize(
    ("ends", "seen"),
    [
        (
            {"peername": ("10.0.0.1", 5), "sockname": ("10.0.0.2", 80)},
            "(('10.0.0.1', 5), ('10.0.0.2', 80), 'http')",
        ),
        (
            {"peername": ("::1", 5, 0, 0), "sockname": ("::1", 80, 0, 0), "sslcontext": object()},
            "(('::1', 5), ('::1', 80), 'https')",
        ),
        ({"peername": "", "sockname": "/run/olgate.sock"}, "(None, None, 'http')"),
        ({}, "(None, None, 'http')"),
    ],
)
async def test_a_request_has_the_addresses_of_its_connection(
    ends: dict[str, object], seen: str
) -> None:
    """One whose ends have none, as a Unix socket, is served as well."""
    wire = Placed(ends)
    protocol = protocol_for(ServerState())
    protocol.connection_made(wire)
    protocol.data_received(GET)
    assert seen in (await wire.bodies()).decode()
    protocol.connection_lost(None)


async def test_only_a_head_that_is_not_known_needs_a_parser() -> None:
    """Most clients send what another connection of theirs has sent before."""
    state = ServerState()
    needed: list[bool] = []
    for data in (GET, GET, GET.replace(b"/ ", b"/other "), GET):
        wire = Wire()
        protocol = protocol_for(state)
        protocol.connection_made(wire)
        protocol.data_received(data)
        needed.append(protocol.parser is not None)
        await wire.bodies()
        protocol.connection_lost(None)
    assert [True, False, True, False] == needed


async def test_a_connection_costs_few_functions() -> None:
    """Many clients open one for each request."""
    entered: list[str] = []

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and not isinstance(frame.f_locals.get("self"), Wire):
            entered.append(frame.f_code.co_qualname)

    state = ServerState()
    config = Config(cast("Any", answer), http=ClientHttp, ws="none", log_config=None)
    make = ClientHttp.limited_by(NO_LIMITS)
    wire = Wire()
    # The first one of a server makes what all of them share.
    make(config, state, {}).connection_made(wire)
    sys.setprofile(note)
    try:
        protocol = make(config, state, {})
        protocol.connection_made(wire)
        protocol.connection_lost(None)
    finally:
        sys.setprofile(None)
    assert 0 < len(entered) <= CALLS, entered
