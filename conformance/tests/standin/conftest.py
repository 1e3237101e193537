"""What the stand-in's tests share: one in its default state, and a client for it."""

from collections.abc import AsyncIterator

import httpx
import pytest

from conformance.standin import StandIn
from conformance.tests.standin.support import speak_to


@pytest.fixture
async def standin() -> AsyncIterator[StandIn]:
    """Run a stand-in with the default options."""
    async with StandIn() as running:
        yield running


@pytest.fixture
async def client(standin: StandIn) -> AsyncIterator[httpx.AsyncClient]:
    """Speak to the stand-in."""
    async with speak_to(standin) as speaking:
        yield speaking
