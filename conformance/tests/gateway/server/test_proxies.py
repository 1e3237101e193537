"""Who a client behind load balancers is: only balancers that are named are believed."""

from __future__ import annotations

import pytest

from gateway.observability.record import Record, enter, leave
from gateway.server.asgi import Scope
from gateway.server.proxies import HEADER, believe_proxies, find_client
from gateway.settings.schema import ListenSettings, Settings

BALANCERS = ("10.0.0.0/8", "::1/128")


@pytest.mark.parametrize(
    ("peer", "stated", "client"),
    [
        ("10.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "192.0.2.7,10.0.0.9", "192.0.2.7"),
        ("10.0.0.1", "127.0.0.1, 192.0.2.7", "192.0.2.7"),
        ("::ffff:10.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("::1", "2001:db8::1", "2001:db8::1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "127.0.0.1, unknown", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("192.0.2.7", "127.0.0.1", "192.0.2.7"),
        ("/run/socket", "127.0.0.1", "/run/socket"),
    ],
)
def test_the_client_is_whom_balancers_state(peer: str, stated: str, client: str) -> None:
    """And nobody else is believed, least of all the client itself."""
    assert client == find_client(peer, stated, BALANCERS)


def asked_with(proxies: tuple[str, ...]) -> tuple[Scope, Record]:
    """Let a request of a balancer pass the gate; return its scope and its record."""
    record = Record()
    record.client = "10.0.0.1"
    headers = [(HEADER, b"1.1.1.1"), (HEADER, b"192.0.2.7")]
    scope: Scope = {"type": "http", "client": ("10.0.0.1", 5), "headers": headers}
    token = enter(record)
    try:
        believe_proxies(scope, Settings(listen=ListenSettings(proxies=proxies)))
    finally:
        leave(token)
    return scope, record


def test_the_log_and_the_reload_know_the_client() -> None:
    """The one reads the record, the other the scope."""
    scope, record = asked_with(BALANCERS)

    assert ("192.0.2.7", "192.0.2.7") == (record.client, scope["client"][0])


def test_without_the_setting_a_header_changes_nothing() -> None:
    """Otherwise everybody could be on this machine, and reload the settings."""
    scope, record = asked_with(())

    assert ("10.0.0.1", "10.0.0.1") == (record.client, scope["client"][0])
