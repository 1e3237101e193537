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
from gateway.plans.endpoints import ENDPOINTS, PASSTHROUGH
from gateway.runtime.needs import Needs
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
    request = msgspec.json.decode(msgspec.json.encode(body), type=ollama.ChatRequest)
    note_needs(ticket, request, needs_of("/api/chat"))
    return ticket


def needs_of(path: str) -> Needs:
    """Return the record of a served route."""
    of_plans = {row.path: row.needs for row in ENDPOINTS}
    found = of_plans.get(path) or next(row.needs for row in PASSTHROUGH if row.path == path)
    assert found is not None
    return found


def passed(path: str = "/v1/chat/completions", **members: Any) -> Ticket:
    """Return the ticket of a request that is passed on."""
    ticket = Ticket(NoSeats())
    body = {"model": "m", "messages": [TURN], **members}
    raw = {name: Raw(msgspec.json.encode(value)) for name, value in body.items()}
    note_passed_needs(ticket, raw, needs_of(path))
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
    item = {"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}
    assert BITS["vision"] == passed("/v1/responses", input=[item]).mask
    native = {"type": "image", "data_url": "data:image/png;base64,AAAA"}
    assert BITS["vision"] == passed("/api/v1/chat", input=[native]).mask
    block = {"type": "image", "source": {"type": "base64", "data": "AAAA"}}
    turn = {"role": "user", "content": [block]}
    assert BITS["vision"] == passed("/v1/messages", messages=[turn]).mask
    assert 0 == passed(messages=[{"role": "user", "content": "an image"}]).mask


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


def test_context_of_what_is_passed_on() -> None:
    """LM Studio's own chat route asks for it in a member of its own."""
    assert 8192 == passed("/api/v1/chat", context_length=8192).context
    assert 0 == passed("/api/v1/chat", context_length="many").context


def test_a_suffix_is_filled_in() -> None:
    """It needs a model that can insert."""
    for suffix, mask in (("end", BITS["insert"]), ("", 0)):
        ticket = Ticket(NoSeats())
        request = ollama.GenerateRequest(model="m", prompt="begin", suffix=suffix)
        note_needs(ticket, request, needs_of("/api/generate"))
        assert mask == ticket.mask


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
    note_needs(ticket, None, needs_of("/api/chat"))
    assert (0, 0, 0) == (ticket.key, ticket.mask, ticket.context)
