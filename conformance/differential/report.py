"""
Prints a finding: what differs, and a case in the format of conformance/cases.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

from conformance.differential import document as doc
from conformance.differential.requests import Drawn
from conformance.differential.session import Finding
from conformance.differential.wire import Reply

LONGEST = 300


def describe(finding: Finding, times: int) -> Iterator[str]:
    """Yield the lines about a finding."""
    yield f"## {finding.kind} ({times} times)"
    for one in finding.differences[:6]:
        yield f"#   {one.at}"
        yield f"#     Ollama   {one.real[:LONGEST]}"
        yield f"#     gateway  {one.ours[:LONGEST]}"
    if len(finding.differences) > 6:
        yield f"#   and {len(finding.differences) - 6} more"
    yield from case_of(finding)


def case_of(finding: Finding) -> Iterator[str]:
    """Yield the lines of a case that asks for what Ollama answered."""
    room = finding.drawn.target.partition("?")[0].strip("/").removeprefix("api/") or "root"
    words = re.sub(r"[^a-z0-9]+", "-", finding.kind.lower()).strip("-")
    yield f"- case: {room.partition('/')[0]}/differential/{words}"
    yield "  why: Ollama answers so"
    if finding.before:
        yield f"  before: {flow([client_of(one) for one in finding.before])}"
    yield f"  client: {flow(client_of(finding.drawn))}"
    yield f"  expect: {flow(expect_of(finding.real))}"


def client_of(drawn: Drawn) -> dict[str, Any]:
    """Return the `client` of a case."""
    client: dict[str, Any] = {"method": drawn.method, "path": drawn.target}
    headers = dict(drawn.headers)
    if drawn.host is not None:
        headers["Host"] = drawn.host
    if headers:
        client["headers"] = headers
    if drawn.body is None:
        return client
    data = drawn.body if isinstance(drawn.body, bytes) else doc.write(drawn.body)
    try:
        value = json.loads(data)
        if json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() == data:
            return {**client, "request": value}
        return {**client, "raw_body": data.decode("utf-8")}
    except UnicodeError:
        return {**client, "raw_body": {"base64": base64.b64encode(data).decode()}}
    except ValueError:
        return {**client, "raw_body": data.decode("utf-8", "replace")}


def expect_of(reply: Reply) -> dict[str, Any]:
    """Return the `expect` of a case."""
    expect: dict[str, Any] = {"status": reply.status}
    kind = reply.header("content-type") or ""
    try:
        if "ndjson" in kind:
            lines = [json.loads(line) for line in reply.body.split(b"\n") if line]
            return {**expect, "frames": {"lines": lines}, "tolerate": ["times"]}
        value = json.loads(reply.body)
    except ValueError:
        return {**expect, "text": reply.body.decode("utf-8", "replace")}
    if isinstance(value, dict) and value.keys() == {"error"}:
        return {**expect, "error": value["error"]}
    return {**expect, "json": value, "tolerate": ["times"]}


def flow(value: Any) -> str:
    """Return a value in YAML's flow style, which JSON is."""
    return json.dumps(value, ensure_ascii=False)
