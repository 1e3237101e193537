"""
The named steps of plans (`do:` in a mapping): what a request needs done, not how a body becomes
another.

Each public function is a step; it takes the run first and named values of the request after it.
"""

from __future__ import annotations

import time

from msgspec import Raw, UnsetType

from gateway.duration import parse_keep_alive
from gateway.run import Run


async def catalogue(run: Run) -> None:
    """Fill `$call.models` with every model of the host."""
    run.call.models = await run.catalog.rows()


async def running(run: Run) -> None:
    """Fill `$call.running` with every loaded instance, the one that lives longest first."""
    run.call.running = run.lifecycle.running(await run.catalog.rows(fresh=True))


async def acquire(run: Run, *, keep_alive: Raw | UnsetType, num_ctx: float | UnsetType) -> None:
    """Have the model ready and hold it while this request runs; loads once for all who wait."""
    lease = run.lifecycle.lease(
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
    await run.lifecycle.unload(run.call.model)
