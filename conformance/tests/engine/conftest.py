"""Fixtures: a gateway with a real engine behind it, one for each kind of model."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from conformance.runner.processes import listening

LIMIT_S = 60.0


@dataclass(frozen=True)
class Served:
    """A gateway and the engine behind it."""

    gateway: httpx.Client
    engine: httpx.Client


@contextlib.contextmanager
def serve(folder: Path, *arguments: str) -> Iterator[Served]:
    """Start an engine and a gateway with an empty settings file."""
    settings = folder / "olgate.toml"
    settings.touch()
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(listening("conformance.engine", *arguments))
        options = ("--port", "0", "--upstream", upstream, "--config", str(settings))
        url = stack.enter_context(listening("gateway", "serve", *options))
        gateway, engine = (
            stack.enter_context(httpx.Client(base_url=base, timeout=LIMIT_S, trust_env=False))
            for base in (url, upstream)
        )
        yield Served(gateway, engine)


@pytest.fixture(scope="session")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve the model that chats."""
    with serve(tmp_path_factory.mktemp("chat")) as served:
        yield served


@pytest.fixture(scope="session")
def embedding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Serve the model of embeddings."""
    with serve(tmp_path_factory.mktemp("embedding"), "--embedding") as served:
        yield served
