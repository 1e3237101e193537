"""
One request of the soak: what is asked, how its answer is read, and whether that answer is true.

This module has the kinds of requests and of clients, and judges one answer. `run` chooses their
numbers, and checks what the gateway holds in the end.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import aiohttp
from aiohttp.client import _RequestContextManager

from conformance.soak.patience import Patience
from conformance.standin.catalogue import EMBEDDING, PLAIN
from conformance.standin.faults import FAULTS

PATIENCE_S = 120.0
"""
Seconds that no answer of the soak takes unless something hangs; a wait for a processor is none.
"""

LAST_WORDS = 300
MOST_MB = 20
"""Megabytes of the largest prompts."""
SLOW_READ_BYTES = 64 * 1024
SLOW_READ_S = 0.1
FILLER = "%fill%"
"""Stands in a prompt for megabytes, which are not encoded for each request."""
_FILL = b"x" * (64 * 1024)
IN_TIME = b"did not answer in time"
"""What the gateway says of a time limit."""
LARGE = "large-answer;"
"""In a prompt: the answer is one of several MiB, as fast as it is taken."""

FAULT_IDS = tuple(name for name, fault in FAULTS.items() if fault.way in ("instead", "midway"))
"""The faults that a stand-in can act out, and that no answer may hide."""


class Manner(StrEnum):
    """What a client does."""

    READS = "reads to the end"
    LEAVES_EARLY = "leaves before the answer"
    LEAVES_MIDWAY = "leaves within the answer"
    READS_SLOWLY = "reads slowly"


class Outcome(StrEnum):
    """What became of a request."""

    WHOLE = "whole"
    ERROR = "error"
    LATE = "an error of time"
    LEFT = "left"
    CUT = "cut"
    HUNG = "hung"
    UNCLEAR = "ended without a word"


@dataclass(frozen=True)
class Asking:
    """One request; `tag` stands in its prompt, so that the stand-in's side of it can be found."""

    tag: str
    path: str
    body: dict[str, Any]
    manner: Manner
    fault: str | None = None
    filled: int = 0
    """Bytes that stand in its prompt in place of `FILLER`."""

    def encoded(self) -> tuple[list[memoryview], int]:
        """Return the JSON of its body in pieces, which share what fills it, and its size."""
        start, _, end = json.dumps(self.body).partition(FILLER)
        full, rest = divmod(self.filled, len(_FILL))
        fill = memoryview(_FILL)
        pieces = [memoryview(start.encode()), *[fill] * full, fill[:rest], memoryview(end.encode())]
        return [piece for piece in pieces if piece], sum(map(len, pieces))

    @property
    def is_stream(self) -> bool:
        """Whether its answer comes in pieces."""
        return bool(self.body.get("stream"))


def draw(dice: random.Random, tag: str, large: float = 0.0) -> Asking:
    """
    Return a request as the dice fall: most read on, some leave, few are slow.

    `large` is the part of the requests whose prompt has 1 to 20 MB.
    """
    manner = dice.choices(
        list(Manner),
        weights=[76, 10, 10, 4],
    )[0]
    fault = dice.choice(FAULT_IDS) if manner == Manner.READS and dice.random() < 0.2 else None
    prompt = f"tag={tag}; {dice.getrandbits(64):x} "
    if fault is not None:
        prompt += f"fault={fault};"
    if manner == Manner.READS_SLOWLY:
        prompt += LARGE
    filled = 0
    if large and dice.random() < large:
        filled = dice.randint(1, MOST_MB) * 10**6
        prompt += " " + FILLER
    streamed = manner in (Manner.READS_SLOWLY, Manner.LEAVES_MIDWAY) or dice.random() < 0.7
    messages = [{"role": "user", "content": prompt}]
    kind = dice.choice(("chat", "generate", "passed", "embed" if not streamed else "chat"))
    match kind:
        case "chat":
            body: dict[str, Any] = {"model": PLAIN.key, "messages": messages, "stream": streamed}
            return Asking(tag, "/api/chat", body, manner, fault, filled)
        case "generate":
            body = {"model": PLAIN.key, "prompt": prompt, "stream": streamed}
            return Asking(tag, "/api/generate", body, manner, fault, filled)
        case "embed":
            body = {"model": EMBEDDING.key, "input": prompt}
            return Asking(tag, "/api/embed", body, manner, fault, filled)
        case _:
            body = {"model": PLAIN.key, "messages": messages, "stream": streamed}
            if not streamed:
                # It answers only when all is there, which must be within the time limits.
                body["max_tokens"] = 20
            return Asking(tag, "/v1/chat/completions", body, manner, fault, filled)


async def ask(
    session: aiohttp.ClientSession, asking: Asking, dice: random.Random, patience: Patience
) -> tuple[Outcome, str]:
    """Carry a request out in its client's manner; return what became of it, and its last words."""
    try:
        async with patience.limit():
            if asking.manner == Manner.LEAVES_EARLY:
                await _leave_early(session, asking, dice.random() * 0.5)
                return Outcome.LEFT, ""
            async with _post(session, asking) as answer:
                if asking.manner == Manner.LEAVES_MIDWAY and answer.status == 200:
                    await answer.content.readany()
                    answer.close()
                    return Outcome.LEFT, ""
                end = await _read(answer, is_slow=asking.manner == Manner.READS_SLOWLY)
                words = f"{answer.status} {end[-LAST_WORDS:].decode('utf-8', 'replace')}"
                return judge(asking, answer.status, end), words
    except TimeoutError:
        return Outcome.HUNG, ""
    except aiohttp.ClientError as problem:
        return Outcome.CUT, repr(problem)


def _post(session: aiohttp.ClientSession, asking: Asking) -> _RequestContextManager:
    pieces, size = asking.encoded()
    headers = {"Content-Type": "application/json", "Content-Length": str(size)}
    return session.post(asking.path, data=_each(pieces), headers=headers)


async def _each(pieces: list[memoryview]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield bytes(piece)


async def _leave_early(session: aiohttp.ClientSession, asking: Asking, after_s: float) -> None:
    try:
        async with asyncio.timeout(after_s), _post(session, asking) as answer:
            answer.close()
    except TimeoutError:
        return


async def _read(answer: aiohttp.ClientResponse, *, is_slow: bool) -> bytes:
    """Return the end of a body; nothing more of it is kept."""
    end = b""
    while piece := await answer.content.read(SLOW_READ_BYTES):
        end = (end + piece)[-SLOW_READ_BYTES:]
        if is_slow:
            await asyncio.sleep(SLOW_READ_S)
    return end


def judge(asking: Asking, status: int, end: bytes) -> Outcome:
    """
    Tell what an answer says of itself: that it is whole, or that it is not.

    An answer that says neither, and so could pass for a whole one, is UNCLEAR. An error that says
    that a time limit was met is LATE: on a machine that is too busy a healthy request may end so.
    """
    outcome = _judge(asking, status, end)
    return Outcome.LATE if outcome == Outcome.ERROR and IN_TIME in end[-2000:] else outcome


def _judge(asking: Asking, status: int, end: bytes) -> Outcome:
    if status != 200:
        return Outcome.ERROR if b'"error"' in end else Outcome.UNCLEAR
    if asking.is_stream and asking.path.startswith("/v1/"):
        last = end.rstrip().rpartition(b"\n\n")[2]
        if last == b"data: [DONE]":
            return Outcome.WHOLE
        return Outcome.ERROR if b'"error"' in last else Outcome.UNCLEAR
    lines = end.rstrip().rpartition(b"\n")[2] if asking.is_stream else end
    try:
        document = json.loads(lines)
    except ValueError:
        return Outcome.UNCLEAR
    if "error" in document:
        return Outcome.ERROR
    is_whole = document.get("done", not asking.path.startswith(("/api/chat", "/api/generate")))
    return Outcome.WHOLE if is_whole else Outcome.UNCLEAR


def is_wrong(asking: Asking, outcome: Outcome) -> bool:
    """Tell whether an outcome is none that this request may have."""
    if asking.fault is not None:
        return outcome not in (Outcome.ERROR, Outcome.LATE)
    if asking.manner in (Manner.LEAVES_EARLY, Manner.LEAVES_MIDWAY):
        return outcome not in (Outcome.LEFT, Outcome.WHOLE, Outcome.LATE)
    return outcome not in (Outcome.WHOLE, Outcome.LATE)
