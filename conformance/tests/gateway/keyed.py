"""What tests of lists share: keys with different models, and what each of them is shown."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any, Protocol

from conformance.tests.gateway.support import LOADED, Pair, caching, open_pair

MODELS: dict[str, tuple[str, ...]] = {"all": (), "some": (LOADED,), "none": ("nothing-*",)}
"""The patterns of three keys, each with a secret that is its name."""


class Names(Protocol):
    """Returns the names that a gateway lists for a request with some headers."""

    def __call__(self, pair: Pair, /, **headers: str) -> Awaitable[list[str]]:
        """List them."""


@asynccontextmanager
async def open_keyed(**limits: Any) -> AsyncIterator[Pair]:
    """Run a gateway that keeps its list and has the three keys, with limits for each."""
    keys = {
        name: {"digest": sha256(name.encode()).hexdigest(), "models": patterns, **limits}
        for name, patterns in MODELS.items()
    }
    async with open_pair({**caching(), "keys": keys}) as pair:
        yield pair


async def check_lists(pair: Pair, path: str, names: Names) -> None:
    """Check that each key's list is its own, however often the others are asked for."""
    lists: dict[str, list[str]] = {}
    for name in (*MODELS, *reversed(MODELS)):
        got = await names(pair, authorization=f"Bearer {name}")
        assert lists.setdefault(name, got) == got
    assert (1, 0) == (len(lists["some"]), len(lists["none"]))
    assert 1 < len(lists["all"])
    assert 401 == (await pair.client.get(path)).status_code
