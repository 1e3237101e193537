"""Fixtures: two gateways with a stand-in behind them, and each balancer in front of them."""

from __future__ import annotations

import contextlib
import json
import os
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any, TypeVar

import pytest

from conformance.deploy.balancers import Balancer, MissingProgramError, open_haproxy, open_nginx
from conformance.runner.restartable import Server, gateway, standin

Made = TypeVar("Made")

PATIENCE_S = 60.0
BALANCERS = {"haproxy": open_haproxy, "nginx": open_nginx}


def required(make: Callable[[], Made]) -> Made:
    """
    Return what is made with a program of the machine.

    Without the program, skip the test and name it; fail where a skip would hide it, which is where
    OLGATE_REQUIRE_PROGRAMS is 1.
    """
    try:
        return make()
    except MissingProgramError as error:
        if os.environ.get("OLGATE_REQUIRE_PROGRAMS") == "1":
            pytest.fail(f"Not run: {error}")
        pytest.skip(f"Not run: {error}")


@dataclass(frozen=True)
class Setup:
    """One stand-in, two gateways that use it, and a balancer in front of these."""

    standin: Server
    gateways: tuple[Server, Server]
    balancer: Balancer

    @contextlib.contextmanager
    def asked(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> Iterator[HTTPResponse]:
        """Send a request to the balancer; yield the answer when its head is there."""
        with asked(self.balancer.server, method, path, body, **headers) as answer:
            yield answer

    def get(self, path: str) -> HTTPResponse:
        """Get a page of the balancer; return its head."""
        with self.asked("GET", path) as answer:
            answer.read()
        return answer

    def control(self, name: str, value: Any = None) -> Any:
        """Send an order to the stand-in, or ask it something."""
        body = None if value is None else json.dumps(value).encode()
        url = f"{self.standin.url}/__standin/{name}"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, body, PATIENCE_S) as answer:
            return json.load(answer)

    def names(self) -> dict[str, Server]:
        """Return the gateways by the names that they give themselves towards LM Studio."""
        found = {}
        for one in self.gateways:
            with asked(one, "GET", "/api/v0/models") as answer:
                answer.read()
            found[name_in(self.control("seen?path=/api/v0/models")[-1])] = one
        return found


def name_in(exchange: Any) -> str:
    """Return the name of the gateway that sent a request to the stand-in."""
    headers = {name.lower(): value for name, value in exchange["headers"].items()}
    return str(headers["x-olgate-via"])


def mark_in(answer: HTTPResponse) -> str:
    """Return the beginning of the id of a request, which is the same for all of one gateway."""
    return (answer.getheader("x-request-id") or "").split("-")[0]


@contextlib.contextmanager
def asked(
    server: Server, method: str, path: str, body: Any = None, **headers: str
) -> Iterator[HTTPResponse]:
    """Send a request to a server; yield the answer when its head is there."""
    with contextlib.closing(HTTPConnection(server.address, timeout=PATIENCE_S)) as connection:
        content = None if body is None else json.dumps(body)
        connection.request(method, path, content, headers)
        with connection.getresponse() as answer:
            yield answer


def mark_of(server: Server) -> str:
    """Return the beginning of the ids that a gateway gives to requests."""
    with asked(server, "GET", "/api/version") as answer:
        return mark_in(answer)


@pytest.fixture(params=BALANCERS)
def setup(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Setup]:
    """Start all of them, on ports of their own."""
    open_balancer = BALANCERS[request.param]
    with contextlib.ExitStack() as stack:
        host = standin("standin", tmp_path)
        stack.callback(host.close)
        host.start()
        settings = tmp_path / "olgate.toml"
        settings.touch()
        flags = ("--upstream", host.url, "--config", str(settings))
        variables = {"OLGATE_LISTEN_PROXIES": "127.0.0.1"}
        pair = (
            gateway("gateway-1", tmp_path, *flags, environment=variables),
            gateway("gateway-2", tmp_path, *flags, environment=variables),
        )
        for one in pair:
            stack.callback(one.close)
            one.start()
        addresses = [one.address for one in pair]
        balancer = required(lambda: stack.enter_context(open_balancer(addresses, tmp_path)))
        yield Setup(host, pair, balancer)
