"""A session with two small servers in place of Ollama and the gateway, and the scripted engine."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from conformance.differential import document as doc
from conformance.differential import session as sessions
from conformance.differential.llama_server import Handler, chat_events, completion_events
from conformance.differential.report import describe
from conformance.differential.requests import Drawn
from conformance.differential.session import Session, findings_of
from conformance.differential.wire import Late, NoReply, Reply, Request, ask
from conformance.suite.source import read_yaml

Answering = Callable[[str, bytes], tuple[int, bytes]]


@contextlib.contextmanager
def serving(answer: Answering) -> Iterator[str]:
    """Serve answers that are made of path and body."""

    class Answers(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            self.do_POST()

        def do_DELETE(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, data = answer(self.path, body)
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    with running(Answers) as url:
        yield url


@contextlib.contextmanager
def running(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Run a server in a thread."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def strict(path: str, body: bytes) -> tuple[int, bytes]:
    """Answer like a server that refuses a number as a model's name."""
    if path == "/api/tags":
        return 200, b'{"models":[]}'
    if b'"model":1' in body:
        return 400, b'{"error":"no number"}'
    return 200, b'{"fine":true}'


def lenient(path: str, body: bytes) -> tuple[int, bytes]:
    """Answer like one that takes it."""
    return strict(path, body.replace(b'"model":1', b""))


def test_a_difference_is_found_made_small_and_printed_as_a_case(tmp_path: Any) -> None:
    """The smallest request that shows it is a case that can be read."""
    body = doc.of({"stream": False, "model": 1, "messages": [{"role": "user"}]})
    drawn = Drawn("POST /api/chat", "POST", "/api/chat", body, (("Origin", "http://localhost"),))
    with serving(strict) as real, serving(lenient) as ours:
        session = Session(real, ours, lambda name: None)
        for _ in range(3):
            session.check(drawn)
        session.check(Drawn("GET /", "GET", "/"))

    (finding,) = findings_of(session.tally)
    path = tmp_path / "case.yaml"
    path.write_text("\n".join(describe(finding, 3)), "utf-8")
    (case,) = read_yaml(path).value

    assert (4, 1, 3) == (
        session.tally.requests,
        session.tally.equal,
        session.tally.seen[finding.kind],
    )
    assert {"method": "POST", "path": "/api/chat", "request": {"model": 1}} == case["client"]
    assert {"status": 400, "error": "no number"} == case["expect"]


def test_a_sequence_tells_what_was_before() -> None:
    """The first difference of a sequence is told with its earlier requests."""
    steps = [
        Drawn("GET /", "GET", "/"),
        Drawn("POST /api/show", "POST", "/api/show", doc.of({"model": 1})),
    ]
    with serving(strict) as real, serving(lenient) as ours:
        session = Session(real, ours, lambda name: None)
        session.check_sequence(steps)

    (finding,) = findings_of(session.tally)
    assert (steps[0],) == finding.before


def test_what_wants_the_internet_is_counted_and_not_judged() -> None:
    """A real Ollama without a network says so; that is no difference and no equality."""

    def offline(path: str, body: bytes) -> tuple[int, bytes]:
        if path == "/api/tags":
            return strict(path, body)
        return 500, b'{"error":"proxyconnect tcp: refused"}'

    with serving(offline) as real, serving(strict) as ours:
        session = Session(real, ours, lambda name: None)
        session.check(Drawn("POST /api/pull", "POST", "/api/pull", doc.of({"model": "m"})))

    assert (1, 0, 1) == (session.tally.requests, session.tally.equal, session.tally.offline)


def test_models_are_restored() -> None:
    """What a request made is deleted, and what it deleted is made again."""
    there = {"a": "1", "b": "2"}

    def library(path: str, body: bytes) -> tuple[int, bytes]:
        if path == "/api/delete":
            there.pop(json.loads(body)["model"])
            return 200, b""
        models = [{"name": name, "digest": digest} for name, digest in there.items()]
        return 200, json.dumps({"models": models}).encode()

    with serving(library) as real, serving(strict) as ours:
        session = Session(real, ours, lambda name: there.update({name: "2"}))
        there |= {"c": "3", "a": "other"}
        there.pop("b")
        session.restore()

    assert {"a", "b"} == there.keys()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/completion"])
def test_the_scripted_engine_plays_what_the_prompt_carries(path: str) -> None:
    """Pieces come as events, and an error before them as a status."""
    said = '@@{"say": ["Hel", "lo"], "finish": "length"}'
    failed = '@@{"error": "boom", "status": 503}'
    with running(Handler) as url:
        replies = [
            ask(
                url,
                Request(
                    "POST",
                    path,
                    body=json.dumps(
                        {"prompt": text, "messages": [{"role": "user", "content": text}]}
                    ).encode(),
                ),
            )
            for text in (said, failed)
        ]

    assert [200, 503] == [one.status for one in replies]
    assert replies[0].whole
    assert replies[0].body.count(b"data: ") >= 3


def test_events_of_the_scripted_engine() -> None:
    """Thinking, text and calls come in this order, and the end has counts."""
    script = {"say": ["a"], "think": ["b"], "calls": [{"name": "f", "arguments": {"q": 1}}]}
    events = chat_events(script)
    deltas = [event["choices"][0]["delta"] for event in events]

    assert [{"reasoning_content": "b"}, {"content": "a"}] == deltas[1:3]
    assert '{"q": 1}' == deltas[3]["tool_calls"][0]["function"]["arguments"]
    assert "tool_calls" == events[-1]["choices"][0]["finish_reason"]
    assert "limit" == completion_events({"say": [], "finish": "length"})[-1]["stop_type"]
    assert {"code": 500, "message": "x"} == chat_events({"error": "x"})[-1]["error"]


def test_a_server_that_says_nothing_is_no_reply() -> None:
    """A connection that ends early is told, and does not hang."""

    class Silent(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.wfile.flush()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with running(Silent) as url, pytest.raises(NoReply):
        ask(url, Request("GET", "/"), limit_s=5)


@pytest.mark.parametrize(("late", "seen"), [("real", 0), ("ours", 1)])
def test_only_the_gateway_has_to_answer_in_time(
    late: str, seen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real Ollama that is slow on a busy machine says nothing of what it answers."""
    with serving(strict) as real, serving(strict) as ours:
        session = Session(real, ours, lambda name: None)
        slow = {"real": real, "ours": ours}[late]

        def hurry(url: str, request: Request) -> Reply:
            if url == slow:
                raise Late("no end of the reply in time")
            return ask(url, request)

        monkeypatch.setattr(sessions, "ask", hurry)
        session.check(Drawn("GET /", "GET", "/"))

    assert (1, 0, 1 - seen) == (session.tally.requests, session.tally.equal, session.tally.late)
    assert seen == sum(session.tally.seen.values())
