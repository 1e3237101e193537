"""
Thinking whose opening tag was the template's, in answers that are passed on.

Such an answer has a closing tag alone (docs/facts/lmstudio.md#think-tags).
"""

import json
from typing import Any

import pytest

from conformance.tests.gateway.support import CHAT, Pair, chat, open_pair

MODEL = "harbor/lantern-8b"
"""A model that is known to reason: one that is known not to is left alone."""
OLDER = "/api/v0/chat/completions"
PATHS = pytest.mark.parametrize("path", [CHAT, OLDER])
PIECES = ("A greet", "ing.", "</think>", "\n\n", "Good", " day")
CUT = ("A greeting.</th", "ink", ">\n", "\nGood day")
AT_ONCE = ("A greeting.</think>\n\nGood day",)


def stream(*texts: str, finish: str | None = "stop") -> dict[str, Any]:
    """Return a streamed answer of these texts."""
    deltas: list[tuple[dict[str, Any], str | None]] = [({"role": "assistant"}, None)]
    deltas += [({"content": text}, None) for text in texts]
    if finish is not None:
        deltas.append(({}, finish))
    lines = [f"data: {json.dumps(chunk(*one), separators=(',', ':'))}\n\n" for one in deltas]
    chunks = [[0, line] for line in (*lines, "data: [DONE]\n\n")]
    return {"headers": {"content-type": "text/event-stream"}, "chunks": chunks}


def chunk(delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
    """Return one chunk of a stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c-1", "object": "chat.completion.chunk", "model": MODEL, "choices": [choice]}


def whole(text: str, finish: str = "stop") -> dict[str, Any]:
    """Return an answer in one piece."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    body = json.dumps({"id": "c-1", "model": MODEL, "choices": [choice]})
    return {"headers": {"content-type": "application/json"}, "chunks": [[0, body]]}


async def asked(pair: Pair, path: str, answer: dict[str, Any], **more: Any) -> tuple[str, str]:
    """Ask while LM Studio answers so; return the reasoning and the content that come."""
    is_stream = "event-stream" in answer["headers"]["content-type"]
    pair.script({"match": {"path": path}, "times": 1, "answer": answer})
    response = await pair.post(path, chat(MODEL, stream=is_stream, **more))
    assert 200 == response.status_code, response.text
    if not is_stream:
        message = response.json()["choices"][0]["message"]
        return message.get("reasoning_content", ""), message["content"]
    said = {"reasoning_content": "", "content": ""}
    events = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert "[DONE]" == events.pop()
    finishes = []
    for event in map(json.loads, events):
        (choice,) = event["choices"]
        finishes.append(choice["finish_reason"])
        for name in said:
            said[name] += choice["delta"].get(name) or ""
    assert {None} == set(finishes[:-1]), "only the last chunk says why it ends"
    return said["reasoning_content"], said["content"]


@PATHS
async def test_a_whole_answer_is_split_and_teaches(path: str) -> None:
    """The next stream begins as reasoning."""
    async with open_pair() as pair:
        split = ("A greeting.", "Good day")
        assert split == await asked(pair, path, whole(AT_ONCE[0]))
        for texts in (PIECES, CUT, AT_ONCE):
            assert split == await asked(pair, path, stream(*texts))
        assert split == await asked(pair, path, whole(AT_ONCE[0]))


@PATHS
async def test_a_stream_that_cannot_know_goes_on_and_teaches(path: str) -> None:
    """What was sent as content stays content."""
    async with open_pair() as pair:
        assert ("", "".join(PIECES)) == await asked(pair, path, stream(*PIECES))
        assert ("A greeting.", "Good day") == await asked(pair, path, stream(*PIECES))


async def test_the_routes_teach_each_other() -> None:
    """A model has one template, whatever its answers are asked for by."""
    async with open_pair() as pair:
        pair.script({"match": {"path": CHAT}, "times": 1, "answer": stream(*PIECES)})
        assert 200 == (await pair.post("/api/chat", chat(MODEL, stream=False))).status_code
        assert ("A greeting.", "Good day") == await asked(pair, CHAT, stream(*PIECES))


async def test_a_model_that_thinks_no_more_is_believed() -> None:
    """Its answer was sent as reasoning, is sent again as content, and the next one is content."""
    async with open_pair() as pair:
        await asked(pair, CHAT, stream(*PIECES))
        assert ("Good day", "Good day") == await asked(pair, CHAT, stream("Good", " day"))
        assert ("", "Good day") == await asked(pair, CHAT, stream("Good", " day"))


async def test_an_answer_cut_inside_its_thinking() -> None:
    """It is all reasoning, and the model is still known to begin so."""
    async with open_pair() as pair:
        await asked(pair, CHAT, stream(*PIECES))
        for answer in (stream("A gr", "eet</", finish="length"), whole("A greet</", "length")):
            assert ("A greet</", "") == await asked(pair, CHAT, answer)
        assert ("A greeting.", "Good day") == await asked(pair, CHAT, stream(*PIECES))


async def test_a_model_that_is_asked_not_to_think_is_not_split() -> None:
    """Its answer is content from the start, and shows nothing of what it does else."""
    async with open_pair() as pair:
        await asked(pair, CHAT, stream(*PIECES))
        answer = stream("Good", " day")
        assert ("", "Good day") == await asked(pair, CHAT, answer, reasoning_effort="none")
        assert ("A greeting.", "Good day") == await asked(pair, CHAT, stream(*PIECES))


@pytest.mark.parametrize(
    "texts", [("<think>", "Hm", "</think>", "Yes"), ("<thi", "nk>Hm</think>Yes")]
)
async def test_tags_of_both_kinds_stay(texts: tuple[str, ...]) -> None:
    """LM Studio's own setting says whether they are split, and clients know them."""
    async with open_pair() as pair:
        for answer in (stream(*texts), whole("".join(texts)), stream(*texts)):
            assert ("", "".join(texts)) == await asked(pair, CHAT, answer)
        await asked(pair, CHAT, stream(*PIECES))
        assert ("", "".join(texts)) == await asked(pair, CHAT, stream(*texts))


async def test_a_setting_leaves_all_as_it_is() -> None:
    """Tags are text then."""
    async with open_pair({"answers": {"think_tags": "keep"}}) as pair:
        for answer in (stream(*PIECES), whole("".join(PIECES)), stream(*PIECES)):
            assert ("", "".join(PIECES)) == await asked(pair, CHAT, answer)


async def test_what_waits_comes_before_an_error() -> None:
    """A stream that breaks off inside what may be a tag loses no text."""
    async with open_pair() as pair:
        await asked(pair, CHAT, stream(*PIECES))
        answer = stream("Good", " day</th", finish=None)
        del answer["chunks"][-1]
        pair.script({"match": {"path": CHAT}, "times": 1, "answer": answer})
        text = (await pair.post(CHAT, chat(MODEL, stream=True))).text
        assert " day" in text
        assert "</th" in text
        assert '"error"' in text
