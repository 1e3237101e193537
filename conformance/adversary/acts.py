"""
What a hostile LM Studio answers: bytes, how they are cut and how the connection ends.

Each act is drawn with dice, and says what a client may be told of it. `whole` is an answer that has
come to its end, `cut` one that has not, whatever else is wrong with it; `odd` may be taken for
either.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

Truth = Literal["whole", "cut", "odd"]
End = Literal["keep", "close", "reset", "half", "hold"]

WORDS: Final = ("fog", "pier", "lantern", "tide")


@dataclass(frozen=True)
class Act:
    """One answer; `pieces` are written one after the other."""

    name: str
    pieces: list[bytes]
    end: End = "keep"
    truth: Truth = "odd"
    text: str = field(default="", compare=False)
    """What a client must be told of a whole one."""


def chunk_of(text: str, finish: str | None = None) -> bytes:
    """Return an event of a stream."""
    delta = {"content": text} if text else {}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    event = {"id": "c", "object": "chat.completion.chunk", "model": "fir", "choices": [choice]}
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def stream_of(tag: str, words: int = 4) -> tuple[bytes, str]:
    """Return a whole event stream, and its text, in which the tag stands."""
    texts = [f"{tag} ", *(WORDS[at % len(WORDS)] + " " for at in range(words)), tag]
    events = [chunk_of(text) for text in texts]
    events += [chunk_of("", "stop"), b"data: [DONE]\n\n"]
    return b"".join(events), "".join(texts)


def one_of(tag: str) -> tuple[bytes, str]:
    """Return a whole answer in one object, and its text."""
    text = f"{tag} fog {tag}"
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return json.dumps({"id": "c", "object": "chat.completion", "choices": [choice]}).encode(), text


def head(
    body: bytes | None, kind: str = "text/event-stream", status: str = "200 OK", more: str = ""
) -> bytes:
    """Return the head of an answer: with the length of a body, or for chunks."""
    framing = "Transfer-Encoding: chunked" if body is None else f"Content-Length: {len(body)}"
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{framing}\r\n{more}\r\n".encode()


def chunked(body: bytes, size: int) -> bytes:
    """Return a body in chunks of a size, with its last chunk."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def draw_act(dice: random.Random, tag: str, *, is_stream: bool) -> Act:
    """Return an answer to a request with a tag; one of four is as it should be."""
    kind = dice.choice([_well, *_KINDS])
    return kind(dice, tag, is_stream)


def _good(dice: random.Random, tag: str, is_stream: bool) -> tuple[bytes, str, int]:
    """Return all bytes of a good answer, its text, and up to where a cut one is not complete."""
    if is_stream:
        body, text = stream_of(tag, dice.randrange(12))
        size = dice.choice([1, 7, 50, 1000])
        before = body.rfind(b'"stop"') // size * size
        sure = len(head(None)) + len(chunked(body[:before], size)) - len(b"0\r\n\r\n")
        return head(None) + chunked(body, size), text, sure
    body, text = one_of(tag)
    data = head(body, "application/json") + body
    return data, text, len(data)


def _pieces(dice: random.Random, data: bytes) -> list[bytes]:
    """Cut bytes at random places."""
    places = sorted(dice.randrange(len(data) + 1) for _ in range(dice.randrange(4)))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True) if b > a]


def _well(dice: random.Random, tag: str, is_stream: bool) -> Act:
    data, text, _ = _good(dice, tag, is_stream)
    return Act("well", _pieces(dice, data), "keep", "whole", text)


def _cut(dice: random.Random, tag: str, is_stream: bool) -> Act:
    """At every byte before the end; before the finish reason, no client may be told of an end."""
    data, _, sure = _good(dice, tag, is_stream)
    place = dice.randrange(len(data))
    end: End = dice.choice(["close", "reset", "half"])
    return Act("cut", _pieces(dice, data[:place]), end, "cut" if place < sure else "odd")


def _silent(dice: random.Random, tag: str, is_stream: bool) -> Act:
    """No more bytes, and no end."""
    data, _, sure = _good(dice, tag, is_stream)
    place = dice.randrange(sure)
    return Act("silent", [data[:place]], "hold", "cut")


def _mutated(dice: random.Random, tag: str, is_stream: bool) -> Act:
    data, *_ = _good(dice, tag, is_stream)
    return Act("mutated", _pieces(dice, mutate(dice, data)), "close")


def _trailers(dice: random.Random, tag: str, is_stream: bool) -> Act:
    body, text = stream_of(tag) if is_stream else one_of(tag)
    data = head(None, "text/event-stream" if is_stream else "application/json")
    if dice.random() < 0.5:
        # A length after the body contradicts the chunks.
        data += chunked(body, 40)[:-2] + b"Content-Length: 3\r\n\r\n"
        return Act("length as a trailer", _pieces(dice, data))
    data += chunked(body, 40)[:-2] + b"X-Late: 1\r\nX-Later: 2\r\n\r\n"
    return Act("trailers", _pieces(dice, data), "keep", "whole", text)


def _packed(dice: random.Random, tag: str, is_stream: bool) -> Act:
    """Although nobody asked for it; and one that is cut within what is packed."""
    body, text = stream_of(tag) if is_stream else one_of(tag)
    packed = gzip.compress(body, mtime=0)
    is_cut = dice.random() < 0.5
    sent = packed[: dice.randrange(1, len(packed) // 2)] if is_cut else packed
    kind = "text/event-stream" if is_stream else "application/json"
    data = head(sent, kind, more="Content-Encoding: gzip\r\n") + sent
    return Act("packed", [data], "keep", "cut" if is_cut else "whole", "" if is_cut else text)


def _flood(dice: random.Random, tag: str, is_stream: bool) -> Act:
    """Many small things before the answer: comments, interim answers, empty events, chunks."""
    data, text, _ = _good(dice, tag, is_stream)
    number = dice.choice([10, 300])
    if not is_stream or dice.random() < 0.3:
        return Act("interim", [b"HTTP/1.1 102 Processing\r\n\r\n" * number, data], "keep", "odd")
    body, text = stream_of(tag, 200)
    before = dice.choice([b": ping\n\n", b"event: x\n\n", b"\n\n", b"id: 1\nretry: 5\n\n"])
    data = head(None) + chunked(before * number + body, 3)
    return Act("flood", [data], "keep", "whole", text)


def _lengths(dice: random.Random, tag: str, is_stream: bool) -> Act:
    """A length that is not the body's."""
    body, _ = stream_of(tag) if is_stream else one_of(tag)
    kind = "text/event-stream" if is_stream else "application/json"
    claimed = body + b"x" * dice.randrange(1, 50)
    if dice.random() < 0.5:
        sure = body.rfind(b'"stop"') if is_stream else len(body)
        return Act("too short", [head(claimed, kind) + body[:sure]], "close", "cut")
    return Act("too long", [head(body[:-10], kind) + body], "close")


def _odd(dice: random.Random, tag: str, is_stream: bool) -> Act:
    """Statuses, kinds and bodies that no answer should have."""
    body, _ = stream_of(tag) if is_stream else one_of(tag)
    status = dice.choice(
        ["200 OK", "204 No Content", "206 Partial", "101 Switching Protocols", "304 Not Modified",
         "302 Found", "401 Unauthorized", "404 Not Found", "500 X", "503 Busy", "599 Odd", "999 No",
         "000 Nothing"]
    )  # fmt: skip
    kind = dice.choice(["text/html", "application/json", "text/event-stream", ""])
    other = dice.choice(
        [b"", b"null", b"[]", b"{}", b'{"error":{"message":"no"}}', b'{"error":"no"}', b"<html>",
         b"data: null\n\n", b"data: {}\n\n", b'data: {"error":"no"}\n\n', b"\xff\xfe\x00", body]
    )  # fmt: skip
    return Act("odd", [head(other, kind, status) + other], dice.choice(["keep", "close"]))


def _large(dice: random.Random, tag: str, is_stream: bool) -> Act:
    """Much of everything: one long text, one long line, a long head."""
    size = dice.choice([70_000, 400_000])
    if dice.random() < 0.3:
        return Act("long head", [head(b"", more="X-Long: " + "x" * size + "\r\n")], "close", "cut")
    if not is_stream:
        body, _ = one_of(tag)
        return Act("blanks", [head(b" " * size + body, "application/json"), b" " * size, body])
    text = f"{tag} " + "x" * size
    body = chunk_of(text) + chunk_of("", "stop") + b"data: [DONE]\n\n"
    return Act("large", [head(None) + chunked(body, 9000)], "keep", "whole", text)


_KINDS: Final[list[Callable[[random.Random, str, bool], Act]]] = [
    _cut, _cut, _cut, _mutated, _mutated, _trailers, _packed, _flood, _lengths, _odd, _large, _well,
    _well,
]  # fmt: skip


def draw_silence(dice: random.Random, tag: str, *, is_stream: bool) -> Act:
    """Return an answer that stops without an end; it takes as long as the gateway's limits."""
    return _silent(dice, tag, is_stream)


def mutate(dice: random.Random, data: bytes) -> bytes:
    """Return bytes with one to four changes."""
    for _ in range(dice.randrange(1, 5)):
        at = dice.randrange(len(data) + 1)
        change = dice.randrange(5)
        if change == 0:
            data = data[:at] + bytes((dice.randrange(256),)) + data[at + 1 :]
        elif change == 1:
            data = data[:at] + data[at + dice.randrange(1, 9) :]
        elif change == 2:
            data = data[:at] + dice.choice(_INSERTED) + data[at:]
        elif change == 3:
            data = data[:at] + data[at : at + 30] * 3 + data[at + 30 :]
        else:
            data = data[:at] + data[at : at + 20].swapcase() + data[at + 20 :]
    return data


_INSERTED = (
    b"\r\n", b"\n", b"\r", b"\0", b"\r\n\r\n", b" ", b"\t", b":", b"0\r\n\r\n", b"\xff\xfe",
    b"{", b"}", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"[" * 300, b'"',
    b"\\ud800", b"1e999", b"null", b"data: ", b"\xe2\x80\xa8",
)  # fmt: skip
