"""What all tests share: whole gateways that run inside a test say nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog

QUIET = ("conformance", "gateway", "schemas")
"""Folders whose tests run whole gateways: making a line look nice takes as long as a request."""


@pytest.fixture(autouse=True)
def _quiet(request: pytest.FixtureRequest) -> Iterator[None]:
    """Write no log lines in those folders, and give the set-up back after each test."""
    if request.path.parent.name not in QUIET:
        yield
        return
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.configure(**before)
