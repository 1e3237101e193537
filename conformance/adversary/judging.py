"""
What came of an exchange, judged by what the client sent and the hostile LM Studio answered.

Three things make an answer wrong: it is none by HTTP, it holds the tag of another request, or it
says that it is complete when LM Studio's was not.
"""

from __future__ import annotations

import json
from collections.abc import Container
from dataclasses import dataclass, field

import httptools

from conformance.adversary.acts import Act
from conformance.adversary.asks import Ask
from conformance.adversary.hostile import TAG

_CLOSED = b"closed the connection"
_INTERNAL = b"internal error of the gateway"


@dataclass
class Told:
    """One answer of the gateway; `is_whole` says that its framing came to an end."""

    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    is_whole: bool = False


class Received:
    """What a client has received: the parser's callbacks, and what is wrong with its HTTP."""

    def __init__(self) -> None:
        self.answers: list[Told] = []
        self.data = b""
        self.problem = ""
        self.parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Take in bytes of the connection."""
        self.data += data
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as problem:
            self.problem = self.problem or f"no HTTP: {problem!r}"

    @property
    def told(self) -> list[Told]:
        """Return the answers so far, without interim ones."""
        return [one for one in self.answers if one.status >= 200 or not one.is_whole]

    def on_message_begin(self) -> None:
        self.answers.append(Told())

    def on_header(self, name: bytes, value: bytes) -> None:
        self.answers[-1].headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.answers[-1].status = self.parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self.answers[-1].body += body

    def on_message_complete(self) -> None:
        self.answers[-1].is_whole = True


def judge(
    ask: Ask, acts: list[Act | None], received: Received, given: Container[bytes]
) -> list[str]:
    """
    Return everything that is wrong with what a client got.

    `acts` has None for a request that never came to LM Studio; `given` are the tags of all clients.
    """
    told = received.told
    problems = [received.problem] if received.problem else []
    own = {tag.encode() for tag in ask.tags}
    seen = {tag for one in told for tag in TAG.findall(one.body)}
    # A changed tag in a changed request is nobody's.
    if strange := {tag for tag in seen - own if tag in given}:
        problems.append(f"an answer of somebody else: {sorted(strange)}")
    if _INTERNAL in received.data:
        problems.append("an internal error")
    if not ask.is_well:
        # Whatever it was taken for, a cut answer must not pass for a whole one.
        act = acts[0]
        is_cut = len(ask.tags) == 1 and act is not None and act.truth == "cut"
        if is_cut and told and says_complete(ask, told[0]):
            problems.append("a cut answer passes for a whole one")
        return problems
    if len(told) > len(ask.tags):
        problems.append(f"{len(told)} answers to {len(ask.tags)} requests")
    for number, (tag, act) in enumerate(zip(ask.tags, acts, strict=True)):
        one = told[number] if number < len(told) else None
        if one is None:
            # The connection may end after an answer that was cut.
            if number == 0 or (told[-1].is_whole and ask.after == "read"):
                problems.append(f"no answer to request {number + 1}")
            break
        found = _judge_one(ask, tag, act, one) if act is not None else _judge_unasked(one)
        problems += [f"request {number + 1}: {words}" for words in found]
    return problems


def _judge_unasked(told: Told) -> list[str]:
    """
    Judge the answer to a good request that LM Studio never saw.

    It may have closed a connection at the moment in which the request was sent on it. Nobody can
    tell whether it had begun, so the gateway does not send the request again.
    """
    if _CLOSED in told.body and told.status == 502:
        return []
    return [f"it never came to LM Studio: {told.body[:200]!r}"]


def _judge_one(ask: Ask, tag: str, act: Act, told: Told) -> list[str]:
    is_complete = says_complete(ask, told)
    if others := set(TAG.findall(told.body)) - {tag.encode()}:
        return [f"the answer of another request: {sorted(others)}"]
    if act.truth == "cut" and is_complete:
        return ["a cut answer passes for a whole one"]
    if act.truth == "whole":
        if not is_complete:
            return [f"a whole answer became {told.status} {told.body[-200:]!r}"]
        if text_of(ask, told) != act.text:
            return [f"the text of a whole answer is another: {told.body[:200]!r}"]
    return []


def says_complete(ask: Ask, told: Told) -> bool:
    """Return whether a client of that route takes an answer for a complete one."""
    if not told.is_whole or told.status != 200:
        return False
    if ask.route.startswith("/v1"):
        if b"text/event-stream" in told.headers.get(b"content-type", b""):
            return b"data: [DONE]" in told.body and b'"error"' not in told.body
        return b'"choices"' in told.body and _is_json(told.body)
    lines = told.body.strip().split(b"\n")
    return b'"done":true' in lines[-1] and b'"error"' not in lines[-1]


def text_of(ask: Ask, told: Told) -> str:
    """Return what the model says in a complete answer."""
    text = ""
    for line in told.body.split(b"\n"):
        data = line.removeprefix(b"data:").strip()
        if not data.startswith(b"{"):
            continue
        frame = json.loads(data)
        if ask.route.startswith("/v1"):
            for choice in frame["choices"]:
                text += (choice.get("delta") or choice.get("message") or {}).get("content") or ""
        else:
            text += frame.get("response") or frame.get("message", {}).get("content") or ""
    return text


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True
