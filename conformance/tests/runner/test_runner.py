"""The runner and the judge can fail: a gateway that answers wrongly is told what is wrong."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest

from conformance.runner.runner import AsgiApp, Bench
from conformance.suite.case import Case, Run
from conformance.suite.judge import Answer, Seen, fold_expectation, judge

FIRST: dict[str, Any] = {
    "model": "m",
    "created_at": "2026-01-31T12:00:00.5Z",
    "message": {"role": "assistant", "content": "Fog"},
    "done": False,
}
LAST: dict[str, Any] = {
    "model": "m",
    "created_at": "2026-01-31T12:00:01Z",
    "message": {"role": "assistant", "content": ""},
    "done": True,
    "done_reason": "stop",
    "total_duration": 9,
    "prompt_eval_count": 2,
    "eval_count": 1,
}
STREAM = msgspec.json.encode(FIRST) + b"\n" + msgspec.json.encode(LAST) + b"\n"

CASE = msgspec.convert(
    {
        "case": "chat/fake/stream",
        "why": "the least a stream must be",
        "client": {"request": {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}},
        "expect": {
            "frames": {
                "first": {"message": {"content": "Fog"}},
                "last": {"done": True, "done_reason": "stop", "eval_count": "$positive"},
                "count": {"exactly": 2},
                "each_has": ["message.role"],
                "each_lacks": ["message.thinking"],
                "joined": {"content": "Fog"},
                "lines": [{**FIRST, "created_at": "T"}, {**LAST, "created_at": "T"}],
            },
            "tolerate": ["times"],
        },
    },
    Case,
)


def change(old: bytes, new: bytes) -> bytes:
    """Return the right stream with one thing wrong."""
    assert old in STREAM, "this test changes nothing"
    return STREAM.replace(old, new, 1)


def answer_with(
    body: bytes, status: int = 200, content_type: str = "application/x-ndjson"
) -> AsgiApp:
    """Return a gateway that answers everything in one way."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        headers = [(b"content-type", content_type.encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


class Fake:
    """A gateway whose answer a test sets before each run."""

    def __init__(self) -> None:
        self.app = answer_with(STREAM)

    def make(self, upstream_url: str, settings: Mapping[str, Any]) -> AsgiApp:
        """Return an application that always uses the answer of the moment."""

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await self.app(scope, receive, send)

        return app


@pytest.fixture(scope="module")
def fake() -> Fake:
    return Fake()


@pytest.fixture(scope="module")
def bench(fake: Fake) -> Iterator[Bench]:
    with Bench(fake.make) as bench:
        yield bench


def test_a_right_answer_has_no_problems(bench: Bench, fake: Fake) -> None:
    """Otherwise the tests below would pass for the wrong reason."""
    fake.app = answer_with(STREAM)

    assert [] == bench.run(Run(CASE, "recorded"))


CHANGES: dict[str, tuple[bytes, bytes, str]] = {
    "blank line": (b"\n", b"\n\n", "line 2"),
    "dropped field": (b'"role":"assistant",', b"", "line 1: message.role"),
    "dropped number": (b',"eval_count":1', b"", "last line.eval_count"),
    "zero for a number": (b'"eval_count":1', b'"eval_count":0', "last line.eval_count"),
    "extra field": (b'"Fog"', b'"Fog","thinking":""', "line 1: message.thinking"),
    "undeclared field": (b'"done":false', b'"done":false,"made_up":1', "line 1.made_up"),
    "wrong type": (b'"done":false', b'"done":"false"', "line 1.done"),
    "wrong text": (b"Fog", b"Dog", "joined content"),
    "other order of keys": (
        b'"role":"assistant","content":"Fog"',
        b'"content":"Fog","role":"assistant"',
        "line 1.message (order of keys)",
    ),
    "spaces": (b'"done":false', b'"done": false', "line 1"),
    "local time": (b"00.5Z", b"00.5+09:00", "line 1.created_at"),
    "zeros in the time": (b"00.5Z", b"00.50Z", "line 1.created_at"),
    "key twice": (b'"done":false', b'"done":false,"done":false', "line 1"),
    "raw angle bracket": (b"Fog", b"<og", "line 1"),
    "not JSON": (b'{"model"', b'data: {"model"', "line 1"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_wrong_line_is_reported(bench: Bench, fake: Fake, name: str) -> None:
    """Each way to be wrong is found, at its place."""
    old, new, place = CHANGES[name]
    fake.app = answer_with(change(old, new))

    problems = bench.run(Run(CASE, "recorded"))

    assert place in [problem.path for problem in problems], "\n".join(map(str, problems))


@pytest.mark.parametrize(
    ("app", "place"),
    [
        (answer_with(b'{"error":"x"}', 500, "application/json"), "status"),
        (answer_with(STREAM, content_type="text/plain"), "header content-type"),
        (answer_with(STREAM[:-1]), "body"),
        (answer_with(STREAM.splitlines(True)[0]), "last line"),
        (answer_with(STREAM + STREAM.splitlines(True)[0]), "final lines"),
        (answer_with(b""), "last line"),
    ],
    ids=["status", "type", "newline", "no done", "after done", "empty"],
)
def test_a_wrong_answer_is_reported(bench: Bench, fake: Fake, app: AsgiApp, place: str) -> None:
    """What is wrong with the answer as a whole is found likewise."""
    fake.app = app

    assert place in [problem.path for problem in bench.run(Run(CASE, "recorded"))]


def test_all_problems_are_reported(bench: Bench, fake: Fake) -> None:
    """One run names everything that is wrong, not the first thing only."""
    fake.app = answer_with(
        change(b"Fog", b"Dog").replace(b'"stop"', b'"length"'), content_type="x/y"
    )

    paths = {problem.path for problem in bench.run(Run(CASE, "recorded"))}

    assert {"header content-type", "joined content", "last line.done_reason"} <= paths


def test_a_cut_connection_is_reported() -> None:
    """A body that ends before HTTP says so is no answer, even when all its lines are right."""
    answer = Answer(200, (("content-type", "application/x-ndjson"),), STREAM, cut=True)

    assert ["connection"] == [one.path for one in judge(Run(CASE, "recorded"), answer, None)]


EVENTS = 'data: {"model":"m","usage":{"total_tokens":5}}\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize(
    ("old", "new", "paths"),
    [
        ("", "", []),
        (":5", ":6", ["event 1.usage.total_tokens", "body"]),
        (',"usage":{"total_tokens":5}', "", ["event 1.usage", "body"]),
        ("[DONE]", "[GONE]", ["body"]),
        ('{"model"', '{ "model"', ["body"]),
    ],
    ids=["right", "another value", "without a member", "another end", "another writing"],
)
def test_a_wrong_member_of_an_event_is_named(old: str, new: str, paths: list[str]) -> None:
    """An event stream is compared byte for byte, and where its JSON differs stands beside it."""
    case = {
        "case": "v1/fake/events",
        "why": "a failure must tell which member is wrong",
        "client": {"path": "/v1/chat/completions", "request": {"model": "m"}},
        "expect": {"content_type": "text/event-stream", "text": EVENTS},
    }
    answer = Answer(
        200, (("content-type", "text/event-stream"),), EVENTS.replace(old, new, 1).encode()
    )

    found = judge(Run(msgspec.convert(case, Case), "recorded"), answer, None)

    assert paths == [one.path for one in found]


def test_a_gateway_that_is_not_there_is_reported() -> None:
    """No answer at all is a problem of the case, not an accident of the runner."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with Bench(gateway_url=url) as bench:
            [problem] = bench.run(Run(CASE, "recorded"))

    assert "answer" == problem.path


ASKED = msgspec.convert(
    {
        "case": "chat/fake/upstream",
        "why": "what reaches LM Studio is judged too",
        "client": {"request": {"model": "m"}},
        "upstream": {
            "expect_request": {"model": "m", "stream": True, "top_k": "$absent"},
            "expect_requests": [
                {"method": "POST", "path": "/api/v1/models/load"},
                {"method": "POST", "path": "/v1/chat/completions"},
            ],
            "count_requests": {"/v1/chat/completions": 1},
            "no_requests_to": ["/api/v1/models/unload"],
        },
        "expect": {"frames": {"last": {"done": True}}},
    },
    Case,
)
LOAD = Seen("POST", "/api/v1/models/load", {}, b"{}")
CHAT = Seen("POST", "/v1/chat/completions", {}, b'{"model":"m","stream":true}')
RIGHT = Answer(200, (("content-type", "application/x-ndjson"),), STREAM)


def test_right_requests_have_no_problems() -> None:
    """Otherwise the test below would pass for the wrong reason."""
    assert [] == judge(Run(ASKED, "recorded"), RIGHT, [LOAD, CHAT])


def chat_with(body: bytes) -> Seen:
    """Return a chat request upstream with this body."""
    return Seen("POST", CHAT.path, {}, body)


@pytest.mark.parametrize(
    ("seen", "place"),
    [
        ([], "request upstream"),
        ([CHAT, LOAD], "requests upstream"),
        ([LOAD, CHAT, CHAT], "requests to /v1/chat/completions"),
        ([LOAD, CHAT, Seen("POST", "/api/v1/models/unload")], "requests to /api/v1/models/unload"),
        ([LOAD, chat_with(b'{"model":"m"}')], "upstream request.stream"),
        ([LOAD, chat_with(b'{"model":"m","stream":true,"top_k":1}')], "upstream request.top_k"),
        ([LOAD, chat_with(b'{"model":"m","stream":1}')], "upstream request.stream"),
    ],
)
def test_wrong_requests_are_reported(seen: list[Seen], place: str) -> None:
    """Missing, reordered, repeated, forbidden and wrong requests upstream are all found."""
    problems = judge(Run(ASKED, "recorded"), RIGHT, seen)

    assert place in [problem.path for problem in problems]


def test_one_shot_is_derived_from_frames() -> None:
    """The answer to the same request with stream false is the fold of the frames."""
    folded = fold_expectation(CASE)

    assert folded.json_subset == {
        "done": True,
        "done_reason": "stop",
        "eval_count": "$positive",
        "message": {"content": "Fog"},
    }


def test_one_shot_that_lost_its_text_is_reported() -> None:
    """A fold that forgets the pieces is found."""
    frame = {**LAST, "message": {"role": "assistant", "content": ""}}
    headers = (("content-type", "application/json; charset=utf-8"),)
    answer = Answer(200, headers, msgspec.json.encode(frame))

    problems = judge(Run(CASE, "one_shot"), answer, None)

    assert ["message.content"] == [problem.path for problem in problems]
