"""The demonstration: what it finds, what it starts, and that all of it ends together."""

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import psutil
import pytest

from conformance import demo as demonstration
from conformance.demo import StandIn, banner, is_there
from conformance.tests.gateway.server.test_process import PATIENCE_S, Child


@contextmanager
def answering(pages: dict[str, tuple[int, bytes]]) -> Iterator[str]:
    """Serve a few pages, and anything else as LM Studio serves an unknown path: 200, an error."""

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = pages.get(self.path, (200, b'{"error":"Unexpected endpoint"}'))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def dead_address() -> Iterator[str]:
    """Hold a port on which nothing listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


@asynccontextmanager
async def demo(*flags: str, lmstudio: str) -> AsyncIterator[Child]:
    """Run the demonstration until the test is through with it."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OLGATE_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "conformance.demo",
        *flags,
        env=kept | {"LMSTUDIO_URL": lmstudio, "OLGATE_STORE_PATH": ":memory:"},
        stderr=asyncio.subprocess.PIPE,
    )
    child = Child(process)
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield child
    finally:
        if process.returncode is None:
            process.kill()
        await child.ended()


async def is_refused(url: str) -> bool:
    """Tell whether nothing listens at an address any more."""
    host, port = url.removeprefix("http://").rsplit(":", 1)
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


@pytest.mark.parametrize(
    ("pages", "expected"),
    [
        ({"/lmstudio-greeting": (200, b'{"lmstudio":true}')}, True),
        ({"/v1/models": (200, b'{"data":[]}')}, True),
        ({"/v1/models": (401, b'{"error":"no token"}')}, True),
        ({"/v1/models": (404, b"")}, False),
        ({"/v1/models": (500, b"")}, False),
        ({}, False),
    ],
)
def test_lm_studio_is_known_by_what_it_says(
    pages: dict[str, tuple[int, bytes]], expected: bool
) -> None:
    """The greeting, or a list of models; a 200 alone says nothing."""
    with answering(pages) as url:
        assert expected == is_there(url)


def test_where_nothing_listens_nothing_is_there() -> None:
    """A dead address is no error."""
    with dead_address() as url:
        assert is_there(url) is False


def test_the_standin_is_there_while_it_is_wanted() -> None:
    """It answers as LM Studio does, and has ended when its context has."""
    with StandIn() as standin:
        assert is_there(standin.url)
    assert not is_there(standin.url)
    assert not standin.has_ended_by_itself


def test_the_banner_names_both_addresses() -> None:
    """Every line of it is inside the frame."""
    text = banner("http://127.0.0.1:1234", "http://127.0.0.1:5")

    assert "NO LM STUDIO at http://127.0.0.1:1234" in text
    assert "STAND-IN at http://127.0.0.1:5" in text
    assert {78} == {len(line) for line in text.splitlines() if line}


async def test_without_lm_studio_the_standin_answers_and_all_ends_together() -> None:
    """The banner comes before the first answer; SIGTERM ends both, with exit code 0."""
    with dead_address() as url:
        async with demo("--port", "0", lmstudio=url) as child:
            line = await child.until_said("STAND-IN at ")
            standin = line.split("STAND-IN at ")[1].split()[0].rstrip(":")
            await child.until_said("listening on")

            assert not await is_refused(standin)
            child.process.send_signal(signal.SIGTERM)
            assert 0 == await child.ended()
            assert await is_refused(standin)
            assert "Traceback" not in child.said


async def test_lm_studio_is_used_where_it_is_found() -> None:
    """No stand-in, no banner."""
    with answering({"/lmstudio-greeting": (200, b'{"lmstudio":true}')}) as url:
        async with demo("--port", "0", lmstudio=url) as child:
            await child.until_said("listening on")
            child.process.send_signal(signal.SIGTERM)

            assert 0 == await child.ended()
            assert f"LM Studio answers at {url}" in child.said
            assert "STAND-IN" not in child.said


async def test_an_upstream_that_was_asked_for_is_not_replaced() -> None:
    """With --upstream the gateway serves that address, even when nothing answers there yet."""
    with dead_address() as url:
        async with demo("--port", "0", "--upstream", url, lmstudio="unused") as child:
            await child.until_said("listening on")
            child.process.send_signal(signal.SIGTERM)

            assert 0 == await child.ended()
            assert f"nothing answers at {url} yet" in child.said
            assert "STAND-IN" not in child.said


async def test_a_port_that_is_taken_is_said_before_anything_starts() -> None:
    """Exit code 1 and one sentence that names Ollama and --port; no stand-in was started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        async with demo("--port", port, lmstudio="unused") as child:
            assert 1 == await child.ended()
            assert f"port {port} on 127.0.0.1 is taken" in child.said
            assert "a running Ollama" in child.said
            assert "--port" in child.said
            assert 1 == len(child.lines)


async def test_the_gateway_ends_when_its_standin_does() -> None:
    """A demonstration without its stand-in would only give errors: exit code 1 and a sentence."""
    with dead_address() as url:
        async with demo("--port", "0", lmstudio=url) as child:
            await child.until_said("listening on")
            child_of(child.process.pid).kill()

            assert 1 == await child.ended()
            assert "the stand-in has ended" in child.said


@pytest.mark.parametrize("end", ["kill", "terminate"])
async def test_nothing_is_left_behind_when_the_parent_is_gone(end: str) -> None:
    """Whoever started the demonstration may die of anything: the gateway and the stand-in end."""
    program = (
        "import subprocess, sys; "
        "subprocess.run([sys.executable, '-m', 'conformance.demo', '--port', '0'])"
    )
    with dead_address() as url:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            program,
            env=dict(os.environ) | {"LMSTUDIO_URL": url, "OLGATE_STORE_PATH": ":memory:"},
            stderr=asyncio.subprocess.PIPE,
        )
        parent = Child(process)
        async with asyncio.timeout(PATIENCE_S):
            line = await parent.until_said("STAND-IN at ")
            standin = line.split("STAND-IN at ")[1].split()[0].rstrip(":")
            gateway = (await parent.until_said("listening on")).split()[-1]
            getattr(process, end)()
            # The pipe ends when the last one that holds it has ended.
            await parent.ended()

            assert await is_refused(gateway)
            assert await is_refused(standin)


def child_of(pid: int) -> psutil.Process:
    """Return the one child of a process."""
    (found,) = psutil.Process(pid).children()
    return found


class Kernel:
    """Windows' functions for waiting for a process, which note how they are called."""

    def __init__(self, handle: int) -> None:
        self.handle = handle
        self.calls: list[tuple[str, tuple[int, ...]]] = []

    def OpenProcess(self, *given: int) -> int:
        """Return the handle."""
        self.calls.append(("open", given))
        return self.handle

    def WaitForSingleObject(self, *given: int) -> int:
        """Return at once, as for a process that has ended."""
        self.calls.append(("wait", given))
        return 0

    def CloseHandle(self, *given: int) -> int:
        """Note it."""
        self.calls.append(("close", given))
        return 1


def test_on_windows_the_parent_is_waited_for_by_a_handle(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent's number never changes there, so polling it would never end."""
    kernel = Kernel(handle=7)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr("ctypes.windll", SimpleNamespace(kernel32=kernel), raising=False)

    assert demonstration.wait_for_end_of(99)
    assert [
        ("open", (demonstration.SYNCHRONIZE, False, 99)),
        ("wait", (7, demonstration.FOREVER)),
        ("close", (7,)),
    ] == kernel.calls


def test_on_windows_a_parent_that_cannot_be_watched_ends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may well be alive, as one of another user."""
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr("ctypes.windll", SimpleNamespace(kernel32=Kernel(0)), raising=False)
    assert not demonstration.wait_for_end_of(99)


def test_on_windows_the_end_is_a_signal_that_handlers_see(monkeypatch: pytest.MonkeyPatch) -> None:
    """os.kill would end the process there without a drain."""
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(os, "kill", lambda *_: pytest.fail("the process was killed"))
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        demonstration.end_self()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert [signal.SIGTERM] == heard


def test_ctrl_c_is_not_for_the_standin(monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers until the gateway has drained: by a session of its own, or a group on Windows."""
    assert {"start_new_session": True} == demonstration.apart()
    monkeypatch.setattr(sys, "platform", "win32")
    assert {"creationflags": demonstration.NEW_GROUP} == demonstration.apart()
