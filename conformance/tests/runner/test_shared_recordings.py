"""
Everything that is recorded of LM Studio: read by the generated types, translated, mapped or passed.

A recording belongs to one of four kinds, by its path and status, and none may be of another: bodies
of routes that the gateway calls, streams of those, errors, and routes that it only passes through.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from conformance.runner.client import ask
from conformance.runner.runner import Bench
from conformance.runner.shared_cases import find_shared
from conformance.suite.fixture import encode
from conformance.suite.judge import Answer
from gateway.types import lmstudio, openai

SHARED = find_shared()
assert SHARED is not None, "conftest.py leaves this file out without the shared material"
MODEL = "tiny-plain-1b-instruct"
EMBED = "text-embedding-tiny-v1"
CHAT = "/v1/chat/completions"

TYPES: dict[str, type] = {
    "/api/v1/models": lmstudio.V1ModelList,
    "/api/v1/models/load": lmstudio.LoadResponse,
    "/api/v1/models/unload": lmstudio.UnloadResponse,
    "/api/v0/models": lmstudio.V0ModelList,
    "/v1/models": openai.ModelList,
    CHAT: openai.ChatCompletionChunk,
    "/v1/completions": openai.Completion,
    "/v1/embeddings": openai.EmbeddingsResponse,
}
ITEMS: dict[str, tuple[str, type]] = {
    "/api/v1/models": ("models", lmstudio.V1Model),
    "/api/v0/models": ("data", lmstudio.V0Model),
    "/v1/models": ("data", openai.ModelEntry),
}
"""Lists whose entries are decoded one by one, so that one odd model hides no other."""

PASSED = ("/v1/responses", "/api/v0/", "/api/v1/chat", "/api/v1/models/download")
"""Routes that the gateway only passes through; it has no types for them."""


@dataclass(frozen=True)
class Recording:
    """One exchange; `status` is None where it was not noted."""

    name: str
    method: str
    path: str
    status: int | None
    body: Any
    sse: str | None
    trimmed: bool

    @property
    def is_error(self) -> bool:
        """Say whether LM Studio refused, with a status or without."""
        stated = isinstance(self.body, dict) and self.body.get("error") not in (None, "")
        return (self.status or 200) >= 400 or stated

    @property
    def raw(self) -> bytes:
        """Return the body as bytes."""
        if self.sse is not None:
            return self.sse.encode()
        if isinstance(self.body, str):
            return self.body.encode()
        return json.dumps(self.body).encode()


def read_all() -> dict[str, Recording]:
    """Read every recording."""
    assert SHARED is not None
    found = {}
    for path in sorted((SHARED / "recordings" / "lmstudio").glob("*.json")):
        found[path.stem] = read(path)
    return found


def read(path: Path) -> Recording:
    """Read one recording; a trimmed body counts as far as it goes."""
    value = json.loads(path.read_text("utf-8"))
    asked, got = value["request"], value["response"]
    body = next((got[key] for key in ("body", "body_fragment", "body_text") if key in got), None)
    sse = got.get("sse")
    if sse is None and "chunks" in got:
        sse = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in got["chunks"])
    return Recording(
        path.stem,
        asked["method"],
        asked["path"],
        got.get("status"),
        body,
        sse,
        "body_fragment" in got,
    )


ALL = read_all()
ERRORS = [name for name, one in ALL.items() if one.is_error]
STREAMS = [
    name for name, one in ALL.items() if one.sse and one.path in (CHAT, f"/api/v0{CHAT[3:]}")
]
BODIES = [
    name
    for name, one in ALL.items()
    if one.path in TYPES and isinstance(one.body, dict) and name not in ERRORS
]
PASSING = [name for name, one in ALL.items() if one.path.startswith(PASSED)]
ODD = {
    "lmstudio-greeting": "a route that only LM Studio's own programs ask",
    "oai-chat-unknown-model-single-loaded-0.3.14": "its body is cut off",
}
"""What belongs to no kind, and why."""


def test_every_recording_has_a_kind() -> None:
    """Nothing is left out silently, and nothing excused that is looked at."""
    kinds = {*ERRORS, *STREAMS, *BODIES, *PASSING}

    assert len(ALL) > 100
    assert set(ODD) == set(ALL) - kinds


@pytest.mark.parametrize("name", BODIES)
def test_a_body_is_read_whole(name: str) -> None:
    """It decodes with the generated type, if it is whole, and no key of it is unknown."""
    one = ALL[name]

    if not one.trimmed:
        msgspec.json.decode(one.raw, type=TYPES[one.path])
    assert [] == list(unknown_keys(one.body, TYPES[one.path]))
    if one.path in ITEMS:
        key, kind = ITEMS[one.path]
        assert one.body[key]
        for item in one.body[key]:
            msgspec.convert(item, kind)
            assert [] == list(unknown_keys(item, kind))


@pytest.mark.parametrize("name", STREAMS)
def test_every_event_is_read_whole(name: str) -> None:
    """So does every event of a stream."""
    payloads = [line[6:] for line in (ALL[name].sse or "").split("\n") if line[:7] == "data: {"]

    assert payloads
    for text in payloads:
        msgspec.json.decode(text, type=openai.ChatCompletionChunk)
        assert [] == list(unknown_keys(json.loads(text), openai.ChatCompletionChunk))


def unknown_keys(value: Any, kind: type, path: str = "") -> Iterator[str]:
    """Yield the paths of all keys of a JSON value that a generated type lacks."""
    yield from _unknown(value, inspect.type_info(kind), path)


def _unknown(value: Any, kind: inspect.Type, path: str) -> Iterator[str]:
    match kind:
        case inspect.UnionType():
            fitting = [one for one in kind.types if isinstance(one, _form_of(value))]
            found = [list(_unknown(value, one, path)) for one in fitting]
            yield from min(found, key=len, default=[])
        case inspect.StructType() if isinstance(value, dict):
            fields = {field.encode_name: field.type for field in kind.fields}
            for key, item in value.items():
                if key in fields:
                    yield from _unknown(item, fields[key], f"{path}.{key}")
                else:
                    yield f"{path}.{key}"
        case inspect.ListType() if isinstance(value, list):
            for number, item in enumerate(value):
                yield from _unknown(item, kind.item_type, f"{path}.{number}")


def _form_of(value: Any) -> tuple[type, ...]:
    if isinstance(value, dict):
        return (inspect.StructType, inspect.DictType, inspect.RawType, inspect.AnyType)
    if isinstance(value, list):
        return (inspect.ListType, inspect.RawType, inspect.AnyType)
    return ()


def test_unknown_keys_are_found() -> None:
    """The walk can fail, at any depth."""
    chunk = {"id": "1", "choices": [{"index": 0, "delta": {"content": "a", "odd": 1}}], "more": 2}

    found = list(unknown_keys(chunk, openai.ChatCompletionChunk))

    assert [".choices.0.delta.odd", ".more"] == found


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_translated(gateway_bench: Bench, name: str) -> None:
    """It ends once: done, or with an error where the recording has no finish."""
    one = ALL[name]

    answer = send(gateway_bench, one, CHAT, "text/event-stream", "/api/chat")

    frames = [json.loads(line) for line in answer.body.splitlines()]
    finished = any(
        choice.get("finish_reason")
        for line in (one.sse or "").split("\n")
        if line[:7] == "data: {"
        for choice in json.loads(line[6:]).get("choices", ())
    )
    assert 200 == answer.status, answer.body[:300]
    assert [False] * (len(frames) - 1) == [frame["done"] for frame in frames[:-1]]
    assert finished == (frames[-1].get("done") is True)
    assert finished != ("error" in frames[-1])


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_mapped(gateway_bench: Bench, name: str) -> None:
    """The client gets a refusal in its own form, and LM Studio's words where they help."""
    one = ALL[name]
    embeds = one.path.endswith("/embeddings")
    target = "/v1/embeddings" if embeds else CHAT

    answer = send(
        gateway_bench, one, target, "application/json", "/api/embed" if embeds else "/api/chat"
    )

    body = json.loads(answer.body)
    assert ["error"] == list(body)
    assert 400 <= answer.status <= 504
    expected = {401: {502}, 404: {404, 400}, 500: {500}, 400: {400, 404, 500}}
    assert answer.status in expected.get(one.status or 0, {400, 404, 500, 501, 502})
    if answer.status not in (404, 501) and one.status != 401:
        assert words_of(one.body)[:40] in body["error"]


def words_of(body: Any) -> str:
    """Return the message of an error in any of its envelopes."""
    error = body.get("error") if isinstance(body, dict) else body
    text = error.get("message", "") if isinstance(error, dict) else error
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize("name", PASSING)
def test_what_is_passed_through_stays_as_it_is(gateway_bench: Bench, name: str) -> None:
    """Routes that the gateway does not read reach the client byte for byte."""
    one = ALL[name]
    kind = "text/event-stream" if one.sse else "application/json"

    answer = send(gateway_bench, one, one.path, kind, one.path, method=one.method)

    assert (one.status or 400) == answer.status, answer.body[:300]
    assert one.raw == answer.body


def send(
    bench: Bench, one: Recording, target: str, kind: str, path: str, method: str = "POST"
) -> Answer:
    """Let the stand-in answer a path with the recording, and ask the gateway."""
    status = one.status or (400 if one.is_error else 200)
    rule = {
        "match": {"path": target},
        "answer": {
            "status": status,
            "headers": {"content-type": kind},
            "chunks": [[0, encode(one.raw)]],
        },
    }
    embeds = path.endswith(("embed", "embeddings"))
    wanted = {"input": "a"} if embeds else {"messages": [{"role": "user", "content": "a"}]}
    request = {"model": EMBED if embeds else MODEL, **wanted}
    settings = {"answers": {"wrong_model": "warn"}, "models": {"load_timeout_s": 0.05}}

    async def work() -> Answer:
        pair = await bench.pair_for(settings)
        assert pair.control is not None
        await pair.control.reset()
        await pair.control.script([rule])
        body = json.dumps(request).encode() if method == "POST" else None
        return await ask(pair.gateway_url, method, path, body=body)

    answer: Answer = bench.submit(work)
    return answer
