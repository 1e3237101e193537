"""The steps that plans of the fixture project name."""

from __future__ import annotations

from msgspec import UnsetType

from gateway.run import Run


async def list_models(run: Run) -> None:
    """Fill `$call.models`."""
    run.call.models = list(run.rows.values())


async def hold(run: Run, *, keep: str | UnsetType) -> None:
    """Keep the model for this request."""
    run.deeds.append(f"hold {run.call.model.key} {keep}")


async def drop(run: Run) -> None:
    """Let the model go."""
    run.deeds.append(f"drop {run.call.model.key}")
