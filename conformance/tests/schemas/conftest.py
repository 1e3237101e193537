"""One gateway and one stand-in for all tests of this folder, and the names of its models."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conformance.runner.runner import Bench
from conformance.schemas.targets import model_names


@pytest.fixture(scope="package")
def gateway_bench() -> Iterator[Bench]:
    """Return a bench that starts the real gateway."""
    with Bench() as bench:
        yield bench


@pytest.fixture(scope="package")
def names() -> dict[str, list[str]]:
    """Return the stand-in's models by kind, the most capable first."""
    return model_names()
