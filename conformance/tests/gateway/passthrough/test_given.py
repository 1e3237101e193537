"""The identifier in an answer that passes (gateway.passthrough.given)."""

import json

import pytest

from gateway.passthrough import given
from gateway.passthrough.given import Given

WAYS = (("response_id",), ("result", "response_id"), ("response", "id"))
WHOLE = b' {"output": ["}"], "response_id": "resp_1"}\n'
STREAM = (
    b'event: message.delta\ndata: {"content": "\\"response_id\\": \\"resp_2\\"}"}\n\n'
    b'event: chat.end\ndata: {"type": "chat.end", "result": {"response_id": "resp_1"}}\n\n'
)
CREATED = b'data: {"type": "response.created", "response": {"id": "resp_1"}}\n\n'


def told(*chunks: bytes) -> list[str]:
    """Return what is told of an answer that comes in these pieces."""
    found: list[str] = []
    one = Given(WAYS, found.append)
    for chunk in chunks:
        one.take(chunk)
    one.end()
    return found


@pytest.mark.parametrize("answer", [WHOLE, STREAM, CREATED, b"\xef\xbb\xbf" + WHOLE])
def test_it_is_found_whatever_the_pieces(answer: bytes) -> None:
    """Once, however often it stands there."""
    assert ["resp_1"] == told(answer)
    assert ["resp_1"] == told(*(answer[at : at + 1] for at in range(len(answer))))
    assert ["resp_1"] == told(answer, answer)


def test_it_is_told_before_the_bytes_are_passed_on() -> None:
    """That is, when the last ones are taken, not at the end."""
    found: list[str] = []
    Given(WAYS, found.append).take(STREAM)
    Given(WAYS, found.append).take(WHOLE)
    assert ["resp_1", "resp_1"] == found


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b'{"response_id": null}',
        b'{"response_id": 4}',
        b'{"result": "response_id"}',
        b'{"response_id": "resp_1"',
        b'data: {"response_id": \n\n',
        b"data: [DONE]\n\n",
        json.dumps({"output": {"response_id": "resp_1"}}).encode(),
    ],
)
def test_an_answer_may_give_none(answer: bytes) -> None:
    """Nothing is told then, and nothing raised."""
    assert [] == told(answer)


def test_an_event_without_its_blank_line() -> None:
    """It is looked at when the answer is over."""
    assert ["resp_1"] == told(CREATED.rstrip())


def test_what_is_held_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A longer answer or event gives none."""
    monkeypatch.setattr(given, "MOST_BYTES", 8)
    assert [] == told(WHOLE[:20], WHOLE[20:])
    assert [] == told(CREATED[:20], CREATED[20:])
