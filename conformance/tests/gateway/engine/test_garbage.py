"""
No request leaves a cycle: what it held is freed when it ends, not when the cyclic collector comes.

That collector runs rarely here, on purpose, and a request may hold a body of many megabytes.
"""

import ast
import asyncio
import gc
import types
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

import gateway
from conformance.faults.matrix import FORMS, ROUTES, Row, ask, read_rows
from conformance.tests.gateway.support import (
    CHAT,
    COLD,
    LOAD,
    LONG,
    Pair,
    chat,
    generate,
    open_pair,
)
from conformance.tests.gateway.test_fault_matrix import SHORT_S, SLOW, ask_in_vain, pointed_at
from gateway.faults import UpstreamFailure

GATEWAY = Path(gateway.__file__).parent
NOT_LOADED = {"status": 400, "chunks": [[0, '{"error":"No models loaded."}']]}


def name_of(thing: object) -> str | None:
    """Return the name of an object of the gateway, None for any other."""
    code = None
    if isinstance(thing, types.FrameType):
        code = thing.f_code
    elif isinstance(thing, types.CoroutineType):
        code = thing.cr_code
    elif isinstance(thing, types.AsyncGeneratorType):
        code = thing.ag_code
    elif isinstance(thing, types.GeneratorType):
        code = thing.gi_code
    if code is not None:
        return code.co_qualname if GATEWAY in Path(code.co_filename).parents else None
    owner = thing if isinstance(thing, types.FunctionType) else type(thing)
    is_ours = (owner.__module__ or "").startswith("gateway.")
    return owner.__qualname__ if is_ours else None


@contextmanager
def without_collector() -> Iterator[Callable[[], Counter[str]]]:
    """
    Switch the collector off; yield a function that returns what lies in cycles since then.

    What was there before stays out of sight for good: looking through all of it for each test took
    most of the time.
    """
    gc.collect()
    gc.freeze()
    gc.disable()

    def left() -> Counter[str]:
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            gc.collect()
        finally:
            gc.set_debug(0)
        names = Counter(name for one in gc.garbage if (name := name_of(one)) is not None)
        gc.garbage.clear()
        gc.collect()
        return names

    try:
        yield left
    finally:
        gc.enable()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def hasty() -> AsyncIterator[Pair]:
    """Run a gateway that soon loses patience."""
    limits = {"first_byte_timeout_s": SHORT_S, "silence_timeout_s": SHORT_S}
    async with open_pair({"upstream": limits, "models": {"catalogue_ttl_s": LONG}}) as pair:
        yield pair


def test_a_cycle_is_seen() -> None:
    """The count can find something."""
    with without_collector() as left:
        failure = UpstreamFailure("round and round")
        failure.__dict__["itself"] = failure
        del failure
        assert left() == {"UpstreamFailure": 1}
        assert not left()


@pytest.mark.parametrize("row", read_rows(), ids=lambda row: row.name)
async def test_a_fault_leaves_no_cycle(row: Row, kept: Pair, hasty: Pair) -> None:
    """Every fault of the matrix, on every route, streamed and not."""
    cells = [
        (route, form) for route in ROUTES for form in FORMS if row.expected(route, form) != "-"
    ]
    if row.upstream is not None:
        async with pointed_at(row.upstream) as pair:
            with without_collector() as left:
                for route, form in cells:
                    await ask_in_vain(pair, row, route, form)
                assert not left()
        return
    pair = hasty if row.fault in SLOW else kept
    await pair.reset()
    await pair.get("/health")
    with without_collector() as left:
        for route, form in cells[:2] if row.fault in SLOW else cells:
            pair.script(row.rule("whole"))
            await ask(pair.client, route, form)
        await pair.let_pass("/api/version")
        assert not left()


async def refused(pair: Pair) -> None:
    """Send what the gateway refuses by itself."""
    for path in ("/api/chat", CHAT):
        for body in (b"{", b"[" * 500, b'{"model":1}', b'{"model":"no/such"}', b""):
            await pair.client.post(path, content=body)
    await pair.post("/api/chat", chat(messages=[{"role": "user", "images": ["!"]}]))
    await pair.post("/api/show", {"model": "no/such"})
    await pair.client.get("/no/such")


async def answered(pair: Pair) -> None:
    """Ask in every way, and get answers."""
    for stream in (True, False):
        await pair.post("/api/chat", chat(stream=stream))
        await pair.post("/api/generate", generate(stream=stream))
        await pair.post(CHAT, chat(stream=stream))
    for path in ("/api/tags", "/api/ps", "/api/version", "/v1/models"):
        await pair.client.get(path)


async def left_early(pair: Pair) -> None:
    """Leave before the first byte, and in the middle."""
    for path, body in (("/api/chat", chat()), ("/api/chat", chat(stream=True)), (CHAT, chat())):
        pair.script({"match": {"path": CHAT}, "hold": "prompt", "nth": 1})
        seen = len(pair.asked(CHAT))
        asking = asyncio.create_task(pair.post(path, body))
        await pair.until_asked(CHAT, seen + 1)
        asking.cancel()
        with suppress(asyncio.CancelledError):
            await asking
        pair.release("prompt")
    pair.script({"match": {"path": CHAT}, "hold": "middle", "after": 2, "nth": 1})
    async with pair.client.stream("POST", "/api/chat", json=chat(stream=True)) as answer:
        await anext(answer.aiter_bytes())
    pair.release("middle")


async def recovered(pair: Pair) -> None:
    """Be told once that the model is not loaded."""
    for path, body in (("/api/chat", chat()), ("/api/chat", chat(stream=True)), (CHAT, chat())):
        pair.script({"match": {"path": CHAT}, "answer": NOT_LOADED, "nth": 1})
        assert 200 == (await pair.post(path, body)).status_code


async def not_recovered(pair: Pair) -> None:
    """Be told again and again that the model is not loaded, until the gateway gives up."""
    for path, body in (("/api/chat", chat()), (CHAT, chat())):
        pair.script({"match": {"path": CHAT}, "answer": NOT_LOADED})
        assert 200 != (await pair.post(path, body)).status_code
        await pair.reset()


async def load_failed(pair: Pair) -> None:
    """Have several requests wait for a load that fails."""
    failed = {"status": 500, "chunks": [[0, '{"error":"Failed to load."}']]}
    pair.script({"match": {"path": LOAD}, "answer": failed, "hold": "load"})
    asking = [asyncio.create_task(pair.post("/api/chat", chat(COLD))) for _ in range(3)]
    await pair.until_asked(LOAD)
    await pair.let_pass("/api/version")
    pair.release("load")
    assert {500} == {answer.status_code for answer in await asyncio.gather(*asking)}


async def cut_while_sending(pair: Pair) -> None:
    """Send a body that ends too early, to a route that passes it on piece by piece."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b"much " * 100_000
        raise httpx.WriteError("gone")

    for path in ("/v1/files", "/api/blobs/sha256:" + "0" * 64):
        with suppress(httpx.HTTPError):
            headers = {"content-type": "application/octet-stream"}
            await pair.client.post(path, content=pieces(), headers=headers)


async def cancelled(pair: Pair) -> None:
    """Have running requests ended as a shutdown does."""
    for stream in (True, False):
        pair.script({"match": {"path": CHAT}, "hold": "late", "after": 2, "nth": 1})
        asked = len(pair.asked(CHAT))
        asking = asyncio.create_task(pair.post("/api/chat", chat(stream=stream)))
        await pair.until_asked(CHAT, asked + 1)
        pair.app.tasks["/api/chat"].cancel()
        with suppress(httpx.HTTPError):
            await asking
        pair.release("late")
    # A bookkeeping of the tests, which no gateway has.
    pair.app.tasks.clear()


ENDS: tuple[Callable[[Pair], Awaitable[None]], ...] = (
    refused,
    answered,
    left_early,
    recovered,
    not_recovered,
    load_failed,
    cut_while_sending,
    cancelled,
)


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
async def test_an_end_leaves_no_cycle(end: Callable[[Pair], Awaitable[None]], fresh: Pair) -> None:
    """Every other way in which a request ends."""
    await fresh.get("/health")
    with without_collector() as left:
        await end(fresh)
        await fresh.let_pass("/api/version")
        assert not left()


def kept_when_raised(source: str) -> list[int]:
    """
    Return the lines that raise an exception which their function, or an object, still holds.

    Python deletes the name of an `except` clause at its end; other names need a `del` in `finally`.
    """
    lines = []
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        within = list(ast.walk(function))
        freed = {node.name for node in within if isinstance(node, ast.ExceptHandler)}
        for node in within:
            for last in node.finalbody if isinstance(node, ast.Try) else ():
                if isinstance(last, ast.Delete):
                    freed |= {one.id for one in last.targets if isinstance(one, ast.Name)}
        lines += [
            node.lineno
            for node in within
            if isinstance(node, ast.Raise)
            and (
                (isinstance(node.exc, ast.Attribute) and not is_class(node.exc.attr))
                or (isinstance(node.exc, ast.Name) and node.exc.id[0].islower())
            )
            and not (isinstance(node.exc, ast.Name) and node.exc.id in freed)
        ]
    return lines


def is_class(name: str) -> bool:
    """Whether a name is written as a class's: what is raised by it is made there."""
    return name.lstrip("_")[:1].isupper()


def test_nothing_that_is_raised_is_kept() -> None:
    """A raised exception holds its frames: none of them may hold the exception."""
    kept = {
        f"{path.relative_to(GATEWAY)}:{line}"
        for path in GATEWAY.rglob("*.py")
        for line in kept_when_raised(path.read_text(encoding="utf-8"))
    }
    assert not kept


@pytest.mark.parametrize(
    "body", ["raise problem", "raise self.problem", "try:\n  raise problem\n finally:\n  pass"]
)
def test_an_exception_that_is_kept_is_seen(body: str) -> None:
    """The check can fail."""
    assert kept_when_raised(f"def run(self, problem):\n {body}\n")
