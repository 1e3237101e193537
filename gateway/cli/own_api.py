"""
Calls of the gateway that runs on this machine, for the commands that ask it something.

The address and the key come from the same settings with which the gateway was started.
"""

import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from http.client import HTTPConnection, HTTPResponse

    from ..settings.schema import Settings

LIMIT_S = 15.0
"""Seconds that the gateway may take to answer."""

HOW_TO_FIND = (
    "start it with `olgate serve`, or give the flags or variables with which it was started"
)


class NoAnswer(Exception):
    """No gateway has answered as it should; one sentence says what is there and what to do."""


def address_of(settings: "Settings") -> tuple[str, int]:
    """Return the host and the port at which a gateway on this machine is reached."""
    from ..server.addresses import is_everywhere

    listen = settings.listen
    return "127.0.0.1" if is_everywhere(listen.host) else listen.host, listen.port


def url_of(settings: "Settings") -> str:
    """Return the same address as a URL."""
    host, port = address_of(settings)
    scheme = "http" if settings.listen.tls_certificate is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _connect(settings: "Settings", limit_s: float | None) -> "HTTPConnection":
    """
    Return a connection to the gateway, not opened yet.

    Its certificate is not checked: before a reload the file may hold another one than the gateway
    shows, and over plain HTTP nothing is checked on one's own machine, either.
    """
    from http.client import HTTPConnection, HTTPSConnection

    host, port = address_of(settings)
    if settings.listen.tls_certificate is None:
        return HTTPConnection(host, port, timeout=limit_s)
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return HTTPSConnection(host, port, timeout=limit_s, context=context)


def find_key(settings: "Settings", option: str | None = None) -> str | None:
    """Return the key to send: the option's, else `OLLAMA_API_KEY`, else one of the settings."""
    stated = option or os.environ.get("OLLAMA_API_KEY", "").strip()
    return stated or own_key(settings)


def own_key(settings: "Settings") -> str | None:
    """Return a key of the settings that may everything, None if they have none or it is hidden."""
    if settings.listen.keys:
        return settings.listen.keys[0]
    for key in settings.keys.values():
        if key.admin and key.secret_file is not None:
            try:
                return Path(key.secret_file).read_text("utf-8-sig").strip()
            except OSError:
                continue
    return None


def ask(
    settings: "Settings",
    method: str,
    path: str,
    key: str | None = None,
    host: str | None = None,
    body: "Mapping[str, object] | None" = None,
    limit_s: float | None = LIMIT_S,
) -> tuple[int, dict[str, Any]]:
    """
    Return the status and the JSON object of an answer; `host` is the only one to answer for.

    `limit_s` is how many seconds the gateway may be silent; None is no limit. Raises NoAnswer if
    nothing answers, if what answers is not an olgate, and for a missing key.
    """
    with _answered(settings, method, path, key, host, body, limit_s) as answer:
        data = answer.read()
    return answer.status, _object(data)


def follow(
    settings: "Settings", path: str, key: str | None, body: "Mapping[str, object]"
) -> "Iterator[dict[str, Any]]":
    """
    Post JSON, and yield each JSON object of the answer's lines as it comes, errors too.

    Raises NoAnswer as `ask` does, and if the answer breaks off.
    """
    with _answered(settings, "POST", path, key, None, body, None) as answer:
        for line in answer:
            if line.strip():
                yield _object(line)


@contextmanager
def _answered(
    settings: "Settings",
    method: str,
    path: str,
    key: str | None,
    host: str | None,
    body: "Mapping[str, object] | None",
    limit_s: float | None,
) -> "Iterator[HTTPResponse]":
    """Yield the answer to a request, which is an olgate's. Raises NoAnswer."""
    from http.client import HTTPException

    from ..wire import hops

    url = url_of(settings)
    # A gateway that gets this header says in its answer who it is.
    headers = {hops.HEADER.decode(): "command"}
    data = None if body is None else json.dumps(body).encode()
    if data is not None:
        headers["Content-Type"] = "application/json"
    elif method != "GET":
        headers["Content-Length"] = "0"
    if host:
        headers["x-olgate-host"] = host
    if key:
        headers["Authorization"] = f"Bearer {key}"
    connection = None
    try:
        connection = _connect(settings, limit_s)
        connection.request(method, path, body=data, headers=headers)
        answer = connection.getresponse()
        if answer.getheader(hops.HEADER.decode()) is None:
            raise NoAnswer(f"what answers at {url} is not an olgate; {HOW_TO_FIND}")
        if answer.status == 401:
            raise NoAnswer(
                f"the gateway at {url} refuses the key; give one with --key or OLLAMA_API_KEY, or "
                "the settings with listen.keys"
                if key
                else f"the gateway at {url} wants a key; give one with --key or OLLAMA_API_KEY"
            )
        yield answer
    except TimeoutError:
        raise NoAnswer(
            f"what listens at {url} did not answer within {limit_s:g} s; see its log"
        ) from None
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise NoAnswer(f"no gateway answers at {url} ({reason}); {HOW_TO_FIND}") from None
    except HTTPException:
        raise NoAnswer(f"what answers at {url} does not speak HTTP; {HOW_TO_FIND}") from None
    finally:
        if connection is not None:
            connection.close()


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def ask_hosts(
    settings: "Settings", path: str, key: str | None, health: "Mapping[str, Any]"
) -> dict[str, dict[str, Any]] | None:
    """
    Return the answer of each host that is there, by its name; None where there is only one host.

    `health` is what `/health` says of them.
    Raises NoAnswer as `ask` does.
    """
    hosts = health.get("hosts")
    if not isinstance(hosts, dict):
        return None
    answers: dict[str, dict[str, Any]] = {}
    for name, state in hosts.items():
        if isinstance(state, dict) and state.get("reachable"):
            code, answer = ask(settings, "GET", path, key, name)
            if code == 200:
                answers[name] = answer
    return answers
