"""
LM Studio's own load and unload calls, and the reason of a load that failed.

When to load or unload is decided in `changes`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from msgspec import UNSET, UnsetType

from ..calls import host
from ..catalogue.catalogue import Catalogue
from ..faults import UpstreamFailure
from ..observability.journal import get_logger
from ..observability.record import note_load
from ..store.interface import LOAD_S
from ..types import internal
from ..upstream.client import Upstream
from .instances import BROKEN_S

_NO_MEMORY: Final = (
    "insufficient system resources",
    "not enough memory",
    "out of memory",
    # An engine that gets no memory only ends, and LM Studio says so.
    "exited before becoming healthy",
)
"""Parts of LM Studio's texts when memory is short (docs/facts/lmstudio.md#load-errors)."""


_PROXYS_STATUSES: Final = frozenset((408, 502, 503, 504, *range(520, 528), 598, 599))
"""
Statuses of proxies that had no answer in time, or none that they could read. LM Studio's own errors
of loads have others (docs/facts/lmstudio.md#load-errors).
"""


def lacks_memory(failure: UpstreamFailure) -> bool:
    """Whether a load may succeed once something else is unloaded."""
    text = failure.message.lower()
    return any(words in text for words in _NO_MEMORY)


def is_outcome_unknown(failure: UpstreamFailure) -> bool:
    """Whether a load may go on after its call failed: LM Studio did not say how it ended."""
    if failure.status is None:
        return not failure.repeatable
    return failure.status in _PROXYS_STATUSES


def search_time_s(failure: UpstreamFailure) -> float:
    """
    Return how long to search for the instance of a load that ended with an unknown outcome.

    It is in seconds from the begin of the load. After a time limit, ours or a proxy's, LM Studio
    most likely goes on; a connection that broke may mean that it has ended.
    """
    is_broken = failure.status is None and failure.fault != "first_byte_timeout"
    return BROKEN_S if is_broken else LOAD_S


class Loader:
    """Loads and unloads on one host; after each, the catalogue's cached list is outdated."""

    def __init__(self, upstream: Upstream, catalogue: Catalogue, timeout_s: float) -> None:
        """Give a load by a request at most `timeout_s` seconds."""
        self._upstream = upstream
        self._catalogue = catalogue
        self._timeout_s = timeout_s
        self._log = get_logger()

    async def load(
        self,
        model: str,
        tokens: int | None,
        like: internal.HostInstance | None,
        timeout_s: float,
    ) -> internal.HostInstance:
        """
        Load a model and return the new instance.

        `model` is LM Studio's name of the model, `tokens` the context length, None if LM Studio
        chooses. The new instance gets all other settings of `like`. `timeout_s` is in seconds.
        Raises UpstreamFailure.
        """
        wish = internal.LoadWish(model=model, context_length=UNSET if tokens is None else tokens)
        if like is not None:
            wish.eval_batch_size = _whole(like.eval_batch_size)
            wish.flash_attention = like.flash_attention
            wish.num_experts = _whole(like.num_experts)
            wish.offload_kv_cache_to_gpu = like.offload_kv_cache_to_gpu
        started = time.monotonic()
        try:
            with _counted():
                loaded = await self._upstream.ask(host.load(wish), timeout_s=timeout_s)
        finally:
            self._catalogue.invalidate()
        self._log.info(
            "model loaded",
            model=model,
            context_length=tokens,
            took_s=round(time.monotonic() - started, 6),
        )
        identifier = loaded.instance_id or model
        return internal.HostInstance(id=identifier, context_length=wish.context_length)

    async def warm(self, row: internal.CatalogueRow) -> None:
        """Have the host load a model by a request for one token. Raises UpstreamFailure."""
        call = host.warm_embedding if row.kind == "embedding" else host.warm_llm
        try:
            with _counted():
                await self._upstream.ask(
                    call(internal.WarmWish(model=row.request_key)), timeout_s=self._timeout_s
                )
        finally:
            self._catalogue.invalidate()

    async def unload(self, identifier: str) -> None:
        """Unload the instance with this identifier. Raises UpstreamFailure."""
        try:
            await self._upstream.ask(host.unload(internal.UnloadWish(instance_id=identifier)))
        finally:
            self._catalogue.invalidate()
        self._log.info("instance unloaded", instance=identifier)


@contextmanager
def _counted() -> Iterator[None]:
    """Count a load by its end, and measure it; a cancelled one is not counted."""
    started = time.monotonic()
    try:
        yield
    except UpstreamFailure:
        note_load("failed", time.monotonic() - started)
        raise
    note_load("loaded", time.monotonic() - started)


def _whole(number: float | UnsetType) -> int | UnsetType:
    return UNSET if isinstance(number, UnsetType) else int(number)
