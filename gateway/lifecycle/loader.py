"""
LM Studio's own load and unload calls.

May live here: making the calls, and telling what a failed load was for. May not live here: when to
load or unload, and for whom (`lifecycle`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from msgspec import UNSET, UnsetType

from gateway.calls import host
from gateway.catalogue.catalogue import Catalogue
from gateway.faults import UpstreamFailure
from gateway.observability.journal import get_logger
from gateway.observability.record import note_load
from gateway.types import internal
from gateway.upstream.client import Upstream
from gateway.wire.duration import shown

_NO_MEMORY: Final = (
    "insufficient system resources",
    "not enough memory",
    "out of memory",
    # An engine that could not get its memory says no more than that it is gone.
    "exited before becoming healthy",
)
"""What LM Studio says when a model does not fit (docs/facts/lmstudio.md#load-errors)."""


def lacks_memory(failure: UpstreamFailure) -> bool:
    """Whether a load may succeed once something else is unloaded."""
    text = failure.message.lower()
    return any(words in text for words in _NO_MEMORY)


def is_outcome_unknown(failure: UpstreamFailure) -> bool:
    """Whether the load may have gone on after the failure: no answer told how it ended."""
    return failure.status is None and not failure.repeatable


class Loader:
    """Loads and unloads on one host; the catalogue looks again after each."""

    def __init__(self, upstream: Upstream, catalogue: Catalogue, timeout_s: float) -> None:
        self._upstream = upstream
        self._catalogue = catalogue
        self._timeout_s = timeout_s
        self._log = get_logger()

    async def load(
        self, model: str, tokens: int | None, like: internal.HostInstance | None = None
    ) -> internal.HostInstance:
        """
        Load a model and return the copy; `like` is one whose other settings it is to have.

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
                loaded = await self._upstream.ask(host.load(wish), timeout_s=self._timeout_s)
        finally:
            self._catalogue.invalidate()
        self._log.info(
            "loaded", model=model, context=tokens, took=shown(time.monotonic() - started)
        )
        identifier = loaded.instance_id or model
        return internal.HostInstance(id=identifier, context_length=wish.context_length)

    async def warm(self, row: internal.CatalogueRow) -> None:
        """Have the host load a model for a request of one token. Raises UpstreamFailure."""
        call = host.warm_embedding if row.kind == "embedding" else host.warm_llm
        try:
            with _counted():
                await self._upstream.ask(
                    call(internal.WarmWish(model=row.request_key)), timeout_s=self._timeout_s
                )
        finally:
            self._catalogue.invalidate()

    async def unload(self, identifier: str) -> None:
        """Unload one copy. Raises UpstreamFailure."""
        try:
            await self._upstream.ask(host.unload(internal.UnloadWish(instance_id=identifier)))
        finally:
            self._catalogue.invalidate()
        self._log.info("unloaded", instance=identifier)


@contextmanager
def _counted() -> Iterator[None]:
    """Count a load as it ends; one that is given up is none."""
    try:
        yield
    except UpstreamFailure:
        note_load("failed")
        raise
    note_load("loaded")


def _whole(number: float | UnsetType) -> int | UnsetType:
    return UNSET if isinstance(number, UnsetType) else int(number)
