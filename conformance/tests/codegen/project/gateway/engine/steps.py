"""The steps that plans of the fixture project name."""

from __future__ import annotations

from collections.abc import AsyncIterator

from msgspec import UnsetType

from ..types import internal
from .run import Run


async def list_models(run: Run) -> None:
    """Fill `$context.models`."""
    run.context.models = list(run.rows.values())


async def hold(run: Run, *, keep: str | UnsetType) -> None:
    """Keep the model for this request."""
    run.deeds.append(f"hold {run.context.model.key} {keep}")


async def drop(run: Run) -> None:
    """Let the model go."""
    run.deeds.append(f"drop {run.context.model.key}")


async def read_scroll(run: Run, *, place: str) -> AsyncIterator[internal.Line]:
    """Read what lies at a place: two lines, always."""
    run.deeds.append(f"read {place}")
    yield internal.Line(text=f"from {place}", number=1)
    yield internal.Line(text="the end", number=2)


async def keep_scroll(run: Run, *, place: str) -> None:
    """Keep the scroll at a place."""
    run.deeds.append(f"keep {place}")
