"""
What people do to a gateway by hand, as requests of its own API.

The page and the command line both send these, so there is one way to load a model.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from ..server.routes import DRAIN, UNDRAIN

SHOW = "/api/show"
"""The route that says what a model can do, which decides how it is loaded."""


class Action(NamedTuple):
    """A request; `host` is the only host that it is for, "" for any. Without a body it has none."""

    path: str
    body: dict[str, object] | None = None
    host: str = ""


def load(name: str, abilities: Collection[str], host: str = "", keep_alive: str = "") -> Action:
    """
    Return the request that loads a model and asks it nothing.

    `abilities` are the capabilities that `SHOW` states: a model that only makes vectors is loaded
    by another route. `keep_alive` is how long it stays, "" for the gateway's own time.

    >>> load("m", ["embedding"]).path, load("m", ["completion"], "a").host
    ('/api/embed', 'a')
    """
    body: dict[str, object] = {"model": name, "stream": False}
    if keep_alive:
        body["keep_alive"] = keep_alive
    if "embedding" in abilities and "completion" not in abilities:
        return Action("/api/embed", {**body, "input": []}, host)
    return Action("/api/generate", body, host)


def unload(name: str, host: str = "") -> Action:
    """Return the request that unloads a model, from all hosts unless one is named."""
    return Action("/api/generate", {"model": name, "keep_alive": 0, "stream": False}, host)


def pull(name: str) -> Action:
    """Return the request that downloads a model; its answer is a line for each progress."""
    return Action("/api/pull", {"model": name, "stream": True})


def drain(host: str) -> Action:
    """Return the request after which a host gets no new requests."""
    return Action(DRAIN, None, host)


def undrain(host: str) -> Action:
    """Return the request after which a host gets requests again."""
    return Action(UNDRAIN, None, host)
