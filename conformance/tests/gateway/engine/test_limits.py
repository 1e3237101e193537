"""How much one request may hold, and what it hears that holds more."""

import gzip
import json
from typing import Any

import pytest

from conformance.tests.gateway.support import CHAT, LOADED, Pair, chat, generate, open_pair
from gateway.engine.limits import check_depth
from gateway.faults import Refusal
from gateway.settings.schema import LimitSettings

SMALL: dict[str, Any] = {
    "limits": {"body_bytes": 4000, "json_depth": 6, "messages": 3, "images": 2}
}
IMAGE = "aGVsbG8="
PATHS = ["/api/chat", CHAT, "/v1/messages", "/api/v0/chat/completions", "/api/v1/chat"]


def nested(depth: int) -> Any:
    """Return a value that is so deep."""
    return [] if depth == 1 else [nested(depth - 1)]


def messages(number: int) -> list[dict[str, str]]:
    """Return so many messages."""
    return [{"role": "user", "content": "Why?"} for _ in range(number)]


def pictures(path: str, number: int) -> dict[str, Any]:
    """Return a request with so many images, as a path has them."""
    if path == "/api/chat":
        message: dict[str, Any] = {"role": "user", "content": "?", "images": [IMAGE] * number}
    elif path == "/v1/messages":
        source = {"type": "base64", "media_type": "image/png", "data": IMAGE}
        message = {"role": "user", "content": [{"type": "image", "source": source}] * number}
    elif path == "/api/v1/chat":
        return {"model": LOADED, "input": [{"type": "image", "data_url": IMAGE}] * number}
    else:
        part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}}
        message = {"role": "user", "content": [part] * number}
    return {"model": LOADED, "messages": [message], "stream": False}


def told(path: str, body: Any) -> str:
    """Return an error's text out of the envelope that a path's callers know."""
    if path.startswith("/api/chat"):
        assert ["error"] == list(body)
        return str(body["error"])
    if path == "/v1/messages":
        assert "error" == body["type"]
    assert "invalid_request_error" == body["error"]["type"]
    return str(body["error"]["message"])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("what", ["bytes", "depth", "messages", "images"])
async def test_too_much_is_refused_in_the_callers_words(path: str, what: str) -> None:
    """Each limit with its status, its number and its setting; nothing reaches LM Studio."""
    body, status, says = {
        "bytes": (chat(text="x" * 5000), 413, "larger than 4000 bytes"),
        "depth": (chat(format=nested(9)), 400, "deeper than 6 levels (limits.json_depth)"),
        "messages": (
            {"model": LOADED, "messages": messages(4), "input": messages(4)},
            400,
            "4 messages, more than 3 (limits.messages)",
        ),
        "images": (pictures(path, 3), 400, "3 images, more than 2 (limits.images)"),
    }[what]
    async with open_pair(SMALL) as pair:
        answer = await pair.post(path, body)
        assert status == answer.status_code, answer.text
        assert says in told(path, answer.json())
        assert [] == [one for one in pair.standin.seen if one.method == "POST"]


@pytest.mark.parametrize("path", PATHS[:4])
async def test_as_much_as_may_be_is_taken(path: str) -> None:
    """The limits themselves are not too much; what looks like an image in a text is none."""
    text = json.dumps(pictures(CHAT, 9))
    async with open_pair(SMALL) as pair:
        full = {"model": LOADED, "max_tokens": 9, "messages": messages(3), "stream": False}
        for body in (full, pictures(path, 2), chat(text=text, max_tokens=9)):
            answer = await pair.post(path, body)
            assert 413 != answer.status_code
            assert "(limits." not in answer.text


async def test_images_of_generate_count() -> None:
    """They stand beside the prompt there."""
    async with open_pair(SMALL) as pair:
        answer = await pair.post("/api/generate", generate(images=[IMAGE] * 3))
    assert (400, "the request has 3 images, more than 2 (limits.images)") == (
        answer.status_code,
        answer.json()["error"],
    )


async def test_a_small_body_that_unpacks_to_a_large_one_is_refused() -> None:
    """Unpacking ends at the limit of a body."""
    packed = gzip.compress(json.dumps(chat(text="x" * 1_000_000)).encode())
    assert len(packed) < 4000
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    async with open_pair(SMALL) as pair:
        answer = await pair.client.post(CHAT, content=packed, headers=headers)
    assert 413 == answer.status_code
    assert "larger than 4000 bytes" in told(CHAT, answer.json())


@pytest.mark.parametrize("path", ["/api/chat", CHAT])
async def test_nesting_without_end_does_no_harm(pair: Pair, path: str) -> None:
    """A million brackets are an answer like any other, with the settings as they are."""
    answer = await pair.client.post(
        path, content=b"[" * 1_000_000, headers={"content-type": "application/json"}
    )
    assert 400 == answer.status_code
    assert "200 levels" in told(path, answer.json())


DEEP = {
    "brackets": (b"[[[[]]]]", True),
    "both kinds": (b'{"a":[{"b":[]}]}', True),
    "no more than may be": (b"[[[]]]", False),
    "many, not deep": (b"[" + b"[]," * 50 + b"[]]", False),
    "in a text": (b'["[[[[[[[["]', False),
    "in a text behind an escaped quote": (b'["\\"[[[[[[[["]', False),
    "in a text that ends with a backslash": (b'["\\\\",[[[0]]]]', True),
    "in two texts": (b'["[[","",[["]]"]]]', False),
    "never closed": (b"[[[[", True),
    "only closed": (b"]]]]]]]]", False),
}


@pytest.mark.parametrize(("body", "is_deep"), DEEP.values(), ids=DEEP.keys())
def test_depth_is_counted_outside_of_texts(body: bytes, is_deep: bool) -> None:
    """Whatever a text holds is no nesting."""
    limits = LimitSettings(json_depth=3)
    if is_deep:
        with pytest.raises(Refusal):
            check_depth(body, limits)
    else:
        check_depth(body, limits)
