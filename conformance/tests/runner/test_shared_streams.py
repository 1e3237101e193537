"""
Genuine LM Studio streams through the gateway, against what a real Ollama makes of the same bytes.

The shared goldens are an independent oracle. Exactly these differences are allowed, each declared
where it is applied: times and durations; counts that a recording lacks, and the cached count;
whitespace at the edges of thinking and content (docs/facts/lmstudio.md#edge-whitespace); reasoning
under its other name, which that server loses; and a stream without a finish reason, which ends in
an error line here.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from conformance.runner.client import ask
from conformance.runner.runner import Bench
from conformance.runner.shared_cases import find_shared
from conformance.suite.compare import TIMES, Mismatch, show
from conformance.suite.fixture import Chunk, cut_into, encode
from conformance.suite.judge import Answer
from conformance.suite.wire import split_lines

SHARED = find_shared()
assert SHARED is not None, "conftest.py leaves this file out without the shared material"
MODEL = "harbor/lantern-8b"
COUNTS = ("prompt_eval_count", "eval_count")
CUTS = ("events", "small", "whole")


@dataclass(frozen=True)
class Pair:
    """A recording's bytes and what the other server answered."""

    sse: bytes
    golden: dict[str, Any]

    @property
    def chunks(self) -> list[dict[str, Any]]:
        """Return the payloads of the recording."""
        texts = [line[6:] for line in self.sse.decode().split("\n") if line.startswith("data: {")]
        return [json.loads(text) for text in texts]

    @property
    def has_usage(self) -> bool:
        """Say whether the recording has counts."""
        return any("usage" in chunk for chunk in self.chunks)

    @property
    def is_finished(self) -> bool:
        """Say whether the recording has a finish reason."""
        reasons = [c["finish_reason"] for chunk in self.chunks for c in chunk["choices"]]
        return any(reasons)

    def cut(self, how: str) -> list[Chunk]:
        """Return the bytes by event, in small pieces, or at once."""
        match how:
            case "events":
                return [(0, part + b"\n\n") for part in self.sse.split(b"\n\n") if part]
            case "small":
                return cut_into(self.sse, 1 if len(self.sse) < 3000 else 7)
            case _:
                return [(0, self.sse)]


def list_pairs() -> list[str]:
    """Return the names of the recordings that have a golden."""
    assert SHARED is not None
    recordings = SHARED / "recordings" / "lmstudio"
    names = [path.stem for path in sorted((SHARED / "goldens" / "streams").glob("*.json"))]
    return [name for name in names if (recordings / f"{name}.json").is_file()]


def load_pair(name: str) -> Pair:
    """Read a recording and its golden."""
    assert SHARED is not None

    def read(*parts: str) -> Any:
        return json.loads(Path(SHARED, *parts, f"{name}.json").read_text("utf-8"))

    recording = read("recordings", "lmstudio")
    return Pair(recording["response"]["sse"].encode(), read("goldens", "streams"))


NAMES = list_pairs()


def test_there_are_pairs() -> None:
    """An empty list would make this file pass without looking at anything."""
    assert 10 <= len(NAMES)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", NAMES)
def test_streamed(gateway_bench: Bench, name: str, cut: str) -> None:
    """Line by line the same, whatever the network did to the bytes."""
    pair = load_pair(name)
    answer = send(gateway_bench, pair, cut, stream=True)
    lines, problems = split_lines(answer.body)
    got = [normalise(frame, pair) for _, frame in lines]

    assert [] == problems
    assert (200, "application/x-ndjson") == (answer.status, answer.header("content-type"))
    assert [] == differences(expected_lines(pair), got)


@pytest.mark.parametrize("name", NAMES)
def test_not_streamed(gateway_bench: Bench, name: str) -> None:
    """One object with the same content, or an error when the recording breaks off."""
    pair = load_pair(name)
    answer = send(gateway_bench, pair, "events", stream=False)

    if not pair.is_finished:
        assert answer.status >= 500
        assert ["error"] == list(json.loads(answer.body))
        return
    assert 200 == answer.status
    frame = normalise(json.loads(answer.body), pair)
    assert [] == differences([expected_one_shot(pair)], [frame])


def send(bench: Bench, pair: Pair, cut: str, *, stream: bool) -> Answer:
    """Let the stand-in send the recording, and ask the gateway what the golden's client asked."""
    request = {**pair.golden["request"]["body"], "model": MODEL, "stream": stream}
    rule = {
        "match": {"path": "/v1/chat/completions"},
        "answer": {
            "status": 200,
            "headers": {"content-type": "text/event-stream"},
            "chunks": [[ms, encode(data)] for ms, data in pair.cut(cut)],
        },
    }

    async def work() -> Answer:
        bench_pair = await bench.pair_for({"answers": {"wrong_model": "warn"}})
        assert bench_pair.control is not None
        await bench_pair.control.reset()
        await bench_pair.control.script([rule])
        body = json.dumps(request).encode()
        return await ask(bench_pair.gateway_url, "POST", "/api/chat", body=body)

    answer: Answer = bench.submit(work)
    return answer


def normalise(frame: dict[str, Any], pair: Pair) -> dict[str, Any]:
    """Take out of our own line what may differ: times, the cached count, estimated counts."""
    frame = {key: 0 if key in TIMES else value for key, value in frame.items()}
    frame.pop("prompt_eval_cached_count", None)
    if not pair.has_usage:
        for key in (*COUNTS, "prompt_eval_duration", "eval_duration"):
            frame.pop(key, None)
    if "error" in frame:
        frame["error"] = "(some text)"
    return frame


def expected_lines(pair: Pair) -> list[dict[str, Any]]:
    """Return the golden's lines with the declared differences applied."""
    golden = [json.loads(line) for line in pair.golden["streamed"]["body"].splitlines()]
    frames = [adopt(frame) for frame in golden]
    lost = [
        line({"thinking": choice["delta"]["reasoning"]})
        for chunk in pair.chunks
        for choice in chunk["choices"]
        if "reasoning" in choice["delta"]
    ]
    shown = [frame for frame in frames if not frame["done"]]
    final = [frame for frame in frames if frame["done"]]
    lines = [line(part) for part in smooth([parts_of(frame) for frame in [*lost, *shown]])]
    return lines + (final if pair.is_finished else [{"error": "(some text)"}])


def adopt(frame: dict[str, Any]) -> dict[str, Any]:
    """Put our model's name and no times into a golden line."""
    frame = {key: 0 if key in TIMES else value for key, value in frame.items()}
    frame["model"] = MODEL
    return frame


def line(part: dict[str, str]) -> dict[str, Any]:
    """Return an ordinary line with a piece of thinking or of content."""
    message = {"role": "assistant", "content": "", **part}
    return {"model": MODEL, "created_at": 0, "message": message, "done": False}


def parts_of(frame: dict[str, Any]) -> dict[str, str]:
    """Return the piece a line carries."""
    message = frame["message"]
    if "thinking" in message:
        return {"thinking": message["thinking"]}
    return {"content": message["content"]}


def smooth(parts: list[dict[str, str]]) -> list[dict[str, str]]:
    """
    Drop whitespace at the edges of thinking and content (docs/facts/lmstudio.md#edge-whitespace).

    Whitespace at the start and at the end of thinking, and at the start of content that follows
    thinking, is dropped; content without thinking keeps it (docs/facts/ollama.md#whitespace).
    Whitespace alone within thinking comes with the next piece, since it might have been the end.
    """
    thinking = smooth_thinking([part["thinking"] for part in parts if "thinking" in part])
    content = [part["content"] for part in parts if "content" in part]
    while thinking and content and not content[0].strip():
        del content[0]
    if thinking and content:
        content[0] = content[0].lstrip()
    return [{"thinking": text} for text in thinking] + [{"content": text} for text in content]


def smooth_thinking(texts: list[str]) -> list[str]:
    """Apply the rule to the pieces of thinking."""
    result: list[str] = []
    held = ""
    for text in texts:
        whole = held + text if result else text.lstrip()
        held = "" if whole.strip() else whole
        if not held and whole:
            result.append(whole)
    if result:
        result[-1] = result[-1].rstrip()
    return result


def expected_one_shot(pair: Pair) -> dict[str, Any]:
    """Return the golden's single object with the declared differences applied."""
    frame = copy.deepcopy(adopt(json.loads(pair.golden["one_shot"]["body"])))
    lines = [entry for entry in expected_lines(pair) if not entry["done"]]
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    for entry in lines:
        for key, text in parts_of(entry).items():
            message[key] = message.get(key, "") + text
    if "tool_calls" in frame["message"]:
        message["tool_calls"] = frame["message"]["tool_calls"]
    frame["message"] = message
    return frame


def differences(wanted: list[dict[str, Any]], got: list[dict[str, Any]]) -> list[str]:
    """Compare as text, so that the order of keys counts; return the first few differences."""
    found = []
    for number in range(max(len(wanted), len(got))):
        one = show(wanted[number]) if number < len(wanted) else "no line"
        other = show(got[number]) if number < len(got) else "no line"
        if one != other:
            found.append(str(Mismatch(f"line {number + 1}", one, other)))
    return found[:5]


def test_differences_are_found() -> None:
    """The comparison can fail: on values, on the order of keys, on length."""
    assert [] == differences([{"a": 1, "b": 2}], [{"a": 1, "b": 2}])
    assert 1 == len(differences([{"a": 1, "b": 2}], [{"b": 2, "a": 1}]))
    assert 1 == len(differences([{"a": 1}], [{"a": 2}]))
    assert 1 == len(differences([{"a": 1}], []))


def test_whitespace_rule() -> None:
    """The oracle's own rule, on the smallest examples."""
    thinking = [{"thinking": text} for text in ("\n", "a", "\n\n", " b", "\n")]
    content = [{"content": text} for text in ("\n\n", " x", " ", "y", "\n")]
    expected = [{"thinking": "a"}, {"thinking": "\n\n b"}]

    expected += [{"content": text} for text in ("x", " ", "y", "\n")]
    assert expected == smooth([*thinking, *content])
    assert content == smooth(content)
