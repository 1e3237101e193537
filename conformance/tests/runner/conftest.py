"""One bench for all tests of this folder: gateways and stand-ins are started once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conformance.runner.runner import Bench
from conformance.runner.shared_cases import find_shared

# Without the shared material one test says so (test_shared_cases), and these have nothing to do.
collect_ignore = (
    []
    if find_shared()
    else [
        "test_shared_streams.py",
        "test_shared_requests.py",
        "test_shared_recordings.py",
    ]
)


@pytest.fixture(scope="package")
def gateway_bench() -> Iterator[Bench]:
    """Return a bench that starts the real gateway."""
    with Bench() as bench:
        yield bench
