"""
What genuine clients ask, against what a real Ollama passes on to its backend.

Each shared row holds a client's request and that server's own request behind it. The names of the
backend's parameters differ, so what is compared is what a model would notice: turns, images, tool
calls and their pairing, tools, the answer's format, and texts to embed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from conformance.runner.client import ask
from conformance.runner.runner import Bench
from conformance.runner.shared_cases import EMBED, find_shared
from conformance.suite.compare import Mismatch, compare, show
from conformance.suite.judge import Answer, Seen

SHARED = find_shared()
assert SHARED is not None, "conftest.py leaves this file out without the shared material"
CAPABLE = "harbor/lantern-8b"
INFERENCE = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")

Row = dict[str, Any]


def load_rows() -> list[Row]:
    """Read the rows, leaving out those whose request is the same as an earlier one's."""
    assert SHARED is not None
    text = (SHARED / "goldens" / "requests.jsonl").read_text("utf-8")
    rows: dict[str, Row] = {}
    for one in text.removesuffix("\n").split("\n"):
        row = json.loads(one)
        rows.setdefault(show([row["path"], row["request"]], limit=1_000_000), row)
    return list(rows.values())


ROWS = load_rows()


def test_there_are_rows() -> None:
    """An empty list would make this file pass without looking at anything."""
    assert 50 <= len(ROWS)


@pytest.mark.parametrize(
    "row", ROWS, ids=[f"{n}-{row['client']}-{row['path'][5:]}" for n, row in enumerate(ROWS)]
)
def test_request(gateway_bench: Bench, row: Row) -> None:
    """The same turns, tools, formats and texts reach the model."""
    answer, seen = send(gateway_bench, row)

    assert row["status"] == answer.status, answer.body[:300]
    if row["status"] != 200 or row["error"]:
        return
    problems = list(judge_row(row, [one for one in seen if one.path in INFERENCE]))
    assert not problems, "\n".join(map(str, problems))


def send(bench: Bench, row: Row) -> tuple[Answer, list[Seen]]:
    """Send a row's request for a model that can do everything, and see what arrives."""
    model = EMBED if row["path"].startswith("/api/embed") else CAPABLE
    body = json.dumps({**row["request"], "model": model}).encode()

    async def work() -> tuple[Answer, list[Seen]]:
        pair = await bench.pair_for()
        assert pair.control is not None
        await pair.control.reset()
        answer = await ask(pair.gateway_url, "POST", row["path"], body=body)
        return answer, await pair.control.seen()

    result: tuple[Answer, list[Seen]] = bench.submit(work)
    return result


def judge_row(row: Row, seen: Sequence[Seen]) -> Iterator[Mismatch]:
    """Yield what differs between the row's backend request and ours."""
    if not row["backend"]:
        if seen:
            yield Mismatch("requests", "none: this loads", show([one.path for one in seen]))
        return
    if row["path"].startswith("/api/embed"):
        yield from judge_texts(row, seen)
        return
    if len(seen) != 1:
        yield Mismatch("requests", "one", show([one.path for one in seen]))
        return
    golden, got = row["backend"][0]["body"], seen[0].value
    if row["path"] == "/api/generate":
        yield from judge_prompt(golden, got)
    else:
        yield from judge_messages(golden["messages"], got["messages"])
    yield from judge_tools(golden.get("tools"), got.get("tools"))
    yield from judge_format(golden, got.get("response_format"))


def judge_texts(row: Row, seen: Sequence[Seen]) -> Iterator[Mismatch]:
    """Compare the texts to embed, in the client's order, however many calls there are."""
    asked = row["request"].get("input", row["request"].get("prompt"))
    wanted = [asked] if isinstance(asked, str) else asked
    got: list[Any] = []
    for one in seen:
        texts = one.value["input"]
        got += [texts] if isinstance(texts, str) else texts
    yield from compare(wanted, got, "input", exact=True)
    behind = sorted(call["body"]["input"] for call in row["backend"])
    yield from compare(behind, sorted(got), "input as the real server sent it", exact=True)


def judge_prompt(golden: Row, got: Row) -> Iterator[Mismatch]:
    """Compare a prompt: that server's test template writes each turn as `role:text`."""
    turns = [f"{message['role']}:{read_content(message)[0]}" for message in got["messages"]]
    if " ".join(turns) != golden["prompt"]:
        yield Mismatch("prompt", show(golden["prompt"]), show(" ".join(turns)))


def judge_messages(golden: list[Row], got: list[Row]) -> Iterator[Mismatch]:
    """Compare turns: roles, texts, images, calls; and that every result names its call."""
    roles = [message["role"] for message in golden]
    yield from compare(roles, [message["role"] for message in got], "roles", exact=True)
    for number, (one, other) in enumerate(zip(golden, got, strict=False)):
        place = f"messages.{number}"
        yield from compare(
            list(read_content(one)),
            list(read_content(other)),
            f"{place} (text, images)",
            exact=True,
        )
        calls = [read_call(call) for call in one.get("tool_calls") or ()]
        ours = [read_call(call) for call in other.get("tool_calls") or ()]
        yield from compare(calls, ours, f"{place}.tool_calls", exact=True)
    yield from judge_pairing(got)


def judge_pairing(messages: list[Row]) -> Iterator[Mismatch]:
    """Check that calls have ids of their own, and that each result carries one of them."""
    open_ids: list[str] = []
    for number, message in enumerate(messages):
        if message["role"] == "assistant":
            open_ids = [call.get("id") for call in message.get("tool_calls") or ()]
            if len(set(open_ids)) != len(open_ids) or not all(open_ids):
                yield Mismatch(f"messages.{number} ids", "one id per call", show(open_ids))
        elif message["role"] == "tool":
            got = message.get("tool_call_id")
            if got not in open_ids:
                yield Mismatch(f"messages.{number}.tool_call_id", show(open_ids), show(got))
            else:
                open_ids.remove(got)


def judge_tools(golden: list[Row] | None, got: list[Row] | None) -> Iterator[Mismatch]:
    """Check that everything that server sends of a tool is sent here too."""
    if not golden:
        if got:
            yield Mismatch("tools", "absent", show(got))
        return
    yield from compare(golden, got, "tools", exact=False)


def judge_format(golden: Row, got: Row | None) -> Iterator[Mismatch]:
    """Compare the answer's format; any-object mode arrives as a schema that means the same."""
    stated = golden.get("response_format") or {}
    schema = golden.get("json_schema") or stated.get("json_schema", {}).get("schema")
    if schema is not None:
        wanted = {"type": "json_schema", "json_schema": {"schema": schema}}
        yield from compare(wanted, got, "response_format", exact=False)
        ours = (got or {}).get("json_schema", {}).get("schema")
        yield from compare(schema, ours, "response_format.json_schema.schema", exact=True)
    elif stated or "grammar" in golden:
        wanted = {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}
        yield from compare(wanted, got, "response_format", exact=False)
    elif got is not None:
        yield Mismatch("response_format", "absent", show(got))


def read_content(message: Row) -> tuple[str, list[str]]:
    """Return a turn's text and its images, whatever way the content is written."""
    content = message.get("content")
    if not isinstance(content, list):
        return content or "", []
    texts = [part["text"] for part in content if part["type"] == "text"]
    images = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
    return "".join(texts), images


def read_call(call: Row) -> list[Any]:
    """Return a call's name and arguments as values."""
    return [call["function"]["name"], json.loads(call["function"]["arguments"])]


USER: Row = {"role": "user", "content": "Hi"}
CALL: Row = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}],
}
RESULT: Row = {"role": "tool", "content": "1", "tool_call_id": "a"}


@pytest.mark.parametrize(
    ("got", "place"),
    [
        ([USER, CALL, {**RESULT, "tool_call_id": "b"}], "messages.2.tool_call_id"),
        ([USER, CALL], "roles"),
        ([{**USER, "content": "Ho"}, CALL, RESULT], "messages.0 (text, images).0"),
        ([USER, {**CALL, "tool_calls": []}, RESULT], "messages.1.tool_calls"),
    ],
)
def test_wrong_turns_are_found(got: list[Row], place: str) -> None:
    """The comparison can fail: on pairing, on roles, on texts, on calls."""
    golden = [USER, CALL, RESULT]

    assert [] == list(judge_messages(golden, [USER, CALL, RESULT]))
    assert place in [problem.path for problem in judge_messages(golden, got)]


def test_wrong_tools_and_formats_are_found() -> None:
    """A lost description, a lost format and an invented one are found."""
    tool: Row = {"type": "function", "function": {"name": "f", "description": "d"}}
    poor: Row = {"type": "function", "function": {"name": "f"}}
    mode: Row = {"response_format": {"type": "json_object"}}

    assert [] == list(judge_tools([tool], [tool])) == list(judge_format({}, None))
    assert ["tools.0.function.description"] == [p.path for p in judge_tools([tool], [poor])]
    assert ["tools"] == [problem.path for problem in judge_tools(None, [tool])]
    assert ["response_format"] == [problem.path for problem in judge_format(mode, None)]
    assert ["response_format"] == [problem.path for problem in judge_format({}, {"type": "text"})]
