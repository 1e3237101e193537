"""What all tests share: whole gateways that run inside a test say nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import structlog
from hypothesis import settings

from gateway.server.memory import tune_collector

QUIET = ("gateway", "live", "mutants", "runner", "schemas", "suite")
"""Folders whose tests run whole gateways: making a line look nice takes as long as a request."""

SPEAKING = ("test_edge.py", "test_journal.py", "test_process.py", "test_unanswered.py")
"""Files of those folders whose tests read the lines that are written."""

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
# Hypothesis would fail an example that takes 0.2 s, as any may on a busy machine.


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of the tests that run random histories."""
    parser.addoption(
        "--histories",
        type=int,
        default=0,
        metavar="N",
        help="run N random histories of the lifecycle in place of a fixed set",
    )


def pytest_collection_finish() -> None:
    """
    Collect garbage as a gateway does.

    All tests and what they import are half a million objects: looking through them again and again
    took a tenth to a fifth of the tests' time.
    """
    tune_collector()


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name a raw value by its bytes: by its place in memory, processes would not find its test."""
    return bytes(val).decode("ascii", "backslashreplace") if isinstance(val, msgspec.Raw) else None


@pytest.fixture(autouse=True)
def _quiet(request: pytest.FixtureRequest) -> Iterator[None]:
    """Write no log lines in those folders, and give the set-up back after each test."""
    folder = request.path.relative_to(Path(__file__).parent).parts[0]
    if folder not in QUIET or request.path.name in SPEAKING:
        yield
        return
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)
