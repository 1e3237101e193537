"""The page of a gateway with several processes: any of them shows what all do, and acts for all."""

from __future__ import annotations

import html
import json
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from conformance.runner.restartable import Server, gateway, running, standin, wait_until
from conformance.tests.gateway.console.test_actions import ACT, DOWNLOAD, PULLED, order, token_of
from conformance.tests.gateway.console.test_page import (
    EVENTS,
    LOGIN,
    LOGOUT,
    PAGE,
    SCRIPT,
    cookie_in,
)
from conformance.tests.gateway.support import CERTIFICATES, CHAT, LOADED, chat

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")

WAIT_S = 60.0
KEY = "sesame"


class Gateway:
    """A gateway with two processes in front of a stand-in, and connections to each of them."""

    def __init__(self, server: Server, host: Server, clients: ExitStack) -> None:
        self.server = server
        self.host = host
        self._clients = clients

    def worker(self, number: int) -> httpx.Client:
        """
        Return a client with one connection, which this worker has accepted.

        A stream that is left before its end closes the connection.
        """
        for _ in range(400):
            one = httpx.Limits(max_connections=1, keepalive_expiry=WAIT_S)
            client = httpx.Client(
                base_url=self.server.url, timeout=WAIT_S, limits=one, verify=CERTIFICATES
            )
            with suppress(httpx.TransportError):
                if f'worker="{number}"' in client.get("/metrics").text:
                    self._clients.callback(client.close)
                    return client
            client.close()
        raise AssertionError(f"worker {number} has accepted no connection")

    def pid(self, client: httpx.Client) -> int:
        """Return the process that serves a client's connection."""
        stream = client._transport._pool.connections[0]._connection  # type: ignore[attr-defined]  # httpx shows it nowhere else
        port = stream._network_stream.get_extra_info("client_addr")[1]
        for child in psutil.Process(self.server.pid).children():
            if any(each.raddr and each.raddr.port == port for each in child.net_connections()):
                return child.pid
        raise AssertionError("nobody has this connection")

    def steer(self, path: str, told: object) -> None:
        """Tell the stand-in something."""
        url = f"{self.host.url}/__standin/{path}"
        httpx.post(url, json=told, verify=CERTIFICATES).raise_for_status()

    @contextmanager
    def asking(self, client: httpx.Client, agent: str) -> Iterator[None]:
        """Have a chat run, which ends after the block at the latest."""
        asked = threading.Thread(
            target=client.post,
            args=("/api/chat",),
            kwargs={"json": chat(), "headers": {"user-agent": agent}},
        )
        asked.start()
        try:
            yield
        finally:
            self.steer("release", {"name": "all"})
            asked.join(WAIT_S)


def _listening(server: Server) -> int:
    return server.log.read_text().count("listening on")


@contextmanager
def open_two(folder: Path, settings: str = "") -> Iterator[Gateway]:
    """Run two processes with a settings file."""
    (folder / "olgate.toml").write_text(settings)
    stored = {"OLGATE_STORE_PATH": str(folder / "store.db")}
    with ExitStack() as stack:
        host = stack.enter_context(running(standin("host", folder, "--parallel", "1")))
        flags = ("--workers", "2", "--config", str(folder / "olgate.toml"), "--upstream", host.url)
        served = stack.enter_context(running(gateway("olgate", folder, *flags, environment=stored)))
        wait_until(lambda: _listening(served) == 2, "both listen", WAIT_S)
        yield Gateway(served, host, stack)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Gateway]:
    """Run two processes."""
    with open_two(tmp_path) as opened:
        yield opened


def sections(client: httpx.Client, **more: Any) -> dict[str, str]:
    """Return the page's sections as its stream tells them first."""
    with client.stream("GET", EVENTS, **more) as answer:
        assert 200 == answer.status_code
        for line in answer.iter_lines():
            if line.startswith("data: "):
                found: dict[str, str] = json.loads(line.removeprefix("data: "))["sections"]
                return found
    raise AssertionError("the stream has ended")


def until(client: Callable[[], httpx.Client], holds: Callable[[str], object]) -> str:
    """Load the page until something is so, and return its text."""
    text = ""

    def looked() -> bool:
        nonlocal text
        text = html.unescape(client().get(PAGE).text)
        return bool(holds(text))

    wait_until(looked, "the page shows it", WAIT_S)
    return text


def test_each_shows_what_runs_waits_and_has_ended_in_both(two: Gateway) -> None:
    """The stand-in has one slot, and each process counts its own requests for it."""
    two.steer("script", {"match": {"path": CHAT}, "hold": "all", "times": 2})
    with ExitStack() as asked:
        for number, agent in ((0, "zero/a"), (1, "one/a"), (0, "zero/b"), (1, "one/b")):
            asked.enter_context(two.asking(two.worker(number), agent))
        wait_until(
            lambda: 2 == sections(two.worker(0))["queue"].count('<th scope="row"'),
            "one of each process waits",
            WAIT_S,
        )
        for number in (0, 1):
            shown = sections(two.worker(number))
            assert 2 == shown["queue"].count('<th scope="row"')
            for agent in ("zero/a", "one/a", "zero/b", "one/b"):
                assert agent in shown["running"]
            assert 4 == shown["running"].count('<th scope="row"')
            assert "2, shown together" in shown["about"]
            wanted = {"waiting": 2, "interactive": 0, "batch": 2, "processes": 2, "counted": 2}
            assert wanted == two.worker(number).get("/health").json()["queue"]
    for number in (0, 1):
        ended = sections(two.worker(number))["recent"]
        assert 4 == ended.count("POST /api/chat")
        assert 2 == len(re.findall(r'data-label="Queued" class="number">[\d.]+ s<', ended))


def test_a_form_of_one_page_is_good_for_the_other(two: Gateway) -> None:
    """What was begun by one is shown and stopped by the other."""
    first, second = two.worker(0), two.worker(1)
    origin = {"origin": two.server.url}
    token = token_of(first.get(PAGE).text)
    two.steer("script", {"match": {"path": DOWNLOAD}, "hold": "all"})
    pull = {"token": token, "do": order("pull"), "model": PULLED}
    assert 303 == second.post(ACT, data=pull, headers=origin).status_code
    page = until(lambda: first, lambda text: f"Pull {PULLED}" in text)
    stop = re.findall(r'"do": "stop", "id": "([^"]+)"', page)
    assert 1 == len(stop)
    stopped = first.post(
        ACT,
        data={"token": token, "do": order("stop", id=stop[0])},
        headers={**origin, "accept": "application/json"},
    )
    assert 202 == stopped.status_code
    assert f"Stopped: Pull {PULLED}." == stopped.json()["said"]
    until(lambda: second, lambda text: "it was stopped" in text)


def test_a_session_is_one_of_both_and_outlives_the_process_that_opened_it(tmp_path: Path) -> None:
    """Somebody who shows a key need not do so twice, and who leaves has left everywhere."""
    digest = sha256(KEY.encode()).hexdigest()
    with open_two(tmp_path, f'[keys.me]\ndigest = "{digest}"\nadmin = true\n') as two:
        key = {"authorization": f"Bearer {KEY}"}
        origin = {"origin": two.server.url}

        def worker(number: int) -> httpx.Client:
            for _ in range(400):
                client = httpx.Client(base_url=two.server.url, timeout=WAIT_S, verify=CERTIFICATES)
                with suppress(httpx.TransportError):
                    if f'worker="{number}"' in client.get("/metrics", headers=key).text:
                        return client
                client.close()
            raise AssertionError("no connection")

        first, second = worker(0), worker(1)
        assert 401 == second.get(PAGE).status_code
        session = {"cookie": cookie_in(first.post(LOGIN, data={"key": KEY}, headers=origin))}
        first.cookies.clear()
        assert 200 == second.get(PAGE, headers=session).status_code
        killed = two.pid(first)
        first.close()
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: 3 == _listening(two.server), "it is there again", WAIT_S)
        again = worker(0)
        assert killed != two.pid(again)
        assert 200 == again.get(PAGE, headers=session).status_code
        assert 303 == again.post(LOGOUT, headers={**session, **origin}).status_code
        for client in (again, second):
            assert 401 == client.get(PAGE, headers=session).status_code
            client.close()


def test_an_exchange_that_one_keeps_is_explained_by_the_other(tmp_path: Path) -> None:
    """Whichever process had the request."""
    with open_two(tmp_path, "[inspect]\nrequests = 4\n") as two:
        first, second = two.worker(0), two.worker(1)
        assert 200 == first.post("/api/chat", json=chat()).status_code
        page = until(lambda: second, lambda text: 'name="exchange"' in text)
        kept = re.findall(r'name="exchange" value="([^"]+)"', page)
        assert 1 == len(kept)
        form = {"token": token_of(page), "exchange": kept[0]}
        found = second.post("/olgate/explain", data=form, headers={"origin": two.server.url})
        assert 200 == found.status_code
        assert LOADED in found.text
        form["exchange"] = "another"
        gone = second.post("/olgate/explain", data=form, headers={"origin": two.server.url})
        assert 404 == gone.status_code


def test_the_page_says_who_does_not_answer(two: Gateway) -> None:
    """It is shown nevertheless, and whole again when the other one answers again."""
    first, second = two.worker(0), two.worker(1)
    pid = two.pid(second)
    assert "has not answered" not in first.get(PAGE).text
    os.kill(pid, signal.SIGSTOP)
    try:
        with first.stream("GET", EVENTS) as answer:
            for line in answer.iter_lines():
                if "Process 1 has not answered for" in line:
                    break
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: two.worker(0), lambda text: "has not answered" not in text)


def test_nobody_asks_while_nobody_looks(two: Gateway) -> None:
    """Workers are connected to each other while a page is open, and not before or after."""
    first = two.worker(0)
    processes = psutil.Process(two.server.pid).children()
    ports = {
        each.laddr.port
        for process in processes
        for each in process.net_connections()
        if each.status == psutil.CONN_LISTEN
    } - {two.server.port}
    assert 2 == len(ports)

    def connected() -> int:
        return sum(
            1
            for process in processes
            for each in process.net_connections()
            if each.status == psutil.CONN_ESTABLISHED and each.raddr.port in ports
        )

    wait_until(lambda: 0 == connected(), "they have met at the start", WAIT_S)
    with first.stream("GET", EVENTS):
        wait_until(lambda: 1 == connected(), "one asks the other", WAIT_S)
    wait_until(lambda: 0 == connected(), "nobody asks", WAIT_S)


def test_whoever_does_not_know_the_secret_gets_nothing(two: Gateway) -> None:
    """The ports are open to all programs of the machine."""
    processes = psutil.Process(two.server.pid).children()
    port = next(
        each.laddr.port
        for process in processes
        for each in process.net_connections()
        if each.status == psutil.CONN_LISTEN and each.laddr.port != two.server.port
    )
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as stranger:
        stranger.sendall(bytes(32) + b"\0\0\0\1\x80" + SCRIPT.encode())
        with suppress(ConnectionError):
            assert b"" == stranger.recv(1)
    wait_until(lambda: "without the secret" in two.server.log.read_text(), "it is noted", WAIT_S)
