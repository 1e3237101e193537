"""
Odd answers of LM Studio below /v1, as a strict client of OpenAI's API must be able to read them.

The client joins fragments by their indexes, takes an id and a name once, and reads JSON only.
"""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from conformance.suite.fixture import cut_into, encode, load_fixture
from conformance.tests.gateway.support import CHAT, LOADED, Pair, chat, open_pair

pytestmark = pytest.mark.asyncio(loop_scope="session")


def sent(name: str) -> bytes:
    """Return the bytes of a fixture, as an answer of the model that is loaded here."""
    body = load_fixture(f"lmstudio-0.4/{name}").body
    return re.sub(rb'"model":"[^"]+"', b'"model":"%b"' % LOADED.encode(), body)


EVENTS = {"content-type": "text/event-stream"}
NAMES = ("get_tide", "get_wind")
OFFERED = {"tools": [{"type": "function", "function": {"name": name}} for name in NAMES]}
WICK, STROMNESS = ("get_tide", {"place": "Wick"}), ("get_tide", {"place": "Stromness"})
CALLS = {
    "chat-calls-at-one-index": [WICK, STROMNESS, ("get_wind", {})],
    "chat-calls-share-id": [WICK, ("get_wind", {"hour": 4})],
    "chat-fragments-with-ids": [STROMNESS],
}


@pytest_asyncio.fixture(params=["lmstudio", "ollama"], loop_scope="session", scope="module")
async def answering(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    """Run a pair whose gateway answers in each of the two ways."""
    async with open_pair({"answers": {"openai": request.param}}) as pair:
        yield pair


def delta(finish: str | None = None, /, **said: Any) -> str:
    """Return a chunk of a chat as an event."""
    choice = {"index": 0, "delta": said, "logprobs": None, "finish_reason": finish}
    return event({"id": "c-1", "model": LOADED, "choices": [choice]})


def event(value: Any) -> str:
    return f"data: {json.dumps(value, separators=(',', ':'))}\n\n"


def fragment(index: int | None, name: str = "", arguments: str = "", id: str = "") -> str:
    """Return a chunk with a fragment of a call."""
    function = {"name": name, "arguments": arguments}
    told = {"index": index, "id": id, "type": "function", "function": function}
    return delta(
        tool_calls=[{key: value for key, value in told.items() if value not in ("", None)}]
    )


END = delta("stop") + "data: [DONE]\n\n"
CALLED = delta("tool_calls") + "data: [DONE]\n\n"


async def asked(pair: Pair, body: bytes, how: str = "whole", **more: Any) -> bytes:
    """Return what a client gets of a stream, sent at once or byte by byte."""
    await pair.reset()
    pieces = [(0, body)] if how == "whole" else cut_into(body, 1)
    chunks = [[ms, encode(data)] for ms, data in pieces]
    pair.script({"match": {"path": CHAT}, "answer": {"headers": EVENTS, "chunks": chunks}})
    answer = await pair.client.post(CHAT, json={**chat(), **OFFERED, "stream": True, **more})
    assert 200 == answer.status_code, answer.text
    return answer.content


def read(body: bytes) -> tuple[str, list[tuple[str, Any]]]:
    """Return the text and the calls of a stream."""
    text, calls = "", list[dict[str, Any]]()
    lines = body.decode().split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""], lines[-3:]
    for line in lines[:-2]:
        if line.startswith(":"):
            continue
        assert line.startswith("data: {"), line
        chunk = json.loads(line[6:])
        chunk_text = json.dumps(chunk, ensure_ascii=False)
        chunk_text.encode()
        for choice in chunk["choices"]:
            text += choice["delta"].get("content") or ""
            for piece in choice["delta"].get("tool_calls") or []:
                function = piece["function"]
                if piece["index"] == len(calls):
                    calls.append({"id": piece["id"], "name": function["name"], "arguments": ""})
                call = calls[piece["index"]]
                assert piece.get("id", call["id"]) == call["id"]
                assert function.get("name") in (None, "", call["name"])
                call["arguments"] += function.get("arguments") or ""
    assert len({call["id"] for call in calls}) == len(calls)
    return text, [(call["name"], json.loads(call["arguments"] or "{}")) for call in calls]


@pytest.mark.parametrize("how", ["whole", "bytes"])
@pytest.mark.parametrize("name", CALLS)
async def test_fragments_of_calls_can_be_joined(answering: Pair, name: str, how: str) -> None:
    """Whatever ids and indexes they came with."""
    body = await asked(answering, sent(name), how)
    assert CALLS[name] == read(body)[1]


STREAMS = {
    "no index": (
        fragment(None, "get_tide", "", "1") + fragment(None, "", '{"place":"Wick"}'),
        [WICK],
    ),
    "arguments before the name": (
        fragment(0, "", '{"place":', "1") + fragment(0, "get_tide", '"Wick"}'),
        [WICK],
    ),
    "a name again": (
        fragment(0, "get_tide", '{"place":', "1") + fragment(0, "get_tide", '"Wick"}'),
        [WICK],
    ),
    "a name in three pieces": (
        fragment(0, "get", "", "1") + fragment(0, "_ti") + fragment(0, "de", '{"place":"Wick"}'),
        [WICK],
    ),
    "two names of tools": (
        fragment(0, "get_wind", "", "1") + fragment(0, "get_tide", '{"place":"Wick"}'),
        [("get_wind", {}), WICK],
    ),
    "an index that begins at one": (fragment(1, "get_wind", "{}", "1"), [("get_wind", {})]),
    "no name and a call": (
        fragment(0, "", "{}", "1") + fragment(1, "get_wind", "{}", "2"),
        [("get_wind", {})],
    ),
    "no function around": (
        delta(tool_calls=[{"index": 0, "id": "1", "name": "get_tide", "arguments": ""}])
        + delta(tool_calls=[{"index": 0, "arguments": '{"place":'}])
        + delta(tool_calls=[{"index": 0, "arguments": '"Wick"}'}]),
        [WICK],
    ),
    "no function around an object": (
        delta(tool_calls=[{"id": "1", "name": "get_tide", "arguments": {"place": "Wick"}}]),
        [WICK],
    ),
    "the older form": (
        delta(function_call={"name": "get_tide", "arguments": ""})
        + delta(function_call={"arguments": '{"place":'})
        + delta("function_call", function_call={"arguments": '"Wick"}'}),
        [WICK],
    ),
    "both forms": (
        delta(
            function_call={"name": "get_wind", "arguments": "{}"},
            tool_calls=[
                {"index": 0, "id": "1", "function": {"name": "get_wind", "arguments": "{}"}}
            ],
        )
        + delta("function_call"),
        [("get_wind", {})],
    ),
    "a text as index": (
        delta(
            tool_calls=[{"index": "0", "id": 7, "function": {"name": "get_wind", "arguments": {}}}]
        ),
        [("get_wind", {})],
    ),
}


@pytest.mark.parametrize("how", ["whole", "bytes"])
@pytest.mark.parametrize("name", STREAMS)
async def test_odd_fragments_become_calls(answering: Pair, name: str, how: str) -> None:
    """A fragment without a name begins none; two names are two calls."""
    came, calls = STREAMS[name]
    assert ("", calls) == read(await asked(answering, (came + CALLED).encode(), how))


@pytest.mark.parametrize("path", [CHAT, "/api/chat"])
@pytest.mark.parametrize("arguments", ['{"place":"Wick"}', {"place": "Wick"}, "", None, {}])
@pytest.mark.parametrize("form", ["flat", "older"])
async def test_calls_of_other_servers_in_whole_answers(
    answering: Pair, form: str, arguments: Any, path: str
) -> None:
    """They are calls as LM Studio sends them: a client that reads no other form would lose them."""
    function = {"name": "get_tide", "arguments": arguments}
    calls = [{"id": "1", **function}, {"id": "2", "type": "function", **function}]
    said = {"tool_calls": calls} if form == "flat" else {"function_call": function}
    message = {"role": "assistant", "content": None, **said}
    choice = {"index": 0, "message": message, "finish_reason": "function_call"}
    await answering.reset()
    body = json.dumps({"id": "c-1", "model": LOADED, "choices": [choice]})
    sent_as = {"headers": {"content-type": "application/json"}, "chunks": [[0, body]]}
    answering.script({"match": {"path": CHAT}, "answer": sent_as})
    answer = await answering.client.post(path, json={**chat(), **(OFFERED if path == CHAT else {})})
    told = answer.json()
    found = (told if path == "/api/chat" else told["choices"][0])["message"]["tool_calls"]
    values = [call["function"]["arguments"] for call in found]
    read = [json.loads(value) if path == CHAT else value for value in values]

    assert (["get_tide"] * len(found), 2 if form == "flat" else 1) == (
        [call["function"]["name"] for call in found],
        len(found),
    )
    assert [{"place": "Wick"} if arguments else {}] * len(found) == read
    if path == CHAT:
        assert "tool_calls" == told["choices"][0]["finish_reason"]
        assert "function_call" not in told["choices"][0]["message"]


async def test_the_older_form_stays_for_who_asks_in_it() -> None:
    """A request with `functions` has no `tools`, and its client reads `function_call`."""
    body = (delta(function_call={"name": "f", "arguments": "{}"}) + delta("function_call")).encode()
    body += b"data: [DONE]\n\n"
    async with open_pair() as pair:
        assert body == await asked(pair, body, tools=None, functions=[{"name": "f"}])


async def test_sound_calls_keep_their_bytes() -> None:
    """Also where their first fragment waits for the next one."""
    body = sent("chat-tool-call")
    async with open_pair() as pair:
        assert body == await asked(pair, body)
        assert body == await asked(pair, body, "bytes")


async def test_calls_without_any_name_end_in_an_error(answering: Pair) -> None:
    """Their fragments were held back, so a regular end would hide them."""
    body = await asked(answering, (fragment(0, "", "{}", "1") + CALLED).encode())
    assert b"a tool call without a name" in body
    assert b"[DONE]" not in body


@pytest.mark.parametrize("at_once", [True, False], ids=["one event", "several"])
@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", CHAT])
@pytest.mark.parametrize("openai", ["lmstudio", "ollama"])
async def test_too_many_calls_end_in_an_error(openai: str, path: str, at_once: bool) -> None:
    """It names the setting; as many as that are served."""
    settings = {"limits": {"tool_calls": 3}, "answers": {"openai": openai}}
    function = {"name": "get_tide", "arguments": "{}"}
    async with open_pair(settings) as pair:
        for number in (3, 4):
            calls = [
                {"index": n, "id": str(n), "type": "function", "function": function}
                for n in range(number)
            ]
            events = [calls] if at_once else [[call] for call in calls]
            body = "".join(delta(tool_calls=said) for said in events) + CALLED
            answer = {"headers": EVENTS, "chunks": [[0, encode(body.encode())]]}
            await pair.reset()
            pair.script({"match": {"path": CHAT}, "answer": answer})
            more = {"prompt": "Why?"} if path == "/api/generate" else {}
            came = await pair.client.post(path, json={**chat(), "stream": True, **more})
            assert (number > 3) == ("limits.tool_calls" in came.text), came.text


@pytest.mark.parametrize("how", ["whole", "bytes"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("chat-cut-character", "Calm \U0001f30a and \ufffdfog \ufffd"),
        ("chat-odd-events", "Slow ebb."),
        ("chat-escaped", None),
    ],
)
async def test_odd_texts_and_events(answering: Pair, name: str, text: str | None, how: str) -> None:
    """Cut characters are joined, and what is no chunk is left out."""
    body = sent(name)
    said, _ = read(await asked(answering, body, how))
    assert text in (None, said)
    assert said


async def test_bytes_that_are_no_text(answering: Pair) -> None:
    """A strict decoder would end the stream there."""
    body = delta(content="ab").encode().replace(b"ab", b"a\xff\xf0\x9fb") + END.encode()
    assert "a\ufffd\ufffd\ufffdb" == read(await asked(answering, body))[0]


async def test_a_half_does_not_wait_for_ever(answering: Pair) -> None:
    """What comes after it is passed on, and at the end it is a character of its own."""
    empty = delta(role="assistant")
    body = (
        delta(content="a\ud83d") + empty + delta(content="\ude00b") + delta(content="\ud83d") + END
    )
    assert "a\U0001f600b\ufffd" == read(await asked(answering, body.encode()))[0]
    many = delta(content="a\ud83d") + empty * 40
    assert "a\ufffd" == read(await asked(answering, (many + END).encode()))[0]


ERRORS = [
    "event: error\ndata: out of memory\n\n",
    "data: error: out of memory\n\n",
    event({"error": "out of memory"}),
    event({"choices": None, "error_message": "out of memory"}),
    event({"object": "error", "message": "out of memory"}),
    event({"message": "out of memory"}),
    'event: error\ndata: {"error":{"message":"out of memory"}}\n\n',
]


@pytest.mark.parametrize("how", ["whole", "bytes"])
@pytest.mark.parametrize("error", ERRORS)
async def test_an_error_has_an_object(answering: Pair, error: str, how: str) -> None:
    """Clients look for `error.message`, and know no other form."""
    body = await asked(answering, (delta(content="a") + error).encode(), how)
    *_, last = [line[6:] for line in body.decode().splitlines() if line.startswith("data: ")]
    assert "out of memory" == json.loads(last)["error"]["message"]


@pytest.mark.parametrize(
    "filler", ["data: \n\n", "data: : wait\n\n", "event: ping\ndata: 5\n\n", "data: null\n\n"]
)
async def test_fillers_are_left_out(answering: Pair, filler: str) -> None:
    """Clients read the data of each event as JSON."""
    body = filler + delta(content="a") + filler + delta(content="b") + END[:-2] + " \n\n"
    assert "ab" == read(await asked(answering, body.encode()))[0]


async def test_a_whole_answer_is_mended(answering: Pair) -> None:
    """Two calls that share an id, a null among them, and a cut character."""
    call = '{"index":0,"id":"1","type":"function","function":{"name":"get_wind","arguments":"{}"}}'
    message = '{"role":"assistant","content":"a\\ud83d","tool_calls":[' + f"{call},null,{call}]}}"
    choice = '{"index":0,"finish_reason":"tool_calls","message":' + message + "}"
    body = '{"id":"c-1","choices":[null,' + choice + "]}"
    await answering.reset()
    answer = {"headers": {"content-type": "application/json"}, "chunks": [[0, body]]}
    answering.script({"match": {"path": CHAT}, "answer": answer})
    (found,) = (await answering.client.post(CHAT, json=chat())).json()["choices"]
    assert "a\ufffd" == found["message"]["content"]
    calls = found["message"]["tool_calls"]
    assert ["get_wind", "get_wind"] == [call["function"]["name"] for call in calls]
    assert 2 == len({call["id"] for call in calls})


async def test_cut_characters_of_named_events() -> None:
    """On the routes of newer clients a text goes on from event to event, too."""
    path = "/v1/responses"
    pieces = [
        f"event: response.output_text.delta\ndata: {json.dumps({'type': 'd', 'delta': text})}\n\n"
        for text in ("a\ud83d", "\ude00b", "\ud83d")
    ]
    chunks = [[0, piece] for piece in pieces]
    async with open_pair() as pair:
        pair.script({"match": {"path": path}, "answer": {"headers": EVENTS, "chunks": chunks}})
        body = {"model": chat()["model"], "input": "Hi", "stream": True}
        answer = await pair.client.post(path, json=body)
    told = [
        json.loads(line[6:])["delta"] for line in answer.text.splitlines() if line[:5] == "data:"
    ]
    assert ["a", "\U0001f600b", "\ufffd"] == told
    assert 3 == answer.text.count("event: response.output_text.delta\n")


WORDS = [delta(content="a"), delta(content="b"), delta(content="c"), delta("stop")]
SHAPES = {
    "a line each": "".join(word[:-1] for word in WORDS) + "data: [DONE]\n",
    "two in one": WORDS[0][:-1] + WORDS[1] + WORDS[2][:-1] + WORDS[3] + "data: [DONE]\n\n",
    "the end in one": "".join(WORDS)[:-1] + "data: [DONE]\n\n",
    "one over lines": "".join(
        "".join(
            f"data: {line}\n" for line in json.dumps(json.loads(word[6:]), indent=1).split("\n")
        )
        + "\n"
        for word in WORDS
    )
    + "data: [DONE]\n\n",
    "three line ends": "".join(word + "\n" for word in WORDS) + "data: [DONE]\n\n",
}


@pytest.mark.parametrize("how", ["whole", "bytes"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
@pytest.mark.parametrize("shape", SHAPES)
async def test_events_without_blank_lines_are_read(
    answering: Pair, shape: str, end: str, how: str
) -> None:
    """A client gets standard events below /v1, and all of the text on every route."""
    body = SHAPES[shape].replace("\n", end).encode()
    text = (await asked(answering, body, how)).decode().replace("\r\n", "\n").replace("\r", "\n")
    events = ["".join(line[5:] for line in block.split("\n")) for block in text.split("\n\n")]
    *chunks, done = [event for event in events if event.strip()]
    assert " [DONE]" == done
    said = [json.loads(chunk)["choices"][0]["delta"].get("content", "") for chunk in chunks]
    assert "abc" == "".join(said)
    for stream in (True, False):
        answer = await answering.client.post("/api/chat", json={**chat(), "stream": stream})
        lines = [json.loads(line) for line in answer.text.splitlines()]
        assert "abc" == "".join(line["message"]["content"] for line in lines)
        assert lines[-1]["done"]
