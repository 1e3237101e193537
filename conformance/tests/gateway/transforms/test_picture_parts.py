"""Refused pictures in messages that are passed on: where they are, and how much is read for it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from gateway.transforms import _picture_parts
from gateway.transforms._picture_parts import refused_data
from gateway.transforms.passed_turns import behind_made_turns
from gateway.types import internal

LARGE = 100 * 1024


def webp(mark: str, size: int = 8) -> str:
    """Return what begins as a WebP in base64, and differs by its mark."""
    return "UklGRhoAAABXRUJQ" + mark * size


def url(data: str) -> str:
    """Return a data URL."""
    return f"data:image/webp;base64,{data}"


def sought(raw: bytes) -> tuple[list[str], int]:
    """Return what is found, and in how many steps."""
    steps, number = refused_data(Raw(raw)), 0
    while True:
        try:
            next(steps)
            number += 1
        except StopIteration as end:
            return end.value, number


@pytest.mark.parametrize("size", [8, LARGE])
@pytest.mark.parametrize("text", ["Fog?", "Fog " * LARGE])
def test_pictures_of_all_dialects_are_found(size: int, text: str) -> None:
    """In their order, however large they and what stands beside them are."""
    a, b, c, d = (webp(mark, size) for mark in "abcd")
    png = "iVBORw0KGgo=" + "e" * size
    source = {"type": "base64", "media_type": "image/webp", "data": c}
    messages = [
        {"role": "system", "content": text},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": text},
                {"type": "image_url", "image_url": {"url": url(a)}},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{png}"}},
                {"type": "input_image", "image_url": url(b)},
            ],
        },
        {"content": [{"type": "tool_result", "content": [{"type": "image", "source": source}]}]},
        {"type": "function_call_output", "output": [{"image_url": url(d), "type": "input_image"}]},
        {"role": "user", "content": url("UklGRhoAAABXRUJQ" + text)},
    ]

    assert [a, b, c, d] == sought(json.dumps(messages).encode())[0]


def test_one_picture_is_read_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no long text: what is decoded is counted."""
    read: list[int] = []
    real = _picture_parts.read_mended

    def counted(data: bytes | Raw) -> Any:
        read.append(len(memoryview(data)))
        return real(data)

    monkeypatch.setattr(_picture_parts, "read_mended", counted)
    pictures = [webp(mark, LARGE) for mark in "abcdef"]
    parts = [{"type": "image_url", "image_url": {"url": url(each)}} for each in pictures]
    text = {"type": "text", "text": "x" * 10 * LARGE}

    messages = [{"role": "user", "content": [text, *parts[:4]]}, {"content": [*parts[4:], text]}]

    found, steps = sought(json.dumps(messages).encode())

    assert pictures == found
    assert max(read) < LARGE + 200
    assert sum(read) < len(pictures) * (LARGE + 400)
    assert steps > len(pictures) + 2 * 10


@pytest.mark.parametrize(
    "raw", [b"[", b'"Fog?"', b"7", b"null", b"{}", b'[{"type":7}]', b"[1e999]"]
)
def test_what_has_no_picture_has_none(raw: bytes) -> None:
    """Broken JSON, too: LM Studio reports it."""
    assert [] == sought(raw)[0]


def test_a_picture_beside_a_lone_surrogate_is_converted_too() -> None:
    """LM Studio reads U+FFFD in its place; the picture must not be lost for it."""
    data = webp("a")
    text = b'{"type":"text","text":"\\ud800"}'
    part = json.dumps({"type": "image_url", "image_url": {"url": url(data)}}).encode()
    messages = b'[{"role":"user","content":[' + text + b"," + part + b"]}]"
    made = internal.MadeModel(parent="", license=[], parameters={}, messages=[])

    assert [data] == sought(messages)[0]
    changed = behind_made_turns(Raw(messages), made, {data: "iVBORw0KGgo="})
    assert isinstance(changed, list)
    (message,) = (json.loads(bytes(each)) for each in changed)
    assert "\ufffd" == message["content"][0]["text"]
    assert "data:image/png;base64,iVBORw0KGgo=" == message["content"][1]["image_url"]["url"]
