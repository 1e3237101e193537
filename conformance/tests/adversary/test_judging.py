"""The adversary sees what is wrong: each kind of fault is found, and what is right is not."""

import json
import random
from typing import Any

import pytest

from conformance.adversary.acts import Act, chunked, draw_act, head, one_of, stream_of
from conformance.adversary.asks import Ask, draw_ask
from conformance.adversary.judging import Received, judge

OWN, OTHER = "q0000000001", "q0000000002"
FRAME: dict[str, Any] = {"model": "fir", "response": "", "done": False}


def ask_for(route: str, *, is_stream: bool, is_well: bool = True) -> Ask:
    """Return a request of one tag."""
    return Ask("well", [], (OWN,), route, is_stream, is_well=is_well)


def lines(*frames: dict[str, Any]) -> bytes:
    """Return a streamed answer of the gateway."""
    told = [json.dumps({**FRAME, **each}, separators=(",", ":")) + "\n" for each in frames]
    body = "".join(told).encode()
    return head(None, "application/x-ndjson") + chunked(body, 1000)


def problems_of(data: bytes, act: Act | None, ask: Ask | None = None) -> str:
    """Return what is wrong with an answer, as one text."""
    received = Received()
    received.feed(data)
    ask = ask or ask_for("/api/generate", is_stream=True)
    return "\n".join(judge(ask, [act], received, {OWN.encode(), OTHER.encode()}))


WHOLE = Act("well", [], truth="whole", text=f"{OWN} fog")
CUT = Act("cut", [], truth="cut")
SAID: dict[str, Any] = {"response": f"{OWN} fog"}
DONE: dict[str, Any] = {"done": True}


def test_a_true_answer_is_not_wrong() -> None:
    """Whole for whole, an error for a cut one."""
    assert "" == problems_of(lines(SAID, DONE), WHOLE)
    assert "" == problems_of(lines(SAID, {"error": "cut"}), CUT)
    assert "" == problems_of(lines(SAID)[:-5], CUT)


@pytest.mark.parametrize(
    ("data", "act", "words"),
    [
        (lines(SAID, DONE), CUT, "passes for a whole one"),
        (lines(SAID, {"error": "cut"}), WHOLE, "a whole answer became 200"),
        (lines({"response": "fog"}, DONE), WHOLE, "is another"),
        (lines({"response": f"{OTHER} fog"}, DONE), CUT, "somebody else"),
        (lines(SAID, DONE) * 2, WHOLE, "2 answers to 1 requests"),
        (b"", WHOLE, "no answer to request 1"),
        (lines(SAID, DONE), None, "never came"),
        (b"nothing of the kind\r\n\r\n", WHOLE, "no HTTP"),
        (lines({"error": "internal error of the gateway; its log says more"}), CUT, "internal"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_found(data: bytes, act: Act | None, words: str) -> None:
    """Each rule can fail."""
    assert words in problems_of(data, act)


def test_a_cut_answer_is_found_on_every_route() -> None:
    """Below /v1 a stream ends with a mark, one answer with its JSON; hostile requests count."""
    ask = ask_for("/v1/chat/completions", is_stream=True)
    data = head(None) + chunked(stream_of(OWN)[0], 100)
    assert "passes for a whole one" in problems_of(data, CUT, ask)
    ask = ask_for("/v1/chat/completions", is_stream=False, is_well=False)
    body = one_of(OWN)[0]
    assert "passes for a whole one" in problems_of(head(body, "application/json") + body, CUT, ask)


def test_all_kinds_are_drawn_and_repeatable() -> None:
    """A seed gives the same exchanges again."""

    def drawn() -> list[tuple[str, bytes, str, bytes]]:
        dice = random.Random(1)
        found = []
        for _ in range(400):
            ask = draw_ask(dice, (OWN, OTHER), is_hostile=dice.random() < 0.6)
            act = draw_act(dice, OWN, is_stream=ask.is_stream)
            found.append((ask.name, b"".join(ask.pieces), act.name, b"".join(act.pieces)))
        return found

    first = drawn()
    assert [one[0] for one in first] == [one[0] for one in drawn()]
    assert [one[1:3] for one in first] == [one[1:3] for one in drawn()]
    assert 12 <= len({one[0] for one in first})
    assert 12 <= len({one[2] for one in first})
    assert {"cut", "whole", "odd"} == {
        draw_act(random.Random(at), OWN, is_stream=True).truth for at in range(100)
    }
