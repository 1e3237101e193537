"""
The named steps of plans (`do:` in a mapping): what a request needs done, not how a body becomes
another.

Each public function is a step; it takes the run first and named values of the request after it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from msgspec import Raw, UnsetType

from gateway._generated import internal
from gateway.duration import parse_keep_alive
from gateway.faults import Refusal
from gateway.run import Run


async def catalogue(run: Run) -> None:
    """Fill `$call.models` with every model of the host."""
    run.call.models = await run.services.catalog.rows()


async def running(run: Run) -> None:
    """Fill `$call.running` with every loaded instance, the one that lives longest first."""
    run.call.running = run.services.lifecycle.running(await run.services.catalog.rows(fresh=True))


async def acquire(run: Run, *, keep_alive: Raw | UnsetType, num_ctx: float | UnsetType) -> None:
    """Have the model ready and hold it while this request runs; loads once for all who wait."""
    lease = run.services.lifecycle.lease(
        run.call.model, parse_keep_alive(keep_alive), num_ctx, run.warnings.append
    )
    run.lease = lease
    await lease.prepare()
    run.call.loaded_ns = time.monotonic_ns()


async def load(run: Run, *, keep_alive: Raw | UnsetType, num_ctx: float | UnsetType) -> None:
    """Have the model loaded although nothing is asked of it, and hold it like a request's."""
    await acquire(run, keep_alive=keep_alive, num_ctx=num_ctx)
    assert run.lease is not None
    await run.lease.warm()
    run.call.loaded_ns = time.monotonic_ns()


async def unload(run: Run) -> None:
    """Unload every instance of the model, once no request runs on it."""
    await run.services.lifecycle.unload(run.call.model)


async def push(run: Run) -> AsyncIterator[internal.Progress]:
    """Tell, as a push that fails does, that nothing can be pushed from here."""
    yield internal.Progress(status="retrieving manifest")
    yield internal.Progress(status="couldn't retrieve manifest")
    raise Refusal(
        500, "LM Studio can't push models; publish the model's files where they came from"
    )


async def look_for_blob(run: Run, *, digest: str) -> None:
    """Fill `$call.is_blob_known`."""
    run.call.is_blob_known = run.services.blobs.knows(digest)


async def take_blob(run: Run, *, digest: str) -> None:
    """Hash the file that the client sends, and remember its digest."""
    assert run.incoming is not None, "an operation that takes a file is described as taking one"
    await run.services.blobs.take(digest, run.incoming)
