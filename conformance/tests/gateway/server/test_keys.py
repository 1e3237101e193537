"""The keys that clients must show: where, and how they are refused."""

from typing import Any

import pytest

from conformance.tests.gateway.support import CHAT, LIST, Pair, chat, open_pair
from gateway.server.keys import KeyGate
from gateway.settings.schema import ListenSettings, Settings

KEYS = ("first-key", "second-key")
LOCKED: dict[str, Any] = {"listen": {"keys": KEYS}}

ROUTES = [
    ("GET", "/"),
    ("GET", "/api/tags"),
    ("GET", "/api/version"),
    ("POST", "/api/chat"),
    ("GET", "/nosuch"),
    ("GET", "/metrics"),
    ("GET", "/v1/models"),
    ("POST", "/v1/messages"),
    ("GET", "/api/v0/models"),
    ("GET", LIST),
]


def bearer(key: str) -> dict[str, str]:
    """Return the header that carries a key."""
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_every_route_wants_a_key(method: str, path: str) -> None:
    """None and a wrong one are refused, in the words of the path; LM Studio is not asked."""
    async with open_pair(LOCKED) as pair:
        for headers, says in (({}, "none was sent"), (bearer("first-ke"), "is not known")):
            answer = await pair.client.request(method, path, headers=headers)
            assert 401 == answer.status_code
            assert "Bearer" == answer.headers["www-authenticate"]
            error = answer.json()["error"]
            if path.startswith(("/v1/", "/api/v0/", "/api/v1/")):
                assert "authentication_error" == error["type"]
                error = error["message"]
            assert says in error
            assert "first-ke" not in answer.text
        assert [] == list(pair.standin.seen)


@pytest.mark.parametrize("key", KEYS)
async def test_any_of_the_keys_opens(key: str) -> None:
    """Whatever case the scheme is written in."""
    async with open_pair(LOCKED) as pair:
        for headers in (bearer(key), {"authorization": f"bearer   {key}"}):
            answer = await pair.client.post("/api/chat", json=chat(), headers=headers)
            assert 200 == answer.status_code, answer.text


async def test_anthropics_header_counts_where_its_clients_send_it() -> None:
    """`x-api-key` opens /v1/messages and nothing else."""
    async with open_pair(LOCKED) as pair:
        headers = {"x-api-key": "second-key"}
        opened = await pair.client.post("/v1/messages", json=chat(), headers=headers)
        wrong = await pair.client.post("/v1/messages", json=chat(), headers={"x-api-key": "no"})
        other = await pair.client.post(CHAT, json=chat(), headers=headers)
        both = await pair.client.post(
            "/v1/messages", json=chat(), headers={**headers, **bearer("another")}
        )

    assert 401 not in (opened.status_code, both.status_code)
    assert (401, 401) == (wrong.status_code, other.status_code)
    assert "error" == wrong.json()["type"]


@pytest.mark.parametrize("is_open", [True, False])
async def test_health_is_open_by_setting(is_open: bool) -> None:
    """So that whatever watches the gateway needs no key."""
    async with open_pair({**LOCKED, "routes": {"open_health": is_open}}) as pair:
        answer = await pair.client.get("/health")
        with_key = await pair.client.get("/health", headers=bearer("first-key"))

    assert (200 if is_open else 401, 200) == (answer.status_code, with_key.status_code)


async def test_a_preflight_needs_no_key() -> None:
    """Browsers send none with it."""
    headers = {"origin": "http://localhost:3000", "access-control-request-method": "POST"}
    async with open_pair(LOCKED) as pair:
        assert 204 == (await pair.client.options("/api/chat", headers=headers)).status_code


async def test_without_keys_nothing_is_asked_for(pair: Pair) -> None:
    """A key that comes all the same does no harm."""
    for headers in ({}, bearer("any")):
        assert 200 == (await pair.client.get("/api/tags", headers=headers)).status_code


def test_keys_are_compared_whole_and_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every key is compared with, whichever one fits, as texts of one length."""
    compared: list[tuple[bytes, bytes]] = []

    def note(left: bytes, right: bytes) -> bool:
        compared.append((left, right))
        return left == right

    monkeypatch.setattr("gateway.access.keyring.compare_digest", note)
    settings = Settings(listen=ListenSettings(keys=KEYS))
    for key in ("first-key", "x"):
        scope = {"path": "/", "headers": [(b"authorization", b"Bearer " + key.encode())]}
        KeyGate(settings)(scope, settings)

    assert 4 == len(compared)
    assert {32} == {len(side) for pair in compared for side in pair}
