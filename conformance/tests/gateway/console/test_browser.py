"""
The page in a real browser: Debian's Chromium, driven by playwright (`nox -s browser`).

The few that only a browser can tell run by default, and all with WHOLE_PAGE in the environment.
With WRITE_PICTURES there, the pictures in docs/ are made anew.
"""

import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from conformance.clients.toolchain import BROWSERS, MissingToolError, find_browser
from conformance.runner.processes import ROOT, listening
from conformance.standin.catalogue import DEFAULT, GRADED, PLAIN
from conformance.tests.runner.test_own_gateway import free_port

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed (nox -s browser installs it)"
)

DOCS = ROOT / "docs"
LIMIT_S = 60
ONLY_HERE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
"""The browser's option that keeps the page from asking anyone else."""
KEY = "a-key-that-nobody-guesses"
SCRIPT = "<img src=x onerror=alert(1)>"
SPEED = ("--rate", "8")

only_whole = pytest.mark.skipif(
    not {"WHOLE_PAGE", "WRITE_PICTURES"} & os.environ.keys(),
    reason="not one of the few that always run (nox -s browser -- --all)",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Start Chromium once."""
    try:
        program = find_browser()
    except MissingToolError:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    playwright.expect.set_options(timeout=LIMIT_S * 1000)
    with playwright.sync_playwright() as running:
        # A container's root has no sandbox.
        arguments = [ONLY_HERE, *(["--no-sandbox"] if is_root() else [])]
        chromium = running.chromium.launch(executable_path=program, args=arguments)
        yield chromium
        chromium.close()


def is_root() -> bool:
    """Return whether this process has all rights, as in a container."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


class Window:
    """A window of the browser, and what went wrong in it."""

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.url = url
        self.problems: list[str] = []
        page.set_default_timeout(LIMIT_S * 1000)
        page.on("dialog", lambda dialog: self._note(f"dialog {dialog.message}"))
        page.on("pageerror", lambda error: self._note(f"error {error}"))
        page.on("console", lambda message: self._note_line(message))
        page.on("request", lambda request: self._note_request(request.url))

    def _note(self, text: str) -> None:
        self.problems.append(text)

    def _note_line(self, message: Any) -> None:
        # A connection that breaks is told there as well, and is what a test wants.
        if message.type == "error" and "Content Security Policy" in message.text:
            self._note(message.text)

    def _note_request(self, url: str) -> None:
        if not url.startswith(f"{self.url}/olgate/"):
            self._note(f"asked {url}")

    def open(self) -> None:
        """Open the page, and wait until it is live."""
        self.page.goto(f"{self.url}/olgate/")
        self.expect("#status").to_have_text("Live")

    def expect(self, selector: str) -> Any:
        """Return what is expected of an element, sooner or later."""
        return playwright.expect(self.page.locator(selector).first)


@contextmanager
def window(browser: Any, url: str, **context: Any) -> Iterator[Window]:
    """Open a window; nothing may go wrong in it."""
    with closing(browser.new_context(locale="en-US", **context)) as opened:
        shown = Window(opened.new_page(), url)
        yield shown
        assert [] == shown.problems


@contextmanager
def gateway(standin: str, port: int = 0, settings: str = "", *more: str) -> Iterator[str]:
    """Run a gateway process in front of a stand-in."""
    arguments = ("serve", "--port", str(port), "--upstream", standin, *more)
    with listening("gateway", *arguments) as url:
        yield url


@contextmanager
def standin(folder: Path, *options: str, models: Any = DEFAULT) -> Iterator[str]:
    """Run a stand-in process with some models."""
    catalogue = folder / "models.json"
    catalogue.write_bytes(msgspec.json.encode(models))
    arguments = ("--port", "0", "--catalogue", str(catalogue), *options)
    with listening("conformance.standin", *arguments) as url:
        yield url


@contextmanager
def asking(url: str, words: int, agent: str = "a-chat-page/1.0") -> Iterator[None]:
    """Have a program ask for a long answer meanwhile; it leaves at the end."""
    body = {
        "model": PLAIN.key,
        "messages": [{"role": "user", "content": "Tell me of canals. " * words}],
    }
    leaving = threading.Event()

    def ask() -> None:
        with (
            httpx.Client(base_url=url, trust_env=False, timeout=LIMIT_S) as client,
            client.stream("POST", "/api/chat", json=body, headers={"user-agent": agent}) as answer,
        ):
            for _ in answer.iter_lines():
                if leaving.is_set():
                    return

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        leaving.set()
        thread.join(LIMIT_S)


def ask_once(url: str) -> None:
    """Have a few requests end, a wrong one among them."""
    with httpx.Client(base_url=url, trust_env=False, timeout=LIMIT_S) as client:
        for path, body in (
            ("/api/chat", {"model": PLAIN.key, "messages": [{"role": "user", "content": "Hi"}]}),
            ("/api/generate", {"model": GRADED.key, "keep_alive": "5m"}),
            ("/api/show", {"model": "nobody-has-it"}),
            ("/api/show", {"model": PLAIN.key}),
        ):
            client.post(path, json={**body, "stream": False})


def tokens_shown(shown: Window) -> Any:
    """Return the cell with a running request's tokens."""
    return shown.page.locator("#running td.number").first


def test_hosts_and_tokens_are_shown_as_they_come(browser: Any, tmp_path: Path) -> None:
    """The count grows while an answer runs; the request is among the last ones then."""
    with (
        standin(tmp_path, *SPEED) as upstream,
        gateway(upstream) as url,
        window(browser, url, viewport={"width": 1280, "height": 900}) as shown,
    ):
        ask_once(url)
        shown.open()
        shown.expect("#hosts .state").to_have_text("up")
        shown.expect("#hosts").to_contain_text(upstream)
        with asking(url, 40):
            playwright.expect(tokens_shown(shown)).to_have_text(re.compile(r"^[1-9]\d*$"))
            before = int(tokens_shown(shown).inner_text())
            shown.page.wait_for_function(
                "before => Number(document.querySelector('#running td.number')?.textContent)"
                " > before",
                arg=before,
            )
            shown.expect("#running").to_contain_text("a-chat-page/1.0")
            shown.expect("#hosts .loaded").to_contain_text(PLAIN.key)
            shown.expect("#hosts time[data-until]").to_have_text(re.compile("^unloaded in 4 min"))
            take_picture(shown, "console.png")
        shown.expect("#running").to_contain_text("No request runs")
        shown.expect("#recent").to_contain_text("the client left")


@only_whole
def test_a_telephone_in_the_dark(browser: Any, tmp_path: Path) -> None:
    """Nothing is wider than the window, and the page takes the system's colours."""
    with (
        standin(tmp_path, *SPEED) as upstream,
        gateway(upstream) as url,
        window(browser, url, viewport={"width": 360, "height": 740}, color_scheme="dark") as shown,
    ):
        ask_once(url)
        shown.open()
        shown.expect("#hosts .state").to_have_text("up")
        with asking(url, 40):
            playwright.expect(tokens_shown(shown)).to_have_text(re.compile(r"[1-9]\d*$"))
            width = shown.page.evaluate("document.documentElement.scrollWidth")
            dark = shown.page.evaluate("getComputedStyle(document.body).backgroundColor")
            shown.page.emulate_media(color_scheme="light")
            light = shown.page.evaluate("getComputedStyle(document.body).backgroundColor")
            shown.page.emulate_media(color_scheme="dark")
            take_picture(shown, "console-narrow.png")

    assert width <= 360
    brightness = [sum(map(int, re.findall(r"\d+", color)[:3])) for color in (dark, light)]
    assert brightness[0] < 200
    assert brightness[1] > 600


def test_a_gateway_goes_away_and_comes_back(browser: Any, tmp_path: Path) -> None:
    """The page says so, and goes on by itself."""
    port = free_port()
    with standin(tmp_path) as upstream, ExitStack() as stack:
        shown = stack.enter_context(window(browser, f"http://127.0.0.1:{port}"))
        with gateway(upstream, port):
            shown.open()
        shown.expect("#status").to_contain_text("does not answer")
        with gateway(upstream, port) as url:
            shown.expect("#status").to_have_text("Live")
            ask_once(url)
            shown.expect("#recent").to_contain_text("nobody-has-it")


@only_whole
def test_five_hundred_models_are_found_by_typing(browser: Any, tmp_path: Path) -> None:
    """One of them with a script for a name, which is text."""
    models = [
        msgspec.structs.replace(
            PLAIN,
            key=f"maker/model-{number}",
            loaded=(),
            variants=(msgspec.structs.replace(PLAIN.variants[0], name=f"maker/model-{number}@q4"),),
        )
        for number in range(499)
    ]
    evil = msgspec.structs.replace(models[0], key=SCRIPT, display_name=SCRIPT)
    with (
        standin(tmp_path, models=(*models, evil)) as upstream,
        gateway(upstream) as url,
        window(browser, url) as shown,
    ):
        shown.open()
        rows = shown.page.locator("#models tbody tr:visible")
        playwright.expect(rows).to_have_count(500)
        shown.expect("#models").to_contain_text(SCRIPT)
        shown.page.get_by_label("Find").first.fill("model-321")
        playwright.expect(rows).to_have_count(1)


def test_without_a_mouse_and_with_a_key(browser: Any, tmp_path: Path) -> None:
    """The form has the focus; no script can read what it gave."""
    settings = tmp_path / "config.toml"
    settings.write_text(f"[listen]\nkeys = {json.dumps([KEY])}\n", encoding="utf-8")
    with (
        standin(tmp_path) as upstream,
        gateway(upstream, 0, "", "--config", str(settings)) as url,
        window(browser, url) as shown,
    ):
        shown.page.goto(f"{url}/olgate/")
        shown.page.keyboard.type("wrong")
        shown.page.keyboard.press("Enter")
        shown.expect("#reason").to_contain_text("not known")
        shown.page.keyboard.type(KEY)
        shown.page.keyboard.press("Enter")
        shown.expect("#status").to_have_text("Live")
        assert "" == shown.page.evaluate("document.cookie")
        assert KEY not in shown.page.content()
        shown.page.keyboard.press("Tab")
        assert "To the content" == shown.page.evaluate("document.activeElement.textContent")
        shown.page.keyboard.press("Tab")
        shown.page.keyboard.press("Enter")
        shown.expect("#key").to_be_focused()


@only_whole
def test_a_fleet_changes_while_it_is_looked_at(browser: Any, tmp_path: Path) -> None:
    """A host that goes away is shown as down, and what it had loaded is gone."""
    (tmp_path / "b").mkdir()
    with (
        standin(tmp_path) as first,
        ExitStack() as second,
        # A host that nobody can connect to is known as soon as the page asks for its list.
        closing(second),
    ):
        other = second.enter_context(standin(tmp_path / "b"))
        with (
            gateway(first, 0, "", "--upstream", other) as url,
            window(browser, url) as shown,
        ):
            shown.open()
            playwright.expect(shown.page.locator("#hosts .state.up")).to_have_count(2)
            second.close()
            playwright.expect(shown.page.locator("#hosts .state.down")).to_have_count(1)
            playwright.expect(shown.page.locator("#hosts .state.up")).to_have_count(1)


def test_actions_without_a_mouse(browser: Any, tmp_path: Path) -> None:
    """A host is drained and taken back, a model unloaded and pulled; the focus stays in place."""
    (tmp_path / "b").mkdir()
    with (
        standin(tmp_path) as first,
        standin(tmp_path / "b") as second,
        gateway(first, 0, "", "--upstream", second) as url,
        window(browser, url, viewport={"width": 1280, "height": 900}) as shown,
    ):
        shown.open()
        name = second.removeprefix("http://")
        shown.page.locator(f'[data-id="drain {name}"]').focus()
        shown.page.keyboard.press("Enter")
        shown.expect("#hosts .state.drained").to_be_visible()
        shown.expect("#said").to_have_text(f"{name} is drained")
        assert f"drain {name}" == shown.page.evaluate("document.activeElement.dataset.id")
        shown.page.get_by_label("Pull a model").focus()
        shown.page.keyboard.type("harbor/beacon-9b")
        shown.page.keyboard.press("Enter")
        shown.expect("#actions").to_contain_text("Pull harbor/beacon-9b")
        shown.expect("#said").to_have_text("harbor/beacon-9b is here")
        take_picture(shown, "console-actions.png")
        shown.page.locator(f'[data-id="drain {name}"]').focus()
        shown.page.keyboard.press("Enter")
        shown.expect("#said").to_have_text(f"{name} gets requests again")
        playwright.expect(shown.page.locator("#hosts .state.drained")).to_have_count(0)
        shown.page.get_by_label(f"Unload {PLAIN.key}:latest from {name}").focus()
        shown.page.keyboard.press("Enter")
        shown.expect("#said").to_have_text(f"{PLAIN.key}:latest on {name} is unloaded")


@only_whole
def test_an_action_without_scripts(browser: Any, tmp_path: Path) -> None:
    """The button leads back to the page, which shows what became of it."""
    with (
        standin(tmp_path) as upstream,
        gateway(upstream) as url,
        window(browser, url, java_script_enabled=False) as shown,
    ):
        httpx.get(f"{url}/health", trust_env=False)
        shown.page.goto(f"{url}/olgate/")
        shown.page.get_by_label("Pull a model").fill("no such model")
        shown.page.get_by_role("button", name="Pull").click()
        assert f"{url}/olgate/" == shown.page.url
        shown.expect("#actions").to_contain_text("Pull no such model")


@only_whole
def test_a_model_is_explained(browser: Any, tmp_path: Path) -> None:
    """For each route; a pasted request, too, with script in it that does not run."""
    with (
        standin(tmp_path) as upstream,
        gateway(upstream) as url,
        window(browser, url, viewport={"width": 1280, "height": 900}) as shown,
    ):
        shown.open()
        shown.page.get_by_role("button", name=f"{PLAIN.key}:latest", exact=True).click()
        shown.expect("h1").to_have_text(f"What each route makes of {PLAIN.key}:latest")
        shown.expect("table").to_contain_text("POST /api/chat")
        take_picture(shown, "console-model.png")
        shown.page.get_by_role("link", name="Back to the page").click()
        body = {"model": PLAIN.key, "messages": [{"role": "user", "content": SCRIPT}]}
        shown.page.locator("#text").fill(json.dumps(body))
        shown.page.get_by_label("Route, for JSON").fill("/api/chat")
        shown.page.keyboard.press("Enter")
        shown.expect("pre").to_contain_text("LM STUDIO WOULD GET")
        shown.expect("pre").to_contain_text("chat.yaml:")
        shown.expect("textarea").to_have_value(re.compile("onerror"))
        take_picture(shown, "console-explained.png")


def test_a_foreign_page_that_posts_does_nothing(browser: Any, tmp_path: Path) -> None:
    """A real browser tells where the form comes from; nothing is unloaded."""
    order = json.dumps({"do": "unload", "model": PLAIN.key})
    with standin(tmp_path) as upstream, gateway(upstream) as url:
        page = (
            f"<form method=post action='{url}/olgate/act'><input name=token value=x>"
            f"<input name=do value='{order}'></form><script>document.forms[0].submit()</script>"
        )
        with (
            serving(page) as evil,
            closing(browser.new_context()) as context,
            httpx.Client(base_url=url, trust_env=False, timeout=LIMIT_S) as client,
        ):
            opened = context.new_page()
            with opened.expect_response(re.compile("/olgate/act")) as posted:
                opened.goto(evil)
            assert 403 == posted.value.status
            loaded = [one["name"] for one in client.get("/api/ps").json()["models"]]

    assert f"{PLAIN.key}:latest" in loaded


@only_whole
def test_many_requests_while_it_is_looked_at(browser: Any, tmp_path: Path) -> None:
    """A thousand of them as fast as they are answered: the page keeps the last ones, and lives."""
    with (
        standin(tmp_path) as upstream,
        gateway(upstream) as url,
        window(browser, url) as shown,
    ):
        shown.open()

        def ask() -> None:
            with httpx.Client(base_url=url, trust_env=False, timeout=LIMIT_S) as client:
                for _ in range(250):
                    client.post("/api/show", json={"model": PLAIN.key})

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ask_once(url)
        shown.expect("#recent").to_contain_text("nobody-has-it")
        playwright.expect(shown.page.locator("#recent tbody tr")).to_have_count(50)
        shown.expect("#status").to_have_text("Live")


@contextmanager
def serving(page: str) -> Iterator[str]:
    """Serve one page of HTML from another origin."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = page.encode()
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join(LIMIT_S)


def take_picture(shown: Window, name: str) -> None:
    """Take a picture of the window, for docs/ if that is wanted."""
    picture = shown.page.screenshot(animations="disabled")
    assert picture.startswith(b"\x89PNG")
    if os.environ.get("WRITE_PICTURES"):
        (DOCS / name).write_bytes(picture)
