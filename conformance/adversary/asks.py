"""
What a hostile client sends: bytes, how they are cut, and what it does after them.

A request is `well` when a gateway has to serve it as if nothing were odd; then its answer is judged
by the act that it got. Any other may be refused in any way, or be answered.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from conformance.adversary.acts import mutate

After = Literal["read", "half", "close", "reset", "slow"]

MODEL: Final = "grove/fir"
ROUTES: Final = ("/api/chat", "/api/generate", "/v1/chat/completions")


@dataclass(frozen=True)
class Ask:
    """The bytes of a connection: of one request, or of several that are not waited for."""

    name: str
    pieces: list[bytes]
    tags: tuple[str, ...]
    route: str
    is_stream: bool
    after: After = "read"
    is_well: bool = False


def body_of(route: str, tag: str, *, is_stream: bool) -> bytes:
    """Return a request in which a tag stands."""
    if route == "/api/generate":
        return json.dumps({"model": MODEL, "prompt": f"{tag} hi", "stream": is_stream}).encode()
    messages = [{"role": "user", "content": f"{tag} hi"}]
    return json.dumps({"model": MODEL, "messages": messages, "stream": is_stream}).encode()


def request_of(route: str, body: bytes, more: str = "") -> bytes:
    """Return a request as it should be."""
    return (
        f"POST {route} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n{more}\r\n"
    ).encode() + body


def draw_ask(dice: random.Random, tags: tuple[str, ...], *, is_hostile: bool) -> Ask:
    """Return what a client sends; `tags` are for as many requests as it may send."""
    route, is_stream = dice.choice(ROUTES), dice.random() < 0.6
    kind = dice.choice(_KINDS) if is_hostile else _well
    return kind(dice, tags, route, is_stream)


def _request(tag: str, route: str, is_stream: bool) -> bytes:
    return request_of(route, body_of(route, tag, is_stream=is_stream))


def _cut_up(dice: random.Random, data: bytes) -> list[bytes]:
    if dice.random() < 0.5:
        return [data]
    place = dice.randrange(1, len(data))
    return [data[:place], data[place:]]


def _well(dice: random.Random, tags: tuple[str, ...], route: str, is_stream: bool) -> Ask:
    data = _request(tags[0], route, is_stream)
    return Ask("well", _cut_up(dice, data), tags[:1], route, is_stream, is_well=True)


def _cut(dice: random.Random, tags: tuple[str, ...], route: str, is_stream: bool) -> Ask:
    data = _request(tags[0], route, is_stream)
    place = dice.randrange(len(data))
    after: After = dice.choice(["half", "close", "reset"])
    return Ask("cut", [data[:place]], tags[:1], route, is_stream, after)


def _leaves(dice: random.Random, tags: tuple[str, ...], route: str, is_stream: bool) -> Ask:
    data = _request(tags[0], route, is_stream)
    after: After = dice.choice(["half", "close", "reset", "slow"])
    return Ask("leaves", [data], tags[:1], route, is_stream, after)


def _mutated(dice: random.Random, tags: tuple[str, ...], route: str, is_stream: bool) -> Ask:
    data = mutate(dice, _request(tags[0], route, is_stream))
    return Ask("mutated", _cut_up(dice, data), tags[:1], route, is_stream, "half")


def _mutated_body(dice: random.Random, tags: tuple[str, ...], route: str, is_stream: bool) -> Ask:
    body = mutate(dice, body_of(route, tags[0], is_stream=is_stream))
    data = request_of(route, body, "Connection: close\r\n")
    return Ask("mutated body", [data], tags[:1], route, is_stream)


def _pipelined(dice: random.Random, tags: tuple[str, ...], route: str, is_stream: bool) -> Ask:
    data = b"".join(_request(tag, route, is_stream) for tag in tags)
    return Ask("pipelined", _cut_up(dice, data), tags, route, is_stream, is_well=True)


def _chunked(dice: random.Random, tags: tuple[str, ...], route: str, is_stream: bool) -> Ask:
    """Small chunks, extensions and trailers; all of it is lawful."""
    body = body_of(route, tags[0], is_stream=is_stream)
    size = dice.choice([1, 5, 64])
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    data = b"".join(b"%x;a=b\r\n%b\r\n" % (len(part), part) for part in parts)
    trailers = b"".join(b"X-%d: %b\r\n" % (at, b"y" * 50) for at in range(dice.randrange(4)))
    framing = "Transfer-Encoding: chunked\r\n"
    start = request_of(route, b"", framing).replace(b"Content-Length: 0\r\n", b"")
    data = start + data + b"0\r\n" + trailers + b"\r\n"
    return Ask("chunked", _cut_up(dice, data), tags[:1], route, is_stream, is_well=True)


def _framing(dice: random.Random, tags: tuple[str, ...], route: str, is_stream: bool) -> Ask:
    """Two ways to read where a request ends: what hides in the first must not be served."""
    hidden = _request(tags[1], route, is_stream)
    odd = dice.choice(
        ["Transfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked, identity\r\n",
         "Transfer-Encoding:\tchunked\r\n", "Transfer-Encoding : chunked\r\n",
         "Content-Length: 0\r\n", "Content-Length: +5\r\n", "Content-Length: 5, 5\r\n",
         "X: y\r\n Content-Length: 1\r\n"]
    )  # fmt: skip
    data = request_of(route, b"0\r\n\r\n" + hidden, odd)
    return Ask("framing", [data], tags[:2], route, is_stream, "half")


def _flood(dice: random.Random, tags: tuple[str, ...], route: str, is_stream: bool) -> Ask:
    """Very many small headers, chunks or trailers."""
    body = body_of(route, tags[0], is_stream=is_stream)
    number = dice.choice([100, 5000])
    if dice.random() < 0.5:
        more = "".join(f"X-{at}: y\r\n" for at in range(number))
        return Ask("headers", [request_of(route, body, more)], tags[:1], route, is_stream, "half")
    start = request_of(route, b"", "Transfer-Encoding: chunked\r\n")
    start = start.replace(b"Content-Length: 0\r\n", b"")
    filler = b"1\r\n \r\n" * number
    end = b"0\r\n" + dice.choice([b"", b"X: y\r\n" * number]) + b"\r\n"
    data = start + filler + b"%x\r\n%b\r\n" % (len(body), body) + end
    return Ask("chunks", [data], tags[:1], route, is_stream, "half")


def _large(dice: random.Random, tags: tuple[str, ...], route: str, is_stream: bool) -> Ask:
    """Bodies that are read in slices: valid, broken at the end, odd."""
    body = body_of(route, tags[0], is_stream=is_stream)
    size = dice.choice([30_000, 600_000, 1_500_000])
    filler = dice.choice(
        [b'"x":[' + b"1," * (size // 2) + b"1]", b'"x":"' + b"y" * size + b'"',
         b'"x":' + b"[" * 150 + b"]" * 150, b'"x":[' + b"[[[]]]," * (size // 7) + b"1]",
         b'"x":"' + b"\\ud83d" * (size // 6) + b'"', b" " * size + b'"x":1']
    )  # fmt: skip
    end = dice.choice([b"}", b"}", b"!", b""])
    data = request_of(route, body[:-1] + b"," + filler + end, "Connection: close\r\n")
    return Ask("large", [data], tags[:1], route, is_stream)


def _packed(dice: random.Random, tags: tuple[str, ...], route: str, is_stream: bool) -> Ask:
    """A packed body: sound, cut, or one that becomes a thousand times as long."""
    body = body_of(route, tags[0], is_stream=is_stream)
    if dice.random() < 0.3:
        body = body[:-1] + b',"x":"' + b" " * 6_000_000 + b'"}'
    packed = gzip.compress(body, mtime=0)
    if dice.random() < 0.3:
        packed = packed[: dice.randrange(len(packed))]
    more = "Content-Encoding: gzip\r\nConnection: close\r\n"
    return Ask("packed", [request_of(route, packed, more)], tags[:1], route, is_stream)


_KINDS: Final[list[Callable[[random.Random, tuple[str, ...], str, bool], Ask]]] = [
    _cut, _leaves, _mutated, _mutated, _mutated_body, _mutated_body, _pipelined, _chunked, _framing,
    _flood, _large, _packed, _well,
]  # fmt: skip
