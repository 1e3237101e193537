"""The sockets of systems that are not Linux, emulated: what differs there, and what is done."""

import asyncio
import errno
import socket
import sys

import pytest
import uvicorn

from gateway.server.listen import ListenProblem, bind
from gateway.server.protocol import ClientHttp
from gateway.settings.schema import ListenSettings
from gateway.upstream import dialing
from gateway.upstream.address import Origin


async def test_tokens_are_not_held_back_on_a_socket_that_does_not_name_tcp() -> None:
    """Windows' loop accepts such sockets, on which asyncio itself leaves Nagle's delay."""

    async def app(scope: object, receive: object, send: object) -> None:
        raise AssertionError("nothing is asked")

    config = uvicorn.Config(app, http=ClientHttp, ws="none", lifespan="off", log_config=None)
    config.load()
    server = uvicorn.Server(config)
    connected: asyncio.Future[asyncio.Transport] = asyncio.get_running_loop().create_future()

    class Noting(ClientHttp):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
            super().connection_made(transport)
            connected.set_result(transport)

    def make() -> ClientHttp:
        return Noting(config=config, server_state=server.server_state, app_state={})

    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        assert 0 == listener.proto
        serving = await asyncio.get_running_loop().create_server(make, sock=listener)
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        transport = await asyncio.wait_for(connected, 20)
        accepted = transport.get_extra_info("socket")
        assert 0 != accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        writer.close()
        transport.abort()
        assert b"" == await reader.read()
        serving.close()


@pytest.mark.parametrize("platform", ["linux", "win32"])
def test_a_port_that_windows_does_not_give(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    """WSAEACCES is no matter of port numbers: it is a port that is held or reserved."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "not allowed")

    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(socket, "create_server", refuse)
    with pytest.raises(ListenProblem) as told:
        bind(ListenSettings(port=11434))
    assert (
        "port 11434 on 127.0.0.1 is held by another program or reserved by Windows: choose another "
        "port with --port (`netsh interface ipv4 show excludedportrange tcp` lists reserved ports)"
        if platform == "win32"
        else "port 11434 on 127.0.0.1 is not allowed for this user: choose a port above 1023 with "
        "--port"
    ) == str(told.value)


async def test_a_lost_host_is_noticed_under_macos_name_of_the_option(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There the seconds before the first probe are TCP_KEEPALIVE."""
    idle = socket.TCP_KEEPIDLE
    monkeypatch.delattr(socket, "TCP_KEEPIDLE")
    monkeypatch.setattr(socket, "TCP_KEEPALIVE", idle, raising=False)
    assert 60 == await option_of_a_connection(idle)


async def test_a_system_that_refuses_the_options_is_called_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Older Windows knows the names, and answers that it does not have them."""
    for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT"):
        monkeypatch.setattr(socket, name, 9999)
    assert 0 != await option_of_a_connection(socket.TCP_NODELAY)


async def option_of_a_connection(option: int) -> int:
    """Dial a server as LM Studio is dialled, and return an option of the socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        origin = Origin("http", "127.0.0.1", listener.getsockname()[1])
        connection = await dialing.dial(origin, lambda _: None, 10.0)
        try:
            found: int = connection.wire.get_extra_info("socket").getsockopt(
                socket.IPPROTO_TCP, option
            )
            return found
        finally:
            connection.wire.abort()
            await asyncio.sleep(0)
