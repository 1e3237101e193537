"""
What one call of a client costs, with the catalogue just seen: calls of LM Studio, and of functions.

Functions are counted where times would differ from machine to machine. A limit that is met may be
lowered with the code; raising one means that every request costs more.
"""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import FrameType
from typing import Any

import litestar
import pytest
import pytest_asyncio
import structlog
import uvicorn

import gateway
from conformance.tests.gateway.support import (
    LIST,
    LOADED,
    LOADED_EMBEDDER,
    Pair,
    caching,
    open_pair,
)
from gateway.wire import float32

MESSAGES = [{"role": "user", "content": "hi"}]
CALLS: list[tuple[str, dict[str, Any], int]] = [
    ("/api/chat", {"model": LOADED, "messages": MESSAGES}, 1),
    ("/api/chat", {"model": LOADED, "messages": MESSAGES, "stream": False}, 1),
    ("/api/generate", {"model": LOADED, "prompt": "hi"}, 1),
    ("/api/embed", {"model": LOADED_EMBEDDER, "input": ["a", "b"]}, 1),
    ("/api/show", {"model": LOADED}, 0),
]


@pytest.fixture(scope="module", autouse=True)
def libraries() -> None:
    """Load what reads vectors, which is loaded at its first use: a gateway in use has it."""
    float32.read([b"[1]"])


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lasting_kept() -> AsyncIterator[Pair]:
    """Run a pair of its own: a model that another test had loaded costs a timer a request."""
    async with open_pair(caching()) as running:
        yield running


@pytest.mark.parametrize(("path", "body", "calls"), CALLS)
async def test_a_call_costs_one_call(
    kept: Pair, path: str, body: dict[str, Any], calls: int
) -> None:
    """A model that is loaded and known is neither looked up nor loaded again."""
    for _ in range(3):
        kept.forget()
        answer = await kept.client.post(path, json=body)
        assert 200 == answer.status_code
        assert calls == len(kept.standin.log.select()), "what was asked of LM Studio"


async def test_a_list_costs_no_call_while_it_is_fresh(kept: Pair) -> None:
    """The catalogue is fetched once for all who want it within its time."""
    for _ in range(3):
        assert 200 == (await kept.client.get("/api/tags")).status_code
    assert [] == kept.asked(LIST)


COUNTED = tuple(
    str(Path(str(package.__file__)).parent) for package in (gateway, litestar, structlog, uvicorn)
)
"""Where the functions of a request are: work that moves from one package to another counts."""
ASKED = {"role": "user", "content": "Hi"}
FUNCTIONS: list[tuple[str, str, Any, int]] = [
    ("GET", "/api/tags", None, 35),
    ("GET", "/v1/models", None, 35),
    ("POST", "/api/show", {"model": LOADED}, 37),
    ("POST", "/api/embed", {"model": LOADED_EMBEDDER, "input": ["a", "b"]}, 246),
    ("POST", "/api/chat", {"model": LOADED, "messages": [ASKED], "stream": False}, 419),
    ("POST", "/v1/chat/completions", {"model": LOADED, "messages": [ASKED]}, 266),
    ("POST", "/v1/chat/completions", {"model": LOADED, "messages": [ASKED], "stream": True}, 401),
]


@pytest.mark.parametrize(("method", "path", "body", "limit"), FUNCTIONS)
async def test_a_request_calls_few_functions(
    kept: Pair, method: str, path: str, body: Any, limit: int
) -> None:
    """A request enters no more functions than it did, the gateway's own and its server's."""
    least = await functions_of(kept, method, path, body)
    assert 0 < least <= limit


async def test_a_key_costs_few_functions() -> None:
    """A list is sent without a task to a key that may everything, whose head is known."""
    locked = {**caching(), "listen": {"keys": ("first-key",)}}
    async with open_pair(locked) as pair:
        pair.client.headers["authorization"] = "Bearer first-key"
        assert 0 < await functions_of(pair, "GET", "/api/tags", None) <= 50


async def functions_of(pair: Pair, method: str, path: str, body: Any) -> int:
    """Return the fewest functions that one of ten alike requests enters."""
    entered = 0

    def note(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal entered
        entered += event == "call" and frame.f_code.co_filename.startswith(COUNTED)

    counts: list[int] = []
    for _ in range(10):
        entered = 0
        sys.setprofile(note)
        try:
            answer = await pair.client.request(method, path, json=body)
        finally:
            sys.setprofile(None)
        assert 200 == answer.status_code
        counts.append(entered)

    return min(counts)
