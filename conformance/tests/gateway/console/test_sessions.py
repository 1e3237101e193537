"""The sessions of browsers that have shown a key."""

import pytest

from gateway.console import sessions
from gateway.console.sessions import MOST, Sessions, cookie_for, digest_of, token_in


def test_a_session_has_its_key_and_its_text_does_not() -> None:
    """The cookie says nothing of the key, and no two are alike."""
    opened = Sessions()
    first, second = opened.open("a-secret-key"), opened.open("a-secret-key")

    assert first != second
    assert "a-secret-key" not in first
    assert "a-secret-key" == opened.key_of(first)
    assert None is opened.key_of(first[:-1])
    assert None is opened.key_of("")


def test_the_oldest_session_ends_for_one_too_many() -> None:
    """Their number is bounded."""
    opened = Sessions()
    first = opened.open("key")
    others = [opened.open("key") for _ in range(MOST)]

    assert None is opened.key_of(first)
    assert all(opened.key_of(each) for each in others)


def test_a_session_ends_by_itself_and_by_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time, and when it is told to."""
    opened = Sessions()
    first, second = opened.open("key"), opened.open("key")
    opened.end(digest_of(first))
    assert None is opened.key_of(first)

    assert "key" == opened.key_of(second)

    monkeypatch.setattr(sessions, "LASTS_S", 0)
    assert None is opened.key_of(opened.open("key"))


def test_the_cookie_is_for_this_page_only() -> None:
    """No script reads it, and no other site's page sends it; over TLS, only TLS carries it."""
    plain, safe = cookie_for("x", is_secure=False), cookie_for("x", is_secure=True)

    assert "olgate_session=x; Path=/olgate/; Max-Age=43200; HttpOnly; SameSite=Strict" == plain
    assert f"{plain}; Secure" == safe
    assert "Max-Age=0" in cookie_for("", is_secure=False)
    assert "x" == token_in(plain)
