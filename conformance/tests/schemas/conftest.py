"""One gateway and one stand-in for all tests of this folder, and the names of its models."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conformance.runner.runner import Bench
from conformance.schemas.targets import model_names
from gateway.wire import float32


@pytest.fixture(scope="package")
def gateway_bench() -> Iterator[Bench]:
    """
    Return a bench that starts the real gateway.

    What it loads for vectors is loaded before: the engine looks at the modules of this process, and
    fails at one that a gateway's thread has loaded by half.
    """
    float32.read([b"[1]"])
    with Bench() as bench:
        yield bench


@pytest.fixture(scope="package")
def names() -> dict[str, list[str]]:
    """Return the stand-in's models by kind, the most capable first."""
    return model_names()
