"""
How many requests a model on a host runs at once; LM Studio lets further ones wait in silence.

LM Studio states it for each loaded instance as `parallel` (docs/facts/lmstudio.md#parallel).
"""

from __future__ import annotations

from msgspec import UnsetType

from ..settings.schema import HostSettings
from ..types import internal

SLOTS = 4
"""How many requests a loaded model is taken to run at once, where nobody says."""
MOST_SLOTS = 4096
"""What a host states beyond this is no number of requests that run at once."""


def slots_of(
    settings: HostSettings, row: internal.CatalogueRow | None, unknown: int = SLOTS
) -> int:
    """
    Return how many requests a model runs at once on a host with these settings.

    `hosts.NAME.slots` counts more than what the host states of the instance that requests go to,
    the first of the model's `row`. Without a row, with nothing loaded, and where the host states
    nothing of use, it is `unknown`.
    """
    if settings.slots:
        return settings.slots
    if row is None or not row.instances:
        return unknown
    return _stated(row.instances[0].parallel) or unknown


def _stated(parallel: int | float | UnsetType) -> int:
    """
    Return a stated number of slots, 0 for one that is of no use.

    >>> [_stated(each) for each in (8, 2.0, 0, -1, float("nan"), 1e300)]
    [8, 2, 0, 0, 0, 0]
    """
    if isinstance(parallel, UnsetType) or not 1 <= parallel <= MOST_SLOTS:
        return 0
    return int(parallel)
