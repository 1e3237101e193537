"""What a request needs of a home, read from a decoded body and from raw members."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from gateway.fleet.ejection import EjectionRules, Ejections
from gateway.fleet.host import Host
from gateway.fleet.needs import note_needs, note_passed_needs
from gateway.fleet.ticket import Ticket
from gateway.fleet.view import BITS
from gateway.types import internal, ollama

TURN = {"role": "user", "content": "Hi"}


class NoSeats:
    """A fleet in which nothing happens."""

    ejections = Ejections((), EjectionRules(), lambda: 0.0)

    def take_seat(self, host: Host, row: internal.CatalogueRow | None) -> None:
        """Do nothing."""

    def give_back(self, host: Host, row: internal.CatalogueRow | None) -> None:
        """Do nothing."""


def decoded(**members: Any) -> Ticket:
    """Return the ticket of a chat request of Ollama's API."""
    ticket = Ticket(NoSeats())
    body = {"model": "m", "messages": [TURN], **members}
    note_needs(ticket, msgspec.json.decode(msgspec.json.encode(body), type=ollama.ChatRequest))
    return ticket


def passed(**members: Any) -> Ticket:
    """Return the ticket of a request that is passed on."""
    ticket = Ticket(NoSeats())
    body = {"model": "m", "messages": [TURN], **members}
    raw = {name: Raw(msgspec.json.encode(value)) for name, value in body.items()}
    note_passed_needs(ticket, raw, "model")
    return ticket


TOOLS: list[Any] = [{"type": "function", "function": {"name": "f"}}]


@pytest.mark.parametrize("ticket_of", [decoded, passed])
def test_tools(ticket_of: Any) -> None:
    """A list of none needs nothing."""
    assert BITS["tools"] == ticket_of(tools=TOOLS).mask
    assert 0 == ticket_of(tools=[]).mask == ticket_of(tools=None).mask == ticket_of().mask


def test_pictures() -> None:
    """In a message of Ollama's API, and in a part of a message of others."""
    assert BITS["vision"] == decoded(messages=[{**TURN, "images": ["AAAA"]}]).mask
    assert 0 == decoded(messages=[{**TURN, "images": []}]).mask
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    assert BITS["vision"] == passed(messages=[{"role": "user", "content": [part]}]).mask
    assert BITS["vision"] == passed(input=[{"type": "input_image", "image_url": "x"}]).mask


@pytest.mark.parametrize(
    ("options", "tokens"),
    [
        ({"num_ctx": 8192}, 8192),
        ({"num_ctx": 0}, 0),
        ({"num_ctx": -1}, 0),
        ({"num_ctx": True}, 0),
        ({"num_ctx": "many"}, 0),
        ({}, 0),
        (7, 0),
    ],
)
def test_context(options: Any, tokens: int) -> None:
    """What is no length needs none; the plan refuses it."""
    assert tokens == decoded(options=options).context


@pytest.mark.parametrize("ticket_of", [decoded, passed])
def test_beginnings(ticket_of: Any) -> None:
    """Two turns of one conversation have one key, and another question has another."""
    later = [TURN, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "So?"}]
    assert ticket_of().key == ticket_of(messages=later).key
    assert ticket_of().key != ticket_of(messages=later[2:]).key
    assert 0 != ticket_of(messages=[]).key


def test_no_body() -> None:
    """A request without one has no needs."""
    ticket = Ticket(NoSeats())
    note_needs(ticket, None)
    assert (0, 0, 0) == (ticket.key, ticket.mask, ticket.context)
