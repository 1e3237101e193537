"""
Drives the page of Open WebUI, in a real browser.

`python -m conformance.clients.browser_open_webui CHROMIUM URL CHAT EMBED`: CHROMIUM is the
browser's program. Only what a person sees and does is here, with the page's
settings where it needs them; what Open WebUI answers to programs is `python_open_webui`'s.
"""

import contextlib
import functools
import json
import re
import sys
from collections.abc import Iterator
from typing import Any

from playwright.sync_api import Locator, Page, expect, sync_playwright

from conformance.clients.open_webui import connect, listed, serving
from conformance.clients.scenarios import (
    BROKEN_QUESTION,
    HELD_QUESTION,
    QUESTION,
    TIME_LIMIT_S,
    Place,
    Scenarios,
    make_png,
    wait_until,
)

PROGRAM = sys.argv[1] if len(sys.argv) > 1 else "chromium"
ONLY_HERE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
"""The browser's option that keeps the page from asking anyone else."""
WATCH = """() => {
    window.shown = [];
    const look = () => {
        const answer = [...document.querySelectorAll(".chat-assistant")].at(-1);
        const text = answer ? answer.innerText : "";
        if (text !== window.shown.at(-1)) window.shown.push(text);
    };
    new MutationObserver(look).observe(
        document.body, {subtree: true, childList: true, characterData: true}
    );
}"""
"""A script that keeps each state of the last answer that the page shows."""

scenarios = Scenarios()
opened = contextlib.ExitStack()


@functools.cache
def open_page(url: str) -> Page:
    """Start the browser, once, and return its page."""
    expect.set_options(timeout=TIME_LIMIT_S * 1000)
    playwright = opened.enter_context(sync_playwright())
    browser = playwright.chromium.launch(executable_path=PROGRAM, args=[ONLY_HERE])
    opened.callback(browser.close)
    page = browser.new_page(locale="en-US")
    page.set_default_timeout(TIME_LIMIT_S * 1000)
    page.add_locator_handler(page.get_by_text("Okay, Let's Go!"), lambda button: button.click())
    return page


def start_chat(place: Place, model: str) -> Page:
    """Return the page with an empty chat, for which a model was picked by hand."""
    page = open_page(place.url)
    page.goto(place.url)
    open_picker(page)
    option(page, model).click()
    expect(page.get_by_label(f"Selected model: {listed(model)}")).to_be_visible()
    return page


def open_picker(page: Page) -> None:
    """Open the list of models."""
    page.locator("#model-selector-model-button").click()
    expect(page.get_by_role("listbox")).to_be_visible()


def option(page: Page, model: str) -> Locator:
    """Return a model's line in the list of models."""
    return page.get_by_role("option", name=f"Select {listed(model)} model", exact=True)


def send(page: Page, question: str) -> None:
    """Type a question and send it."""
    page.locator("#chat-input").click()
    page.keyboard.type(question)
    page.keyboard.press("Enter")


def answer(page: Page) -> Locator:
    """Return the last answer that the page shows."""
    return page.locator(".chat-assistant").last


def wait_for_end(page: Page, count: int = 1) -> str:
    """Wait until that many answers have come to their end; return the last one's text."""
    expect(page.locator(".chat-assistant")).to_have_count(count)
    expect(page.get_by_role("button", name="Stop", exact=True)).to_have_count(0)
    # An answer has this button from its end on.
    expect(page.get_by_role("button", name="Regenerate")).to_have_count(count)
    return str(answer(page).inner_text())


@contextlib.contextmanager
def hear_pieces(page: Page) -> Iterator[list[str]]:
    """Collect the pieces of answers' texts that the page is told while this lasts."""
    pieces: list[str] = []

    def read(payload: Any) -> None:
        for text in re.findall(
            r'"response\.output_text\.delta".*?"delta":("(?:[^"\\]|\\.)*")', payload
        ):
            pieces.append(json.loads(text))

    def listen(socket: Any) -> None:
        socket.on("framereceived", read)

    page.on("websocket", listen)
    try:
        yield pieces
    finally:
        page.remove_listener("websocket", listen)


def offer_tools(url: str, *, are_offered: bool) -> None:
    """Say whether Open WebUI offers tools of its own to models, as it does unless told."""
    settings: dict[str, Any] = {
        "DEFAULT_MODELS": None,
        "DEFAULT_PINNED_MODELS": None,
        "MODEL_ORDER_LIST": [],
        "DEFAULT_MODEL_METADATA": {"capabilities": {"builtin_tools": are_offered}},
    }
    with connect(url) as client:
        client.post("/api/v1/configs/models", json=settings).raise_for_status()


@scenarios.add
def list_models(place: Place) -> None:
    """The gateway's models are there to pick from."""
    page = open_page(place.url)
    page.goto(place.url)
    open_picker(page)
    for model in (place.chat, place.embedding):
        expect(option(page, model)).to_be_visible()


@scenarios.add
def chat_stream(place: Place) -> None:
    """An answer comes piece by piece, only ever grows, and is shown whole at its end."""
    page = open_page(place.url)
    with hear_pieces(page) as pieces:
        start_chat(place, place.chat)
        page.evaluate(WATCH)
        send(page, QUESTION)
        text = wait_for_end(page)
    assert len(pieces) > 2
    whole = " ".join("".join(pieces).split())
    assert " ".join(text.split()).endswith(whole), f"{text!r} shown, {whole!r} told"
    shown = [state.partition("\n")[2].strip() for state in page.evaluate("window.shown")]
    grown = [state for state in shown if state]
    assert grown
    assert all(text.endswith(grown[-1]) and grown[-1].startswith(state) for state in grown)


@scenarios.add
def chat_turns(place: Place) -> None:
    """A second question in a chat is answered below the first."""
    page = start_chat(place, place.chat)
    send(page, QUESTION)
    wait_for_end(page)
    send(page, "And who looks after it?")
    assert wait_for_end(page, 2)


@scenarios.add
def think_stream(place: Place) -> None:
    """Thinking is folded away above the answer, and can be read."""
    page = start_chat(place, place.chat)
    send(page, QUESTION)
    folded = wait_for_end(page)
    page.get_by_role("button", name=re.compile("^Thought")).click()
    expect(answer(page)).not_to_have_text(folded, use_inner_text=True)
    head, _, said = folded.partition("\n")
    unfolded = str(answer(page).inner_text())
    assert unfolded.startswith(head)
    assert unfolded.endswith(said.strip())
    assert len(unfolded) > len(folded)


@scenarios.add
def tools_roundtrip(place: Place) -> None:
    """A tool of Open WebUI's own is called, and its result leads to an answer."""
    offer_tools(place.url, are_offered=True)
    try:
        page = start_chat(place, place.chat)
        send(page, "What time is it? Use the tool get_current_timestamp.")
        text = wait_for_end(page)
    finally:
        offer_tools(place.url, are_offered=False)
    head, _, said = text.partition("\n")
    assert "get_current_timestamp" in head, text
    assert said.strip(), text


@scenarios.add
def image_upload(place: Place) -> None:
    """A picture that is added to a question goes along."""
    page = start_chat(place, place.chat)
    picture = {"name": "grey.png", "mimeType": "image/png", "buffer": make_png()}
    page.locator("input[type=file][multiple]").set_input_files(picture)
    expect(page.get_by_role("button", name="Remove file")).to_be_visible()
    send(page, QUESTION)
    assert wait_for_end(page)


@scenarios.add
def unload(place: Place) -> None:
    """A model that has answered can be thrown out in the list of models."""
    page = start_chat(place, place.chat)
    send(page, QUESTION)
    wait_for_end(page)
    page.goto(place.url)
    open_picker(page)
    option(page, place.chat).get_by_role("button", name="Eject model").click()
    expect(option(page, place.chat).get_by_role("button", name="Eject model")).to_have_count(0)
    with connect(place.url) as client:

        def is_loaded() -> bool:
            models = client.get("/ollama/api/ps").raise_for_status().json()["models"]
            return listed(place.chat) in [model["model"] for model in models]

        wait_until(lambda: not is_loaded())


@scenarios.add
def refusal(place: Place) -> None:
    """What a model can't do is told to the person in the gateway's words."""
    page = start_chat(place, place.embedding)
    send(page, QUESTION)
    expect(answer(page)).to_contain_text("does not support chat")


@scenarios.add
def abort(place: Place) -> None:
    """What has come of an answer is shown before its end; the button stops it, and chats go on."""
    page = start_chat(place, place.chat)
    send(page, HELD_QUESTION)
    page.get_by_role("button", name="Thinking").click()
    expect(answer(page)).to_have_text(re.compile(r"Thinking\.\.\.\s*\w+"), use_inner_text=True)
    page.get_by_role("button", name="Stop", exact=True).click()
    wait_for_end(page)
    start_chat(place, place.chat)
    send(page, QUESTION)
    assert wait_for_end(page)


@scenarios.add
def page_breaks_off(place: Place) -> None:
    """An answer that breaks off is told of as such."""
    page = start_chat(place, place.chat)
    send(page, BROKEN_QUESTION)
    text = wait_for_end(page)
    assert "LM Studio" in text, f"nothing tells of it: {text!r}"


def main() -> int:
    """Run scenarios against an Open WebUI whose only server of models is at the URL given."""
    if len(sys.argv) < 3:
        return scenarios.main(sys.argv[2:])
    with serving(sys.argv[2]) as url, opened:
        open_page(url)
        offer_tools(url, are_offered=False)
        return scenarios.main([url, *sys.argv[3:]])


if __name__ == "__main__":
    sys.exit(main())
