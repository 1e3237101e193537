"""
What never goes where it does not belong: keys, tokens, prompts, images.

Everything that could be quoted is planted, every way in which a request can go wrong is gone, and
the journal on its lowest level is searched for it, as are the answers and what LM Studio was asked.
"""

import base64
from typing import Any

import httpx
import pytest

from conformance.tests.gateway.support import (
    CHAT,
    LOADED,
    LOADED_EMBEDDER,
    Pair,
    open_pair,
    written,
)
from gateway.plans import chat as chat_mapping

KEY = "planted-key-1"
OTHER_KEY = "planted-key-2"
TOKEN = "planted-token-3"
PROMPT = "planted prompt 4"
IMAGE = base64.b64encode(b"\x89PNG planted image 5").decode()
SECRETS = (KEY, OTHER_KEY, TOKEN)
CONTENTS = (PROMPT, IMAGE)
LOCKED: dict[str, Any] = {
    "listen": {"keys": (KEY, OTHER_KEY)},
    "upstream": {"token": TOKEN},
    "limits": {"images": 3, "body_bytes": 100_000},
}

REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("/api/chat", {"messages": [{"role": "user", "content": PROMPT, "images": [IMAGE]}]}),
    ("/api/chat", {"messages": [{"role": "user", "content": PROMPT}], "stream": False}),
    ("/api/chat", {"messages": [{"role": "user", "content": PROMPT}], "format": PROMPT}),
    ("/api/chat", {"messages": [{"role": PROMPT, "content": [PROMPT]}], "options": PROMPT}),
    ("/api/generate", {"prompt": PROMPT, "images": [IMAGE] * 4}),
    ("/api/generate", {"prompt": PROMPT, "stream": False, "raw": True}),
    ("/api/embed", {"model": LOADED_EMBEDDER, "input": PROMPT}),
    (CHAT, {"messages": [{"role": "user", "content": PROMPT}], "stream": True}),
    (CHAT, {"messages": [{"role": "user", "content": PROMPT}]}),
    ("/v1/messages", {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 9}),
    ("/v1/completions", {"prompt": PROMPT}),
    ("/api/v0/chat/completions", {"messages": [{"role": "user", "content": PROMPT}]}),
]


def quoting(path: str, status: int, kind: str = "application/json") -> dict[str, Any]:
    """Return a rule by which LM Studio quotes the prompt in an error, as it may."""
    text = f'{{"error": {{"message": "cannot: {PROMPT} {IMAGE}", "type": "x"}}}}'
    if kind == "text/plain":
        text = f"cannot: {PROMPT} {IMAGE}"
    headers = {"Content-Type": kind}
    return {
        "match": {"path": path},
        "answer": {"chunks": [[0, text]], "headers": headers, "status": status},
    }


async def ask_all(pair: Pair) -> list[str]:
    """Send every request with a key, and return what the answers are."""
    found: list[str] = []
    for path, body in REQUESTS:
        key = {"x-api-key": KEY} if path == "/v1/messages" else {"authorization": f"Bearer {KEY}"}
        headers = {**key, "cookie": f"session={OTHER_KEY}", "user-agent": "planter/1"}
        try:
            answer = await pair.client.post(
                path, params={"page": "1"}, json={"model": LOADED, **body}, headers=headers
            )
        except httpx.RemoteProtocolError:
            continue
        found.append(f"{answer.status_code} {answer.headers} {answer.text}")
    return found


def is_in(words: tuple[str, ...], texts: list[str]) -> bool:
    """Tell whether any of the words stands in any of the texts."""
    return any(word in text for word in words for text in texts)


RULES: dict[str, list[dict[str, Any]]] = {
    "ordinary": [],
    "refused": [quoting("/*", 400)],
    "broken": [quoting("/*", 500, "text/plain")],
    "error with 200": [quoting("/v1/*", 200)],
    "no JSON": [quoting("/v1/*", 200, "text/plain")],
}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES.keys())
@pytest.mark.parametrize("form", ["text", "json"])
async def test_nothing_planted_is_written(rules: list[dict[str, Any]], form: str) -> None:
    """Nor does a key reach LM Studio, or LM Studio's token a client."""
    with written(format=form) as stream:
        async with open_pair(LOCKED) as pair:
            await pair.client.get("/api/tags", headers={"authorization": f"Bearer {KEY}"})
            pair.script(*rules)
            answers = await ask_all(pair)
            answers += [(await pair.client.post("/api/chat", headers={"x-api-key": KEY})).text]
            refused = await pair.client.post("/api/chat", params={"key": OTHER_KEY})
            assert 401 == refused.status_code
            answers += [refused.text]
            shown = await pair.client.get("/metrics", headers={"authorization": f"Bearer {KEY}"})
            asked = [f"{one.headers}{one.raw!r}" for one in pair.standin.seen]
    journal_text = stream.getvalue()

    assert not is_in(SECRETS + CONTENTS, [journal_text, shown.text])
    assert 200 == shown.status_code
    assert "agent=planter/1" in journal_text or '"agent": "planter/1"' in journal_text
    assert journal_text.count("request ") + journal_text.count('"request"') > len(REQUESTS)
    assert is_in((TOKEN,), asked)
    assert is_in((PROMPT,), asked) or rules
    assert not is_in((KEY, f"session={OTHER_KEY}"), asked)
    assert not is_in((TOKEN,), answers)


async def test_a_fault_of_ours_quotes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception's text may hold what was asked; its kind and its place are written."""

    def fail(self: Any, chunk: Any) -> Any:
        raise ValueError(f"{PROMPT} {IMAGE}")

    monkeypatch.setattr(chat_mapping.ChatStream, "chunk", fail)
    with written() as stream:
        async with open_pair(LOCKED) as pair:
            await ask_all(pair)

    assert not is_in(SECRETS + CONTENTS, [stream.getvalue()])
    assert "builtins.ValueError" in stream.getvalue()


async def test_lm_studios_words_are_written_by_setting() -> None:
    """Who wants them says so; keys and tokens are never written."""
    with written(bodies=True) as stream:
        async with open_pair({**LOCKED, "log": {"bodies": True}}) as pair:
            pair.script(quoting("/v1/*", 400))
            await ask_all(pair)

    assert is_in((PROMPT,), [stream.getvalue()])
    assert not is_in(SECRETS, [stream.getvalue()])
