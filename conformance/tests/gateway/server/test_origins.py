"""The Host and Origin rules, as tables of requests and what becomes of them."""

from typing import Any

import msgspec
import pytest

from gateway.server.edge import EdgeAnswer
from gateway.server.origins import GATES, check_host, check_origin
from gateway.settings.schema import ListenSettings, Settings

LOOPBACK = Settings()


def scope(method: str = "GET", **headers: str) -> dict[str, Any]:
    """A request's scope, as far as gates look at it."""
    sent = {"host": "127.0.0.1:11434", **headers}
    return {
        "method": method,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in sent.items()],
    }


def listening(host: str, *origins: str) -> Settings:
    """Settings of a gateway that listens somewhere, with further origins."""
    return msgspec.structs.replace(Settings(), listen=ListenSettings(host=host, origins=origins))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:11434",
        "localhost",
        "LOCALHOST:1",
        "[::1]:11434",
        "192.168.1.7:11434",
        "10.0.0.1",
        "172.16.9.9",
        "0.0.0.0:11434",
        "[fd00::1]:1",
        "fd00::1",
        "localhost:",
        "127.0.0.1:-1",
        "[::ffff:127.0.0.1]:1",
        "nas.local",
        "host.docker.internal:11434",
        "app.localhost",
        "",
    ],
)
def test_a_host_of_this_machine_or_network_passes(host: str) -> None:
    """Loopback, private and unspecified addresses, and local names, are let in."""
    assert () == check_host(scope(host=host), LOOPBACK)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:11434", "8.8.8.8", "[fe80::1]:11434", "172.32.0.1", "local"],
)
def test_a_foreign_host_is_refused_on_loopback_only(host: str) -> None:
    """A foreign Host is 403 without a body; a gateway on the network lets it in."""
    assert EdgeAnswer(403) == check_host(scope(host=host), LOOPBACK)
    assert () == check_host(scope(host=host), listening("0.0.0.0"))
    assert () == check_host(scope(host=host), listening(""))


def test_options_to_a_name_is_answered_at_once() -> None:
    """OPTIONS is 204 for a Host by name and goes on for a Host by address."""
    assert EdgeAnswer(204) == check_host(scope("OPTIONS", host="localhost:1"), LOOPBACK)
    assert () == check_host(scope("OPTIONS"), LOOPBACK)


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost",
        "https://localhost:3000",
        "http://127.0.0.1:8080",
        "https://0.0.0.0:1",
        "app://obsidian.md",
        "file://",
        "tauri://localhost",
        "vscode-webview://abc",
        "vscode-file://vscode-app",
    ],
)
def test_a_default_origin_may_read_the_answer(origin: str) -> None:
    """Ollama's default origins are echoed, and caches are told that it depends on them."""
    expected = ((b"access-control-allow-origin", origin.encode()), (b"vary", b"Origin"))

    assert expected == check_origin(scope(origin=origin), LOOPBACK)


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "http://[::1]",
        "http://192.168.1.7",
        "http://localhost.evil.example",
        "https://evil.example",
        "chrome-extension://abc",
        "moz-extension://abc",
        "capacitor://localhost",
    ],
)
def test_a_foreign_origin_is_refused(origin: str) -> None:
    """Any other Origin is 403 without a body, preflight or not."""
    assert EdgeAnswer(403) == check_origin(scope(origin=origin), LOOPBACK)
    assert EdgeAnswer(403) == check_origin(scope("OPTIONS", origin=origin), LOOPBACK)


def test_own_pages_and_programs_get_no_headers() -> None:
    """No Origin, or one equal to the Host, passes untouched."""
    assert () == check_origin(scope(), LOOPBACK)
    assert () == check_origin(scope(origin="http://127.0.0.1:11434"), LOOPBACK)
    assert () == check_origin(scope(origin="https://gate.lan", host="gate.lan"), LOOPBACK)


def test_settings_add_origins() -> None:
    """One wildcard may stand inside an entry; `*` alone lets every page in, without Vary."""
    settings = listening("127.0.0.1", "https://*.foo.example", "chrome-extension://*")

    assert isinstance(check_origin(scope(origin="https://a.foo.example"), settings), tuple)
    assert isinstance(check_origin(scope(origin="chrome-extension://x"), settings), tuple)
    assert EdgeAnswer(403) == check_origin(scope(origin="https://foo.example"), settings)
    assert ((b"access-control-allow-origin", b"*"),) == check_origin(
        scope(origin="https://any.example"), listening("127.0.0.1", "*")
    )


def test_preflight() -> None:
    """A preflight of an allowed origin says what may be sent, and for how long that holds."""
    answer = check_origin(scope("OPTIONS", origin="app://obsidian.md"), LOOPBACK)

    assert isinstance(answer, EdgeAnswer)
    assert (204, b"") == (answer.status, answer.body)
    headers = dict(answer.headers)
    assert b"app://obsidian.md" == headers[b"access-control-allow-origin"]
    assert b"GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS" == headers[b"access-control-allow-methods"]
    assert headers[b"access-control-allow-headers"].startswith(b"Authorization,Content-Type,")
    assert b"43200" == headers[b"access-control-max-age"]
    varies = [value for name, value in answer.headers if name == b"vary"]
    assert [
        b"Origin",
        b"Access-Control-Request-Method",
        b"Access-Control-Request-Headers",
    ] == varies


def test_the_origin_is_asked_first() -> None:
    """A foreign Origin is refused before the Host is looked at, as Ollama does."""
    assert (check_origin, check_host) == GATES
