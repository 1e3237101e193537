"""
The shared black-box cases, run against the gateway.

An adapter only: it reads the lines of `cases/ollama-contract.jsonl` in a folder beside this project
(format: `SharedCase`) and judges answers by them. Nothing of that folder is copied here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conformance.runner.client import NoAnswer, ask
from conformance.runner.runner import Bench
from conformance.suite.compare import Mismatch, compare, look_up, show
from conformance.suite.judge import Answer
from conformance.suite.wire import NotJson, read_json

PROJECT = Path(__file__).parents[2]
VARIABLE = "OLGATE_SHARED"
KNOWN_FAILING = Path(__file__).parent / "known_failing_shared.txt"
PLAIN = "tiny-plain-1b-instruct"
EMBED = "text-embedding-tiny-v1"
"""The stand-in's chat model without tools, vision and reasoning, and its embedding model."""


def find_shared() -> Path | None:
    """Return the folder of shared material: `OLGATE_SHARED`, else `shared` beside the project."""
    stated = os.environ.get(VARIABLE)
    folder = Path(stated) if stated else PROJECT.parent / "shared"
    return folder if folder.is_dir() else None


def missing_sentence() -> str:
    """Say in one line that the folder is absent, and how to point at it."""
    return (
        f"the shared material is not here: no folder `shared` beside {PROJECT.name}, "
        f"and {VARIABLE} names none"
    )


@dataclass(frozen=True)
class SharedCase:
    """One line of the file, its placeholders filled in."""

    id: str
    tier: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes | None
    expect: dict[str, Any]
    why: str
    needs: tuple[str, ...] = field(default=())


def load_shared_cases(folder: Path, *, plain: str = PLAIN, embed: str = EMBED) -> list[SharedCase]:
    """Read the cases; `plain` and `embed` take the place of the two placeholders."""
    text = (folder / "cases" / "ollama-contract.jsonl").read_text("utf-8")
    text = text.replace("{{PLAIN}}", plain).replace("{{EMBED}}", embed)
    return [_read(json.loads(line)) for line in text.split("\n") if line.strip()]


def _read(row: dict[str, Any]) -> SharedCase:
    body: bytes | None = None
    if "raw_body" in row:
        body = row["raw_body"].encode()
    elif "body" in row:
        body = json.dumps(row["body"]).encode()
    return SharedCase(
        id=row["id"],
        tier=row["tier"],
        method=row["method"],
        path=row["path"],
        headers=row.get("req_headers", {}),
        body=body,
        expect=row["expect"],
        why=row["why"],
        needs=tuple(row.get("needs", ())),
    )


def run_shared(bench: Bench, case: SharedCase) -> list[Mismatch]:
    """Send one case to the bench's gateway and return everything that is wrong."""

    async def work() -> list[Mismatch]:
        pair = await bench.pair_for()
        if pair.control is not None:
            await pair.control.reset()
        try:
            answer = await ask(pair.gateway_url, case.method, case.path, case.headers, case.body)
        except NoAnswer as error:
            return [Mismatch("answer", "an HTTP answer", str(error))]
        return list(judge_shared(case.expect, answer))

    found: list[Mismatch] = bench.submit(work)
    return found


_KEYS = {
    "status",
    "json_equals",
    "json_subset",
    "json_has",
    "json_absent",
    "error_equals",
    "text_equals",
    "body_empty",
    "headers",
    "ndjson_first_subset",
    "ndjson_last_has",
}


def judge_shared(expect: dict[str, Any], answer: Answer) -> Iterator[Mismatch]:
    """Yield what differs from a shared case's `expect`; an unknown key is a difference too."""
    for key in expect.keys() - _KEYS:
        yield Mismatch(f"expect.{key}", "a key this adapter knows", key)
    text = answer.body.decode("utf-8", "replace")
    if answer.status != expect["status"]:
        yield Mismatch("status", str(expect["status"]), f"{answer.status} {show(text)}")
    for name, value in expect.get("headers", {}).items():
        if answer.header(name) != value:
            yield Mismatch(f"header {name}", value, str(answer.header(name)))
    if expect.get("body_empty") and answer.body:
        yield Mismatch("body", "nothing", show(text))
    if "text_equals" in expect and text != expect["text_equals"]:
        yield Mismatch("body", show(expect["text_equals"]), show(text))
    yield from _judge_json(expect, answer)
    yield from _judge_lines(expect, answer)


def _judge_json(expect: dict[str, Any], answer: Answer) -> Iterator[Mismatch]:
    names = {"json_equals", "json_subset", "json_has", "json_absent", "error_equals"}
    if not names & expect.keys():
        return
    try:
        value = read_json(answer.body)
    except NotJson as error:
        yield Mismatch("body", "one JSON value", str(error))
        return
    if "json_equals" in expect:
        yield from compare(_literal(expect["json_equals"]), value, "", exact=True)
    if "json_subset" in expect:
        yield from compare(_literal(expect["json_subset"]), value, "", exact=False)
    if "error_equals" in expect:
        yield from compare({"error": _literal(expect["error_equals"])}, value, "", exact=False)
    for path in expect.get("json_has", ()):
        if not look_up(value, path)[0]:
            yield Mismatch(path, "present", "absent")
    for path in expect.get("json_absent", ()):
        if look_up(value, path)[0]:
            yield Mismatch(path, "absent", show(look_up(value, path)[1]))


def _judge_lines(expect: dict[str, Any], answer: Answer) -> Iterator[Mismatch]:
    if not {"ndjson_first_subset", "ndjson_last_has"} & expect.keys():
        return
    try:
        frames = [read_json(line) for line in answer.body.splitlines()]
    except NotJson as error:
        yield Mismatch("body", "lines of JSON", str(error))
        return
    if not frames:
        yield Mismatch("body", "lines of JSON", "nothing")
        return
    wanted = _literal(expect.get("ndjson_first_subset", {}))
    yield from compare(wanted, frames[0], "first line", exact=False)
    for path in expect.get("ndjson_last_has", ()):
        if not look_up(frames[-1], path)[0]:
            yield Mismatch(f"last line: {path}", "present", show(frames[-1]))


def _literal(value: Any) -> Any:
    """Protect texts that would read as markers of our own cases."""
    if isinstance(value, str) and value.startswith("$"):
        return f"${value}"
    if isinstance(value, dict):
        return {key: _literal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_literal(item) for item in value]
    return value
