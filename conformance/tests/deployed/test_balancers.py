"""HAProxy and nginx in front of two gateways, with the files of deploy/."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any

import pytest

from conformance.deploy.balancers import HAPROXY_FILE, NGINX_FILE
from conformance.runner.restartable import is_listening, wait_until
from conformance.tests.deployed.conftest import PATIENCE_S, Setup, mark_in, mark_of, name_in
from gateway.settings.schema import LimitSettings, UpstreamSettings

MODEL = "harbor/lantern-8b"
GENERATION = "/v1/chat/completions"
LARGE_BYTES = 20 * 1024 * 1024
"""More than nginx takes by itself, and more than any of its buffers."""


def chat(text: str) -> dict[str, Any]:
    """Return a streamed request."""
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], "keep_alive": -1}


def load_model(setup: Setup) -> None:
    """Have the model loaded, so that what follows is a generation and nothing else."""
    setup.control("model", {"action": "load", "key": MODEL})


def generations(setup: Setup, **query: int) -> list[Any]:
    """Return the generations that arrived at the stand-in."""
    words = "".join(f"&{name}={value}" for name, value in query.items())
    return list(setup.control(f"seen?path={GENERATION}{words}&timeout_ms=60000"))


def test_frames_arrive_as_they_are_produced(setup: Setup) -> None:
    """The first ones are read while the stand-in holds back the rest."""
    load_model(setup)
    setup.control("script", {"match": {"path": GENERATION}, "hold": "rest", "after": 2})

    with setup.asked("POST", "/api/chat", chat("Count to ten.")) as answer:
        first = json.loads(answer.readline())
        is_held = not generations(setup)[0]["finished"]
        setup.control("release", {"name": "rest"})
        rest = [json.loads(line) for line in answer]

    assert is_held
    assert not first["done"]
    assert rest[-1]["done"]


def test_silence_within_the_gateways_limits_does_not_cut() -> None:
    """The gateway's own limits end an answer, with a reason, before a balancer would."""
    upstream = UpstreamSettings()
    longest = max(upstream.first_byte_timeout_s or 0, upstream.silence_timeout_s or 0)
    haproxy, nginx = HAPROXY_FILE.read_text("utf-8"), NGINX_FILE.read_text("utf-8")

    assert longest < 3600
    for line in ("timeout client 1h", "timeout server 1h"):
        assert line in haproxy
    for line in ("proxy_read_timeout 1h;", "proxy_send_timeout 1h;"):
        assert line in nginx
    assert f"timeout http-request {LimitSettings().header_s:.0f}s" in haproxy


@pytest.mark.parametrize("packets", [1, 2])
def test_a_client_that_leaves_before_the_first_frame_ends_its_generation(
    setup: Setup, packets: int
) -> None:
    """
    A balancer that waited for the answer would let LM Studio work for nobody.

    HAProxy looks for leavers in different places if the body comes with the head or after it.
    """
    load_model(setup)
    setup.control("script", {"match": {"path": GENERATION}, "hold": "all", "after": 0})
    body = json.dumps(chat("Hi")).encode()
    head = f"POST /api/chat HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
    parts = [head.encode() + body] if packets == 1 else [head.encode(), body]

    with socket.create_connection(("127.0.0.1", setup.balancer.server.port)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            client.sendall(part)
            time.sleep(0.1)
        generations(setup, wait=1)

    assert [True] == [one["left"] for one in generations(setup, wait_left=1)]


def test_a_large_body_arrives_whole(setup: Setup) -> None:
    """Pictures make bodies of many megabytes."""
    load_model(setup)
    text = "x" * LARGE_BYTES

    with setup.asked("POST", "/api/chat", {**chat(text), "stream": False}) as answer:
        told = json.load(answer)

    assert (200, None) == (answer.status, told.get("error"))
    (arrived,) = generations(setup)
    assert [text] == [turn["content"] for turn in arrived["body"]["messages"]]


def test_the_log_has_the_clients_address(setup: Setup) -> None:
    """The one that the balancer sees, and not the one that the client claims to have."""
    address = setup.balancer.server.address
    with contextlib.closing(
        HTTPConnection(address, timeout=PATIENCE_S, source_address=("127.0.0.2", 0))
    ) as connection:
        connection.request("GET", "/api/tags", headers={"X-Forwarded-For": "192.0.2.1"})
        connection.getresponse().read()

    def logged() -> list[str]:
        logs = "".join(one.log.read_text("utf-8") for one in setup.gateways)
        return re.findall(r"path=/api/tags .*client=(\S+)", logs)

    wait_until(lambda: bool(logged()), "the line of the request is written")
    assert ["127.0.0.2"] == logged()


@pytest.mark.parametrize("path", ["/reload", "/RELOAD", "//reload", "/./reload", "/%72eload"])
def test_nobody_reloads_settings_through_a_balancer(setup: Setup, path: str) -> None:
    """The gateway would take the balancer, on its own machine, for its operator."""
    with setup.asked("POST", path) as answer:
        status = answer.status
    logs = "".join(one.log.read_text("utf-8") for one in setup.gateways)

    assert 301 <= status < 500
    assert "settings reloaded" not in logs


def test_a_gateway_that_drains_finishes_its_answer_and_gets_no_other(setup: Setup) -> None:
    """What arrives meanwhile is answered by the other one, all of it."""
    load_model(setup)
    marks = {mark_of(one): one for one in setup.gateways}
    held = {"match": {"path": GENERATION, "body_contains": "held"}, "hold": "h", "after": 2}
    setup.control("script", held)
    others = []
    with setup.asked("POST", "/api/chat", chat("held")) as answer:
        first = json.loads(answer.readline())
        leaving = marks.pop(mark_in(answer))
        leaving.signal(signal.SIGTERM)
        wait_until(lambda: not is_listening(leaving.port), "the gateway drains")
        for _ in range(20):
            with setup.asked("POST", "/api/chat", {**chat("Hi"), "stream": False}) as other:
                others.append((other.status, mark_in(other), json.load(other)["done"]))
        setup.control("release", {})
        rest = [json.loads(line) for line in answer]

    assert not first["done"]
    assert rest[-1]["done"]
    assert 0 == leaving.wait()
    assert [(200, *marks, True)] * 20 == others


def test_a_gateway_that_crashed_is_missed_by_nobody(setup: Setup) -> None:
    """And when it is back, it gets requests again without anybody's help."""
    crashed = setup.gateways[0]
    crashed.kill()
    statuses = [setup.get("/api/version").status for _ in range(10)]
    crashed.start()
    mark = mark_of(crashed)
    wait_until(lambda: mark == mark_in(setup.get("/api/version")), "it answers again")

    assert [200] * 10 == statuses


def test_no_generation_is_run_twice_when_a_gateway_crashes(setup: Setup) -> None:
    """The request that had begun on it is told an error, and is not tried on the other one."""
    load_model(setup)
    names = setup.names()
    setup.control("script", {"match": {"path": GENERATION}, "hold": "all", "after": 0})
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(status_of, setup, chat("Hi"))
        (begun,) = generations(setup, wait=1)
        names[name_in(begun)].kill()
        status = asking.result()

    assert 502 == status
    assert 1 == len(generations(setup))


def status_of(setup: Setup, body: dict[str, Any]) -> int:
    """Return the status that a chat gets."""
    with setup.asked("POST", "/api/chat", body) as answer:
        return answer.status
