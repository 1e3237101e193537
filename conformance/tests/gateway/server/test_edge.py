"""
The edge: paths, redirects, 404, 405, upgrades, gates, journal lines
(docs/facts/ollama.md#unmatched, docs/facts/ollama.md#unclean-paths).
"""

from typing import NamedTuple
from urllib.parse import unquote

import pytest
from structlog.testing import capture_logs

from gateway.server.asgi import ExtraHeaders, Message, Receive, Scope, Send
from gateway.server.edge import Edge, EdgeAnswer, Gate
from gateway.server.routes import RouteTable
from gateway.settings.schema import Settings

TABLE = RouteTable(
    [
        ("HEAD", "/"),
        ("GET", "/"),
        ("HEAD", "/api/tags"),
        ("GET", "/api/tags"),
        ("GET", "/api/ps"),
        ("POST", "/api/chat"),
        ("DELETE", "/api/delete"),
        ("HEAD", "/api/blobs/{digest}"),
        ("POST", "/api/blobs/{digest}"),
        ("POST", "/v1/messages"),
        ("GET", "/v1/models/{model}"),
        ("GET", "/api/codex/{rest}"),
    ],
    ["/v1/", "/api/v0/"],
)
UNKNOWN = b"404 page not found"
WRONG_METHOD = b"405 method not allowed"


class Seen(NamedTuple):
    """An answer as a server would send it."""

    status: int
    headers: dict[str, str]
    body: bytes


async def inner(scope: Scope, receive: Receive, send: Send) -> None:
    """Stand for the application: its 299 shows that a request was handed on."""
    body = scope["raw_path"]
    await send({"type": "http.response.start", "status": 299, "headers": []})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def ask(
    method: str,
    target: str,
    headers: ExtraHeaders = (),
    *,
    gates: tuple[Gate, ...] = (),
    app: object = inner,
) -> Seen:
    """Send one request through an edge, as a server would hand it over."""
    raw_path, _, query = target.partition("?")
    scope: Scope = {
        "type": "http",
        "method": method,
        "path": unquote(raw_path),
        "raw_path": raw_path.encode(),
        "query_string": query.encode(),
        "http_version": "1.1",
        "headers": [(b"host", b"localhost"), *headers],
    }
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await Edge(app, TABLE, Settings(), gates)(scope, receive, send)  # type: ignore[arg-type]  # scope is a dict
    start = {name.decode(): value.decode() for name, value in sent[0].get("headers", [])}
    assert start.pop("x-request-id")
    return Seen(sent[0]["status"], start, b"".join(each.get("body", b"") for each in sent[1:]))


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/"),
        ("HEAD", "/"),
        ("GET", "/api/tags"),
        ("GET", "/api/tags?x=//"),
        ("POST", "/api/chat"),
        ("POST", "/api/%63hat"),
        ("HEAD", "/api/blobs/sha256:00"),
        ("PUT", "/v1/anything"),
        ("GET", "/v1/models/a%2Fb"),
        ("GET", "/v1/models/"),
        ("POST", "/v1/messages"),
        ("OPTIONS", "/api/v0/models"),
        ("GET", "/v1/..a"),
        # What follows may have line breaks in it.
        ("GET", "/api/codex/a%0Ab%0D%C2%85"),
    ],
)
async def test_what_is_there_is_handed_on_untouched(method: str, target: str) -> None:
    """Known routes, and everything below a mount, reach the application with the path as sent."""
    seen = await ask(method, target)

    assert (299, target.partition("?")[0].encode()) == (seen.status, seen.body)


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "path",
    [
        "/nosuch",
        "/api",
        "/API/tags",
        "/api/blobs/",
        "/api/blobs/a/b",
        "/api/blobs/a%2Fb",
        "/v1",
        "/v1/",
        "/api/v2/models",
        "/v1/%2e%2e/api/v1/models/load",
        "/v1/models/%2e%2e",
        "/v1/a%2F..%2F..%2Fapi/chat",
        "*",
    ],
)
async def test_an_unknown_path_is_404_in_plain_text(method: str, path: str) -> None:
    """The text, its type without a charset, and its length, for any method."""
    seen = await ask(method, path)

    assert Seen(404, {"content-type": "text/plain", "content-length": "18"}, UNKNOWN) == seen


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/api/chat", "POST"),
        ("POST", "/api/delete", "DELETE"),
        ("POST", "/api/tags", "HEAD, GET"),
        ("GET", "/api/blobs/sha256:00", "HEAD, POST"),
        ("OPTIONS", "/api/ps", "GET"),
        ("DELETE", "/", "HEAD, GET"),
        ("GET", "/v1/messages", "POST"),
        ("DELETE", "/v1/models/tiny", "GET"),
        ("DELETE", "/v1/models/harbor/tiny", "GET"),
        ("DELETE", "/v1/models/harbor%2Ftiny", "GET"),
    ],
)
async def test_a_wrong_method_is_405_with_what_is_allowed(
    method: str, path: str, allow: str
) -> None:
    """`Allow` has the methods as they were registered; an entry below a mount counts as well."""
    headers = {"content-type": "text/plain", "allow": allow, "content-length": "22"}

    assert Seen(405, headers, WRONG_METHOD) == await ask(method, path)


async def test_head_gets_the_length_and_no_body() -> None:
    """What GET would have, less the body; HEAD is not implied by GET."""
    unknown = await ask("HEAD", "/nosuch")
    wrong = await ask("HEAD", "/api/ps")

    assert Seen(404, {"content-type": "text/plain", "content-length": "18"}, b"") == unknown
    assert (405, "GET", "22", b"") == (
        wrong.status,
        wrong.headers["allow"],
        wrong.headers["content-length"],
        wrong.body,
    )


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("//api/chat", "/api/chat"),
        ("/api//chat", "/api/chat"),
        ("/api/./chat", "/api/chat"),
        ("/nosuch/../api/chat", "/api/chat"),
        ("/api/chat/.", "/api/chat"),
        ("/..", "/"),
        ("//", "/"),
        ("//api/chat/", "/api/chat/"),
        ("//api/chat?a=1&b=//", "/api/chat?a=1&b=//"),
        ("//nosuch", "/nosuch"),
        ("//v1/models", "/v1/models"),
        ("/v1//models/a%2Fb", "/v1/models/a%2Fb"),
        ("/v1/../api/chat", "/api/chat"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_an_unclean_path_is_redirected_to_the_clean_one(
    method: str, target: str, location: str
) -> None:
    """307 whatever the method and whatever is there; the query stays; only GET gets a page."""
    seen = await ask(method, target)
    html = {} if method == "POST" else {"content-type": "text/html; charset=utf-8"}
    shown = location.replace("&", "&amp;")
    page = f'<a href="{shown}">Temporary Redirect</a>.\n\n'.encode() if method == "GET" else b""
    length = {} if method == "HEAD" else {"content-length": str(len(page))}

    assert Seen(307, {"location": location} | html | length, page) == seen


async def test_a_slash_too_much_is_redirected_where_the_method_is_served() -> None:
    """301 for GET, 307 for others, 404 where the method is not registered at the other path."""
    get = await ask("GET", "/api/tags/?x=1")
    post = await ask("POST", "/api/chat/")
    head = await ask("HEAD", "/api/tags/")
    blob = await ask("POST", "/api/blobs/sha256:00/")

    assert (301, "/api/tags?x=1") == (get.status, get.headers["location"])
    assert b'<a href="/api/tags?x=1">Moved Permanently</a>.\n\n' == get.body
    assert Seen(307, {"location": "/api/chat", "content-length": "0"}, b"") == post
    assert (307, "/api/tags", b"") == (head.status, head.headers["location"], head.body)
    assert (307, "/api/blobs/sha256:00") == (blob.status, blob.headers["location"])
    assert (404, UNKNOWN) == (await ask("GET", "/api/chat/"))[::2]


@pytest.mark.parametrize(
    "target", ["/./\\evil.example", "//\\evil.example", "/a/..\\b/..//\\evil", "/v1/../\\evil/"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_a_redirect_leads_to_no_other_host(method: str, target: str) -> None:
    """A browser takes a backslash for a slash, and what follows two of them for a host."""
    seen = await ask(method, target)
    assert 404 == seen.status
    assert "location" not in seen.headers


async def test_a_redirect_cannot_be_made_to_break_out_of_its_page() -> None:
    """Whatever is in the target stands escaped in the page, and on one line in the header."""
    seen = await ask("GET", "/api/tags/?\"><script>alert('x')</script>")
    coded = await ask("GET", "/api/blobs/%0d%0aSet-Cookie:x/")

    assert b"<script>" not in seen.body
    assert 404 == coded.status
    assert "\r\n" not in str((await ask("POST", "/api/blobs/%0d%0aSet-Cookie:x/")).headers)


@pytest.mark.parametrize(
    ("upgrade", "status"), [(b"websocket", 501), (b"TLS/1.0", 501), (b"h2c", 299), (b"H2C", 299)]
)
async def test_an_upgrade_is_refused_where_a_request_would_be_served(
    upgrade: bytes, status: int
) -> None:
    """
    A demand to LM Studio is refused with a sentence, the offer of HTTP/2 ignored; 404 and 405 come
    first, and Ollama's own routes ignore all of them.
    """
    headers = ((b"connection", b"Upgrade"), (b"upgrade", upgrade))

    assert status == (await ask("GET", "/v1/realtime", headers)).status
    assert 299 == (await ask("POST", "/api/chat", headers)).status
    assert 405 == (await ask("GET", "/api/chat", headers)).status
    assert 404 == (await ask("GET", "/nosuch", headers)).status


@pytest.mark.parametrize(
    ("headers", "target", "status", "text"),
    [
        (((b"host", b"x"),), "/", 400, b"400 Bad Request"),
        (((b"expect", b"x"),), "/", 417, b""),
        (((b"expect", b"100-Continue"),), "/", 299, b""),
        (((b"transfer-encoding", b"gzip, chunked"),), "/", 501, b"Unsupported transfer encoding"),
        ((), "/api/%zz", 400, b"400 Bad Request"),
    ],
)
async def test_what_go_takes_for_no_request_is_refused(
    headers: ExtraHeaders, target: str, status: int, text: bytes
) -> None:
    """Before any gate is asked and any route looked for (ollama.md#malformed-requests)."""
    seen = await ask("GET", target, headers)

    assert status == seen.status
    assert text in seen.body


async def test_gates_run_in_order_between_cleaning_and_routing() -> None:
    """The first answer ends the request; headers of gates that let it pass go on any answer."""
    asked: list[str] = []

    def stamp(scope: Scope, settings: Settings) -> ExtraHeaders:
        asked.append(f"stamp {scope['path']}")
        return ((b"vary", b"Origin"),)

    def refuse_evil(scope: Scope, settings: Settings) -> EdgeAnswer | ExtraHeaders:
        asked.append(f"refuse {scope['path']}")
        return EdgeAnswer(403) if scope["path"] == "/evil" else ()

    gates = (stamp, refuse_evil)
    evil = await ask("GET", "/evil", gates=gates)
    unclean = await ask("GET", "//evil", gates=gates)
    passed = await ask("GET", "/api/tags", gates=gates)
    unknown = await ask("GET", "/nosuch", gates=gates)

    assert (403, b"", "Origin") == (evil.status, evil.body, evil.headers["vary"])
    assert 307 == unclean.status
    assert (299, "Origin") == (passed.status, passed.headers["vary"])
    assert (404, "Origin") == (unknown.status, unknown.headers["vary"])
    assert asked[:4] == ["stamp /evil", "refuse /evil", "stamp /api/tags", "refuse /api/tags"]


async def test_an_answer_names_its_request() -> None:
    """By the client's name for it; what was handed on says no other."""
    sent: list[Message] = []

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"x-request-id", b"theirs"), (b"x-other", b"1")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"x-request-id", b"mine-1")]
    scope = {
        **{"type": "http", "method": "GET", "path": "/", "raw_path": b"/"},
        **{"http_version": "1.1", "headers": headers},
    }
    await Edge(answer, TABLE, Settings())(scope, receive, send)

    assert [(b"x-other", b"1"), (b"x-request-id", b"mine-1")] == sent[0]["headers"]


async def test_every_request_leaves_one_line() -> None:
    """Method, template, status, duration and user agent; no query, no other header, no body."""
    headers = ((b"user-agent", b"ollama-python/0.6"), (b"authorization", b"Bearer secret"))
    with capture_logs() as lines:
        await ask("POST", "/api/chat?key=secret", headers)
        await ask("HEAD", "/api/blobs/sha256:00")
        await ask("GET", "/v1/models/a")
        await ask("GET", "/v1/files")
        await ask("GET", "/nosuch")

    assert [
        ("POST", "/api/chat", 299, "ollama-python/0.6"),
        ("HEAD", "/api/blobs/{digest}", 299, ""),
        ("GET", "/v1/models/{model}", 299, ""),
        ("GET", "/v1/*", 299, ""),
        ("GET", "/nosuch", 404, ""),
    ] == [(line["method"], line["path"], line["status"], line["agent"]) for line in lines]
    assert all(0 <= line["took_s"] < 60 for line in lines)
    assert "secret" not in str(lines)


async def test_the_line_tells_how_a_request_ended() -> None:
    """An answer without an end is `cut`; an exception is `failed`, and is passed on."""

    async def stops_early(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})

    async def sees_the_client_leave(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    async def fails(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("ours")

    async def gone() -> Message:
        return {"type": "http.disconnect"}

    async def ignore(message: Message) -> None:
        return

    with capture_logs() as lines:
        await ask("GET", "/", app=stops_early)
        with pytest.raises(RuntimeError, match="ours"):
            await ask("GET", "/", app=fails)
        scope = {
            **{"type": "http", "method": "GET", "path": "/", "raw_path": b"/"},
            **{"http_version": "1.0", "headers": []},
        }
        await Edge(sees_the_client_leave, TABLE, Settings())(scope, gone, ignore)

    assert ["cut", "failed", "left"] == [line["outcome"] for line in lines]
    assert ["info", "warning", "info"] == [line["log_level"] for line in lines]


async def test_a_lifespan_is_handed_on() -> None:
    """Anything but a request is the application's, and leaves no line."""
    handed_on: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        handed_on.append(scope)

    async def nothing(*_: object) -> Message:
        return {}

    with capture_logs() as lines:
        await Edge(app, TABLE, Settings())({"type": "lifespan"}, nothing, nothing)  # type: ignore[arg-type]  # all are dicts

    assert [{"type": "lifespan"}] == handed_on
    assert [] == lines
