"""
The fault matrix: every fault on every route, streamed and not, judged by one table.

This module reads `matrix.yaml`, sends requests as each route's client does, and describes in one
line what such a client got. The stand-in acts faults out, and the table has the expected results.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx
from ruamel.yaml import YAML

from conformance.standin.catalogue import EMBEDDING, PLAIN
from gateway.upstream.sse import SseDecoder

TABLE = Path(__file__).with_name("matrix.yaml")
ROUTES = ("chat", "generate", "embed", "v1")
FORMS = ("streamed", "one_shot")
CUTS = ("whole", "bytes")
MUCH = "much " * 250_000
"""What a stream says that is larger than a mebibyte; the table writes MUCH."""

Cut = Literal["whole", "bytes"]


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    expect: dict[str, str]
    fault: str | None = None
    upstream: str | None = None
    status: int = 200
    type: str | None = None
    body: str | None = None
    stream: tuple[str, ...] = ()
    raw: str | None = None
    joined: str = ""
    end: str = "finish"
    whole: bool = False

    def expected(self, route: str, form: str) -> str:
        """Return what a client of this route gets, "-" when the row is not for it."""
        for key in (f"{route}.{form}", route, form, "all"):
            if key in self.expect:
                return self.expect[key].replace("MUCH", MUCH.strip())
        raise ValueError(f"{TABLE.name}: {self.name}: nothing is expected of {route}.{form}")

    @property
    def payload(self) -> bytes:
        """The bytes of the answer, where the row gives any."""
        if self.raw is not None:
            return self.raw.encode()
        if not self.stream:
            return (self.body or "").encode()
        text = "".join(f"{_event(line)}\n\n" for line in self.stream)
        return (text.replace("\n", "\r\n") if self.joined == "crlf" else text).encode()

    def rule(self, cut: Cut) -> dict[str, Any]:
        """Return the stand-in's rule that acts the row out on every inference route."""
        match = {"method": "POST", "path": "/v1/*"}
        if self.fault is not None:
            return {"match": match, "fault": self.fault}
        data = self.payload
        pieces = [data[n : n + 1] for n in range(len(data))] if cut == "bytes" else [data]
        is_stream = bool(self.stream) or self.raw is not None
        kind = self.type or ("text/event-stream" if is_stream else "application/json")
        chunks = [[0, {"base64": base64.b64encode(piece).decode()}] for piece in pieces]
        answer = {"status": self.status, "chunks": chunks, "end": self.end}
        return {"match": match, "answer": {**answer, "headers": {"Content-Type": kind}}}


def _event(line: str) -> str:
    if line == "!":
        return "data: [DONE]"
    if line.startswith("+"):
        said = line[1:].replace("MUCH", MUCH.strip())
        return "data: " + json.dumps(
            {"choices": [{"index": 0, "delta": {"content": said}}]}, ensure_ascii=False
        )
    if line.startswith("="):
        return "data: " + json.dumps(
            {"choices": [{"index": 0, "delta": {}, "finish_reason": line[1:]}]}
        )
    return line


def read_rows() -> list[Row]:
    """Return the table."""
    plain = YAML(typ="safe").load(TABLE.read_text(encoding="utf-8"))
    return [
        Row(**{**row, "name": str(row["name"]), "stream": tuple(row.get("stream", ()))})
        for row in plain["rows"]
    ]


@dataclass
class Got:
    """What a client understood of an answer: what was said, and how it ended."""

    said: str = ""
    error: str | None = None
    is_over: bool = False
    is_broken: bool = False
    odd: list[str] = field(default_factory=list)

    def told(self) -> str:
        """Return it in the words of the table."""
        if self.odd:
            return "odd " + "; ".join(self.odd)
        if self.is_broken:
            return "broken"
        if self.error is not None:
            return f"line {self.error}"
        return f"says {self.said}" if self.is_over else "no end"


async def ask(client: httpx.AsyncClient, route: str, form: str) -> str:
    """Ask a route as its clients do; return what came in the words of the table."""
    streamed = form == "streamed"
    said = [{"role": "user", "content": "Why?"}]
    requests: dict[str, tuple[str, dict[str, Any]]] = {
        "chat": ("/api/chat", {"model": PLAIN.key, "messages": said}),
        "generate": ("/api/generate", {"model": PLAIN.key, "prompt": "Why?"}),
        "embed": ("/api/embed", {"model": EMBEDDING.key, "input": "Why?"}),
        "v1": ("/v1/chat/completions", {"model": PLAIN.key, "messages": said}),
    }
    path, body = requests[route]
    try:
        answer = await client.post(path, json={**body, "stream": streamed})
    except httpx.RemoteProtocolError:
        return "cut"
    if answer.status_code != 200:
        return f"{answer.status_code} {_error_of(answer.text)}"
    if route == "v1":
        return (_read_events(answer) if streamed else _read_choice(answer)).told()
    if route == "embed":
        return f"says {answer.json()['embeddings'][0]}"
    return _read_frames(answer, route, streamed).told()


def _error_of(text: str) -> str:
    """Return the text of an error body; a body that is not a gateway's error is marked as odd."""
    try:
        error = json.loads(text)["error"]
    except (ValueError, KeyError, TypeError):
        return f"odd body {text!r}"
    return str(error["message"] if isinstance(error, dict) else error)


def _read_frames(answer: httpx.Response, route: str, streamed: bool) -> Got:
    got = Got()
    lines = answer.text.removesuffix("\n").split("\n")
    if "" in lines or (not streamed and len(lines) != 1):
        got.odd.append("a blank line, or several of one answer")
    for line in lines:
        frame = json.loads(line)
        if got.is_over or got.error is not None:
            got.odd.append("something after the end")
        if "error" in frame:
            got.error = frame["error"]
            continue
        piece = frame["message"]["content"] if route == "chat" else frame["response"]
        got.said += piece
        got.is_over = frame["done"]
    got.said = got.said.strip()
    return got


def _read_events(answer: httpx.Response) -> Got:
    got = Got()
    if not answer.headers["content-type"].startswith("text/event-stream"):
        return _read_choice(answer)
    decoder = SseDecoder()
    for event in decoder.feed(answer.content) + decoder.close():
        if event.data == b"[DONE]":
            got.is_over = True
            continue
        try:
            chunk = json.loads(event.data)
        except ValueError:
            got.is_broken = True
            continue
        if chunk.get("error"):
            got.error = _error_of(event.data.decode())
            continue
        for choice in chunk.get("choices", ())[:1]:
            got.said += choice["delta"].get("content") or ""
            got.is_over = got.is_over or bool(choice.get("finish_reason"))
    got.said = got.said.strip()
    return got


def _read_choice(answer: httpx.Response) -> Got:
    try:
        whole = answer.json()
    except ValueError:
        return Got(is_broken=True)
    if whole.get("error"):
        return Got(odd=["an error under status 200"])
    choices = whole.get("choices") or [{}]
    return Got(said=(choices[0].get("message") or {}).get("content") or "", is_over=True)


def fits(expected: str, told: str) -> bool:
    """Whether what came is what the table expects: exactly for `says`, by its words otherwise."""
    kind, _, words = expected.partition(" ")
    found, _, text = told.partition(" ")
    if kind != found:
        return False
    return words == text if kind == "says" else words in text
