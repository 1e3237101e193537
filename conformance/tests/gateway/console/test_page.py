"""The page at `/olgate/` over HTTP: what it shows, and to whom."""

import asyncio
import html
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from hashlib import sha256
from typing import Any

import httpx
import msgspec
import pytest

from conformance.standin import StandIn
from conformance.standin.catalogue import GRADED, PLAIN
from conformance.standin.options import Options
from conformance.tests.gateway.support import (
    CHAT,
    LOADED,
    Pair,
    chat,
    open_pair,
    serve,
    speak_to,
)
from gateway.app import create_app
from gateway.console import feed as feeds
from gateway.explain.running import alive
from gateway.server.edge import Edge
from gateway.settings.live import LiveSettings
from gateway.settings.schema import HostSettings, ListenSettings, Settings, UpstreamSettings

PAGE, EVENTS, LOGIN, LOGOUT = (
    "/olgate/",
    "/olgate/events",
    "/olgate/login",
    "/olgate/logout",
)
FILES = ("/olgate/console.css", "/olgate/console.js", "/olgate/icon.svg")
KEY = "a-key-that-nobody-guesses"
LOCKED: dict[str, Any] = {"listen": {"keys": (KEY, "another")}}
SECTIONS = {
    "about",
    "actions",
    "hosts",
    "running",
    "queue",
    "recent",
    "models",
    "settings",
}
SCRIPT = "<script>alert(1)</script>"


class Looking:
    """An open stream of the page, and its sections as they are now."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self.sections: dict[str, str] = {}
        self._lines = lines

    async def until(self, holds: Callable[[dict[str, str]], object]) -> None:
        """Read events until something is so."""
        async with asyncio.timeout(60):
            while not self.sections or not holds(self.sections):
                line = await anext(self._lines)
                if line.startswith("data: "):
                    self.sections |= json.loads(line.removeprefix("data: "))["sections"]

    async def end(self) -> None:
        """Read until the stream ends."""
        async with asyncio.timeout(60):
            async for _ in self._lines:
                pass


@asynccontextmanager
async def looking(client: httpx.AsyncClient, **more: Any) -> AsyncIterator[Looking]:
    """Open the page's stream."""
    async with client.stream("GET", EVENTS, timeout=60, **more) as answer:
        assert 200 == answer.status_code
        assert "text/event-stream" == answer.headers["content-type"]
        yield Looking(answer.aiter_lines())


def origin_of(pair: Pair) -> dict[str, str]:
    """Return the header by which a browser says that the form is the page's own."""
    return {"origin": pair.url}


def cookie_in(answer: httpx.Response) -> str:
    """Return the session that an answer sets, as a browser sends it."""
    return str(answer.headers["set-cookie"].partition(";")[0])


async def log_in(pair: Pair, key: str = KEY) -> httpx.Response:
    """Send the form."""
    return await pair.client.post(LOGIN, data={"key": key}, headers=origin_of(pair))


# -- what is shown ---------------------------------------------------------------------------


async def test_the_page_shows_hosts_models_and_settings(fresh: Pair) -> None:
    """Also without scripts: the first page has all sections."""
    await fresh.get("/health")
    answer = await fresh.client.get(PAGE)

    assert 200 == answer.status_code
    text = html.unescape(answer.text)
    assert f'id="{"hosts"}"' in text
    assert fresh.standin.url in text
    assert f"{LOADED}:latest" in text or LOADED in text
    assert "models.catalogue_ttl_s" in text
    assert SECTIONS == set(re.findall(r'<div class="scrolls" id="(\w+)"', text))


async def test_nothing_is_loaded_from_elsewhere_or_run_inline(fresh: Pair) -> None:
    """The policy forbids it, and the page needs none of it."""
    answer = await fresh.client.get(PAGE)
    policy = answer.headers["content-security-policy"]

    for rule in ("default-src 'none'", "script-src 'self'", "style-src 'self'"):
        assert rule in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "no-store" == answer.headers["cache-control"]
    assert "nosniff" == answer.headers["x-content-type-options"]
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! src=\"console\.js\")", answer.text)
    assert not re.findall(r'(?:src|href|action)="(?:https?:)?//', answer.text)


@pytest.mark.parametrize("path", FILES)
async def test_files_are_whole_and_known_again(fresh: Pair, path: str) -> None:
    """A browser that has a file is told so."""
    answer = await fresh.client.get(path)
    again = await fresh.client.get(path, headers={"if-none-match": answer.headers["etag"]})

    assert 200 == answer.status_code
    assert answer.content
    assert 304 == again.status_code
    assert b"" == again.content
    assert "http" not in answer.text.replace("http://www.w3.org/2000/svg", "")


async def test_a_running_request_is_shown_with_its_tokens_as_they_come(fresh: Pair) -> None:
    """And after its end among the last ones, with what it has used."""
    fresh.script({"match": {"path": CHAT}, "hold": "rest", "after": 3, "nth": 1})
    async with looking(fresh.client) as page:
        await page.until(lambda shown: "No request runs" in shown["running"])
        asking = asyncio.create_task(fresh.post("/api/chat", chat(stream=True)))
        await page.until(lambda shown: 'class="number">3<' in shown["running"])
        assert "POST /api/chat" in page.sections["running"]
        assert LOADED in page.sections["running"]
        fresh.release("rest")
        assert 200 == (await asking).status_code
        await page.until(lambda shown: "POST /api/chat" in shown["recent"])
        await page.until(lambda shown: "No request runs" in shown["running"])
    assert "200" in page.sections["recent"]


async def test_a_request_passed_on_is_shown_as_well(fresh: Pair) -> None:
    """OpenAI's route has its tokens, too."""
    fresh.script({"match": {"path": CHAT}, "hold": "rest", "after": 3, "nth": 1})
    async with looking(fresh.client) as page:
        asking = asyncio.create_task(fresh.post(CHAT, chat(stream=True)))
        await page.until(lambda shown: bool(re.search(r'"number">\d+<', shown["running"])))
        assert "POST /v1/*" in page.sections["running"] or CHAT in page.sections["running"]
        fresh.release("rest")
        await asking


async def test_what_is_loaded_is_shown_with_its_end(fresh: Pair) -> None:
    """A model that the gateway loads for a request appears while somebody looks."""
    async with looking(fresh.client) as page:
        await page.until(lambda shown: "state up" in shown["hosts"])
        await fresh.post("/api/chat", chat(keep_alive="10m"))
        await page.until(lambda shown: LOADED in shown["hosts"])
    assert "stays loaded" in page.sections["hosts"] or "data-until" in page.sections["hosts"]


async def test_a_host_that_goes_away_is_shown_while_it_is_looked_at(fresh: Pair) -> None:
    """With the reason and the next step; nobody sends a request."""
    fresh.script(
        {
            "match": {"path": "/api/v1/models"},
            "answer": {"status": 401, "chunks": [[0, '{"error":"token"}']]},
        }
    )
    async with looking(fresh.client) as page:
        await page.until(lambda shown: "state down" in shown["hosts"])
    assert "LM_API_TOKEN" in page.sections["hosts"]


async def test_each_host_of_several_is_shown_as_they_change() -> None:
    """One that nobody answers for is down, and a host that a reload adds appears."""
    async with (
        StandIn(Options(models=(PLAIN,))) as near,
        StandIn(Options(models=(GRADED,))) as other,
    ):
        hosts = {
            "near": HostSettings(url=near.url, slots=7),
            "far": HostSettings(url="http://127.0.0.1:9"),
        }
        live = LiveSettings(Settings(hosts=hosts))
        app = create_app(live.current, live)
        async with (
            serve(app) as url,
            speak_to(url) as client,
            looking(client) as page,
        ):
            await page.until(lambda shown: "state up" in shown["hosts"])
            await page.until(lambda shown: re.search(r"(down|suspect)</span> far", shown["hosts"]))
            # A model is loaded there from the start.
            await page.until(lambda shown: "7 slots" in shown["hosts"])
            assert GRADED.key not in page.sections["models"]
            live.use(Settings(hosts={**hosts, "new": HostSettings(url=other.url)}))
            await page.until(lambda shown: "up</span> new" in shown["hosts"])
            await page.until(lambda shown: GRADED.key in shown["models"])
            await page.until(lambda shown: "read anew at a reload" in shown["settings"])


async def test_the_pages_own_requests_are_not_shown(fresh: Pair) -> None:
    """Nor are those for `/health` and `/metrics`, which would hide all others."""
    for path in (PAGE, "/health", "/metrics", FILES[0]):
        await fresh.client.get(path)
    async with looking(fresh.client) as page:
        await page.until(lambda shown: "about" in shown)
    assert "No request has ended yet" in page.sections["recent"]
    assert "No request runs" in page.sections["running"]


async def test_scripts_in_names_are_text() -> None:
    """A model's name and a client's program are whatever somebody has written there."""
    evil = msgspec.structs.replace(
        PLAIN,
        key=f"evil{SCRIPT}",
        display_name=SCRIPT,
        variants=(msgspec.structs.replace(PLAIN.variants[0], name=f"evil{SCRIPT}"),),
    )
    async with open_pair(models=(evil,)) as pair:
        await pair.get("/health")
        await pair.client.post(
            "/api/chat", json=chat(f"asked{SCRIPT}"), headers={"user-agent": f"agent{SCRIPT}"}
        )
        await pair.client.get(f"/nosuch{SCRIPT}")
        page = (await pair.client.get(PAGE)).text
        async with looking(pair.client) as open_page:
            await open_page.until(lambda shown: "agent" in shown["recent"])
        sent = "".join(open_page.sections.values())

    for shown in (page, sent):
        assert "<script>alert" not in shown
        for name in ("agent", "evil", "asked"):
            assert f"{name}&lt;script&gt;" in shown


async def test_secrets_are_not_shown_and_sources_are() -> None:
    """Neither a key nor what is secret in an address."""
    settings = Settings(
        listen=ListenSettings(keys=(KEY,)),
        upstream=UpstreamSettings(url="http://me:hush@127.0.0.1:9", token="very-hush"),
    )
    live = LiveSettings(settings)
    live.sources = {"listen.keys": "OLGATE_LISTEN_KEYS", "upstream.url": "/etc/olgate.toml"}
    async with serve(create_app(settings, live)) as url, speak_to(url) as client:
        answer = await client.get(PAGE, headers={"authorization": f"Bearer {KEY}"})

    assert 200 == answer.status_code
    assert "OLGATE_LISTEN_KEYS" in answer.text
    assert "/etc/olgate.toml" in answer.text
    for secret in (KEY, "hush"):
        assert secret not in answer.text


# -- who may see it --------------------------------------------------------------------------


async def test_with_keys_a_form_asks_for_one() -> None:
    """Nothing of the gateway is shown before; a wrong key opens nothing."""
    async with open_pair(LOCKED) as pair:
        asked = await pair.client.get(PAGE)
        wrong = await log_in(pair, "no-key")
        empty = await log_in(pair, "")
        stream = await pair.client.get(EVENTS)

        assert [401] * 4 == [each.status_code for each in (asked, wrong, empty, stream)]
        assert 'type="password"' in asked.text
        assert "set-cookie" not in wrong.headers
        assert "not known" in wrong.text
        for answer in (asked, wrong, stream):
            assert pair.standin.url not in answer.text
            assert "no-key" not in answer.text


async def test_the_right_key_opens_a_session() -> None:
    """Its cookie is not the key, no script reads it, and no other site's page sends it."""
    async with open_pair(LOCKED) as pair:
        opened = await log_in(pair)
        cookie = cookie_in(opened)
        pair.client.cookies.clear()
        page = await pair.client.get(PAGE, headers={"cookie": f"other=1; {cookie}"})
        async with looking(pair.client, headers={"cookie": cookie}) as stream:
            await stream.until(lambda shown: SECTIONS == shown.keys())
        elsewhere = await pair.client.get("/api/tags", headers={"cookie": cookie})

        assert (303, PAGE) == (opened.status_code, opened.headers["location"])
        attributes = opened.headers["set-cookie"]
        assert "HttpOnly" in attributes
        assert "SameSite=Strict" in attributes
        assert "Path=/olgate/" in attributes
        assert KEY not in attributes
        assert 200 == page.status_code
        assert pair.standin.url in page.text
        assert 401 == elsewhere.status_code, "a session is for the page only"


async def test_a_named_key_opens_it_if_it_may_do_everything() -> None:
    """Another one is told why not; its digest is shown to nobody."""
    tables = {
        name: {"digest": sha256(name.encode()).hexdigest(), "admin": name == "chief"}
        for name in ("chief", "guest")
    }
    async with open_pair({"keys": tables}) as pair:
        guest = await log_in(pair, "guest")
        assert 401 == (await pair.client.get(PAGE)).status_code
        chief = await log_in(pair, "chief")
        page = await pair.client.get(PAGE)

    assert [403, 303, 200] == [one.status_code for one in (guest, chief, page)]
    assert "keys.NAME.admin" in guest.text
    assert "set-cookie" not in guest.headers
    for table in tables.values():
        assert str(table["digest"]) not in page.text


@pytest.mark.parametrize("cookie", ["", "x", "A" * 43, KEY, "a" * 5000, '"; x="'])
async def test_a_forged_cookie_is_refused(cookie: str) -> None:
    """Whatever it says, the key itself included."""
    async with open_pair(LOCKED) as pair:
        await log_in(pair)
        pair.client.cookies.clear()
        headers = {"cookie": f"olgate_session={cookie}"}
        page = await pair.client.get(PAGE, headers=headers)
        stream = await pair.client.get(EVENTS, headers=headers)

    assert (401, 401) == (page.status_code, stream.status_code)


async def test_the_session_ends_by_the_form_and_with_its_key() -> None:
    """A key that is taken back at a reload opens nothing from then on."""
    settings = Settings(listen=ListenSettings(keys=(KEY,)))
    live = LiveSettings(settings)
    async with serve(create_app(settings, live)) as url, speak_to(url) as client:
        origin = {"origin": url}

        async def status() -> int:
            return (await client.get(PAGE)).status_code

        await client.post(LOGIN, data={"key": KEY}, headers=origin)
        assert 200 == await status()
        kept = dict(client.cookies)
        left = await client.post(LOGOUT, headers=origin)
        assert 303 == left.status_code
        client.cookies.update(kept)
        assert 401 == await status()

        client.cookies.clear()
        await client.post(LOGIN, data={"key": KEY}, headers=origin)
        assert 200 == await status()
        live.use(Settings(listen=ListenSettings(keys=("another",))))
        assert 401 == await status()


@pytest.mark.parametrize("settings", [{}, LOCKED], ids=["open", "locked"])
@pytest.mark.parametrize("path", [LOGIN, LOGOUT])
@pytest.mark.parametrize(
    "origin", [None, "null", "http://evil.example", "http://localhost:3000", "http://127.0.0.1"]
)
async def test_a_foreign_page_that_posts_is_refused(
    settings: dict[str, Any], path: str, origin: str | None
) -> None:
    """Also one of the origins that Ollama's routes allow; browsers state theirs with a form."""
    async with open_pair(settings) as pair:
        headers = {} if origin is None else {"origin": origin}
        answer = await pair.client.post(path, data={"key": KEY}, headers=headers)

    assert 403 == answer.status_code
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("path", [PAGE, EVENTS])
async def test_a_foreign_page_reads_nothing(fresh: Pair, path: str) -> None:
    """Not even one on this machine, which may use the other routes."""
    answer = await fresh.client.get(path, headers={"origin": "http://localhost:3000"})

    assert 403 == answer.status_code
    assert fresh.standin.url not in answer.text


@pytest.mark.parametrize("path", [PAGE, EVENTS, FILES[0]])
async def test_a_key_in_the_address_is_refused(path: str) -> None:
    """It opens nothing, and is not repeated; a file takes nothing there, and shows nothing."""
    async with open_pair(LOCKED) as pair:
        await log_in(pair)
        answer = await pair.client.get(f"{path}?key={KEY}")

    if path == FILES[0]:
        assert KEY not in answer.text
        return
    assert answer.status_code in (400, 401)
    assert KEY not in answer.text


async def test_a_form_is_bounded() -> None:
    """A long one is not read to its end, and what is no form is refused."""
    async with open_pair(LOCKED) as pair:
        for body in (b"key=" + b"x" * 100_000, b"\xff\xfe", b"a=1&" * 50):
            answer = await pair.client.post(LOGIN, content=body, headers=origin_of(pair))
            assert answer.status_code in (400, 401)
            assert "set-cookie" not in answer.headers


async def ask_from(address: str, host: str, **listen: Any) -> httpx.Response:
    """Ask for the page from an address, by a name of the gateway."""
    app = create_app(Settings(listen=ListenSettings(host="0.0.0.0", **listen)))
    async with alive(app):
        transport = httpx.ASGITransport(app=app, client=(address, 50000))
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
            return await client.get(PAGE)


async def test_without_keys_it_is_shown_on_this_machine_only() -> None:
    """And by a name of this machine: a foreign name may lead to 127.0.0.1 as well."""
    near = await ask_from("127.0.0.1", "localhost:11434")
    far = await ask_from("192.0.2.7", "192.0.2.1:11434")
    renamed = await ask_from("127.0.0.1", "evil.example")
    locked = await ask_from("192.0.2.7", "192.0.2.1:11434", keys=(KEY,))

    assert [200, 403, 403, 401] == [one.status_code for one in (near, far, renamed, locked)]
    assert "listen.keys" in far.text


# -- bounds and ends -------------------------------------------------------------------------


async def test_one_page_too_many_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a sentence; there is room again once one is closed."""
    monkeypatch.setattr(feeds, "MOST_PAGES", 2)
    async with open_pair() as pair:
        async with looking(pair.client) as first, looking(pair.client) as second:
            await first.until(bool)
            await second.until(bool)
            full = await pair.client.get(EVENTS)
            assert 503 == full.status_code
            assert "close one of them" in full.text

        async def has_room() -> bool:
            async with pair.client.stream("GET", EVENTS) as answer:
                return answer.status_code == 200

        async with asyncio.timeout(60):
            while not await has_room():
                await pair.let_pass()


async def test_a_thousand_pages_are_bounded() -> None:
    """Those beyond the most are refused, each at once, and those that are open live on."""
    async with open_pair() as pair, AsyncExitStack() as stack:
        pages = [
            await stack.enter_async_context(looking(pair.client)) for _ in range(feeds.MOST_PAGES)
        ]
        for page in pages:
            await page.until(bool)
        refused = Counter(
            [(await pair.client.get(EVENTS)).status_code for _ in range(1000 - feeds.MOST_PAGES)]
        )
        await pair.client.post("/api/show", json={"model": "nobody-has-it"})
        await pages[-1].until(lambda shown: "nobody-has-it" in shown["recent"])

    assert {503: 1000 - feeds.MOST_PAGES} == refused


async def test_the_end_of_the_gateway_ends_open_pages() -> None:
    """The shutdown would wait for them otherwise, for as long as answers may take."""
    async with open_pair() as pair, looking(pair.client) as page:
        await page.until(bool)
        edge = pair.app.inner
        assert isinstance(edge, Edge)
        edge.drain()
        await page.end()
        late = await pair.client.get(EVENTS)

    assert 503 == late.status_code


async def test_it_can_be_switched_off() -> None:
    """Then there is no such route, and no key opens it."""
    async with open_pair({"routes": {"console": False}}) as pair:
        for path in (PAGE, EVENTS, *FILES):
            assert 404 == (await pair.client.get(path)).status_code
        assert 404 == (await pair.client.post(LOGIN)).status_code


async def test_the_address_without_its_slash_leads_there(fresh: Pair) -> None:
    """And the kept exchanges have their own route below it."""
    answer = await fresh.client.get("/olgate")
    assert (301, PAGE) == (answer.status_code, answer.headers["location"])

    async with open_pair({"inspect": {"requests": 3}}) as pair:
        assert {"exchanges": []} == await pair.get("/olgate/inspect")
        assert 200 == (await pair.client.get(PAGE)).status_code
