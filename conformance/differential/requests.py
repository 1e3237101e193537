"""
Generated requests: from a seed always the same ones.

`draw` makes one request: an operation's example with fields set to wrong and odd values, damaged
JSON, odd names, methods, paths and headers, or speech by a script that the prompt carries.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from conformance.differential import document as doc
from conformance.differential.document import List, Node, Object, Text
from conformance.differential.fields import Operation, operations
from conformance.differential.values import (
    CHAT,
    EMBEDDING,
    MODELS,
    NAMES,
    TOOLS,
    any_name,
    any_value,
    value_for,
)
from conformance.differential.wire import Request

DIGEST = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
"""Of the bytes `hello`."""
CHANGING = {"/api/create", "/api/copy", "/api/delete", "/api/pull", "/api/push"}


@dataclass(frozen=True)
class Drawn:
    """
    One request as it was drawn, so that it can be made smaller.

    A body is a tree, or bytes where it is no JSON.
    """

    route: str
    method: str
    target: str
    body: Node | bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()
    host: str | None = None
    version: str = "1.1"

    @property
    def request(self) -> Request:
        """The request to send."""
        body = self.body if isinstance(self.body, bytes | None) else doc.write(self.body)
        return Request(self.method, self.target, self.headers, body, self.host, self.version)

    @property
    def changes(self) -> bool:
        """Whether it may change which models there are."""
        path = self.target.partition("?")[0]
        return path.lower() in CHANGING or path.startswith("/api/blobs")


def draw(dice: random.Random) -> Drawn:
    """Draw one request."""
    makers: list[tuple[int, Callable[[random.Random], Drawn]]] = [
        (52, draw_fields),
        (8, draw_damaged),
        (8, draw_names),
        (10, draw_edge),
        (22, draw_speech),
    ]
    (_, make), *_ = dice.choices(makers, [weight for weight, _ in makers])
    return make(dice)


def with_body(dice: random.Random) -> tuple[Operation, Object]:
    """Return an operation that takes a body, and an example with a model that is there."""
    operation = dice.choice([one for one in operations() if one.fields])
    example = dict(dice.choice(operation.examples))
    return operation, settle(operation, example, dice)


def settle(operation: Operation, example: dict[str, Any], dice: random.Random) -> Object:
    """Put names of models that are there into an example, and a script into its prompt."""
    for key in NAMES & example.keys():
        if isinstance(example[key], str):
            embeds = "embed" in operation.path
            example[key] = EMBEDDING if embeds else dice.choice([CHAT, TOOLS])
    if operation.path == "/api/create":
        example["model"] = "drawn"
    if operation.path == "/api/copy":
        example["destination"] = "drawn"
    if operation.path == "/api/delete":
        example["model"] = "nosuch"
    node = doc.of(example)
    assert isinstance(node, Object)
    return node


def ask_by(operation: Operation, body: Node | bytes | None) -> Drawn:
    """Return a request of an operation."""
    path = operation.path.replace("{digest}", DIGEST).replace("{encodedKey}", "a")
    return Drawn(operation.route, operation.method, path.replace("{rest}", "x"), body)


def draw_fields(dice: random.Random) -> Drawn:
    """Draw an example with one to three fields changed, or a key doubled or in capitals."""
    operation, body = with_body(dice)
    node: Node = body
    for _ in range(dice.choice([1, 1, 1, 2, 3])):
        # The fields of the upper storeys are few, and most of what a request does hangs on them.
        field = dice.choice(operation.fields)
        if dice.random() < 0.6:
            field = dice.choice([one for one in operation.fields if len(one.path) == 1])
        if field.path == ("model",) and operation.path == "/api/delete":
            continue
        node = doc.put_at(node, field.path, value_for(dice, field.path[-1], field.types))
    assert isinstance(node, Object)
    if dice.random() < 0.1 and node.members:
        key, value = dice.choice(node.members)
        again = dice.choice([value, any_value(dice)])
        node = Object((*node.members, (dice.choice([key, key.upper(), key.title()]), again)))
    if dice.random() < 0.05:
        node = Object((*node.members, ("unknown_key", any_value(dice))))
    return ask_by(operation, node)


def draw_damaged(dice: random.Random) -> Drawn:
    """Draw a body that is no JSON object, or whose JSON is damaged."""
    operation, body = with_body(dice)
    text = doc.write(body)
    match dice.randrange(6):
        case 0:
            return ask_by(operation, dice.choice([b"", b" ", b"\n", b"\x00", b"\xef\xbb\xbf{}"]))
        case 1:
            return ask_by(operation, doc.write(any_value(dice)))
        case 2:
            return ask_by(operation, text[: dice.randrange(len(text))])
        case 3:
            place = dice.randrange(len(text))
            junk = dice.choice([b",", b"}", b"]", b'"', b"\\", b"\x01", b"\xff", b":", b"{", b"["])
            return ask_by(operation, text[:place] + junk + text[place:])
        case 4:
            place = dice.randrange(len(text))
            return ask_by(operation, text[:place] + text[place + 1 :])
    tail = dice.choice([b"x", b"{}", b" ", b"\n\n", b"]", b'{"model":1}'])
    return ask_by(operation, text + tail)


def draw_names(dice: random.Random) -> Drawn:
    """Draw an example with another name."""
    operation, body = with_body(dice)
    keys = [key for key, _ in body.members if key in NAMES] or ["model"]
    key = dice.choice([*keys, "name"])
    if operation.path == "/api/delete":
        key = "model"
    return ask_by(operation, body.put(key, doc.of(any_name(dice))))


def draw_edge(dice: random.Random) -> Drawn:
    """Draw what is decided before a body is read: method, path, Host, Origin, version."""
    operation = dice.choice([one for one in operations() if one.path != "/api/delete"])
    drawn = ask_by(operation, Object() if operation.fields else None)
    if operation.path not in {"/api/create", "/api/copy", "/api/pull", "/api/push"}:
        paths = [drawn.target, drawn.target + "/", "/" + drawn.target, drawn.target + "?a=1"]
        paths += [drawn.target.upper(), drawn.target + "/x", "/api/./tags", "/api/../api/tags"]
        drawn = replace(drawn, target=dice.choice([drawn.target] * 8 + paths))
    if dice.random() < 0.3:
        methods = [
            "GET",
            "HEAD",
            "POST",
            "PUT",
            "PATCH",
            "OPTIONS",
            "DELETE",
            "TRACE",
            "FOO",
            "get",
        ]
        method = dice.choice(methods)
        drawn = replace(drawn, method=method, route=f"{method} {operation.path}")
    headers: list[tuple[str, str]] = []
    if dice.random() < 0.4:
        origins = (
            "http://localhost|http://localhost:3000|https://127.0.0.1:1|http://0.0.0.0|null|"
            "http://evil.example|app://x|file://a|tauri://x|vscode-webview://a|vscode-file://a|"
            "chrome-extension://a|http://[::1]|HTTP://LOCALHOST|localhost|*|http://localhost.evil"
        )
        headers.append(("Origin", dice.choice(origins.split("|"))))
    if dice.random() < 0.2:
        headers.append(("Access-Control-Request-Method", dice.choice(["POST", "DELETE", "X"])))
    if dice.random() < 0.2:
        headers.append(("Access-Control-Request-Headers", dice.choice(["x-a", "authorization"])))
    if dice.random() < 0.2:
        headers.append(("Content-Type", dice.choice(["text/plain", "", "application/x", "a/b; c"])))
    if dice.random() < 0.1:
        headers.append(("Authorization", dice.choice(["Bearer x", "Basic eDp5", ""])))
    host = None
    if dice.random() < 0.3:
        hosts = (
            "localhost|localhost:11434|127.0.0.1|127.0.0.1:1|evil.example|[::1]|[::1]:80|0.0.0.0|"
            "a.localhost|a.local|a.internal|host.docker.internal|localhost:|127.0.0.1:-1|[::1|"
            "10.0.0.1|192.168.1.1:80|LOCALHOST|localhost.|b\u00e4d|a b|a/b|1.2.3.4|127.0.0.2"
        )
        host = dice.choice(hosts.split("|"))
    version = "1.0" if dice.random() < 0.05 else "1.1"
    return replace(drawn, headers=tuple(headers), host=host, version=version)


PIECES = (
    "Hel",
    "lo",
    " world",
    "\n",
    "\n\n",
    " ",
    "  - a",
    "",
    "<b>&",
    "\u4e1c\u4eac",
    "\U0001f642",
    "{",
    '"a":1}',
    "\t",
    "```json\n",
    "\u2028",
)
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Looks up",
        "parameters": {"type": "object", "properties": {"q": {"type": "string"}}},
    },
}
ARGUMENTS: tuple[Any, ...] = (
    {},
    {"q": "x"},
    {"b": 1, "a": [1.0, None, {"z": 1, "a": 2}]},
    '{"n": 1.0, "m": 1E5, "n": 2}',
    '{"s": "<b>\\u00e9"}',
    "",
    "{",
    "[1]",
)


def draw_script(dice: random.Random, *, calls: bool, thinks: bool) -> dict[str, Any]:
    """Draw what an engine is to say."""
    script: dict[str, Any] = {"say": [dice.choice(PIECES) for _ in range(dice.randrange(6))]}
    if thinks and dice.random() < 0.5:
        script["think"] = [dice.choice(PIECES) for _ in range(dice.randrange(1, 4))]
    if calls and dice.random() < 0.5:
        script["calls"] = [
            {
                "name": dice.choice(["look_up", "other"]),
                "arguments": dice.choice(ARGUMENTS),
                "id": dice.choice(["1", "2", "a"]),
            }
            for _ in range(dice.choice([1, 1, 2]))
        ]
    if dice.random() < 0.2:
        script["finish"] = dice.choice(["stop", "length"])
    if dice.random() < 0.08:
        script["error"] = dice.choice(["boom", "a <b> \u00e9"])
    elif dice.random() < 0.04:
        script |= {"error": "refused", "status": dice.choice([400, 404, 500, 503])}
    return script


def draw_speech(dice: random.Random) -> Drawn:
    """Draw a question to which both engines say the same."""
    by_path = {one.path: one for one in operations() if one.fields}
    path = dice.choice(
        ["/api/chat"] * 6 + ["/api/generate"] * 3 + ["/api/embed", "/api/embeddings"]
    )
    if path.startswith("/api/embed"):
        return ask_by(by_path[path], draw_embedding(dice, path))
    chat = path == "/api/chat"
    model = dice.choice([CHAT, TOOLS] if chat else [CHAT])
    able = chat and model == TOOLS
    script = draw_script(dice, calls=able, thinks=able)
    if not chat and "status" not in script:
        script.pop("error", None)  # an engine's raw route has no error within a stream
    text = f"Say @@{json.dumps(script, ensure_ascii=False)}"
    body: dict[str, Any] = {"model": model}
    if chat:
        turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
        system = [{"role": "system", "content": "Be brief"}]
        earlier = dice.choice([[], [], turns, system, [*system, *turns]])
        body["messages"] = [*earlier, {"role": "user", "content": text}]
    else:
        body["prompt"] = text
        if dice.random() < 0.2:
            body["raw"] = True
        if dice.random() < 0.2:
            body["system"] = "Be brief"
    if dice.random() < 0.5:
        body["stream"] = dice.choice([False, False, True, None])
    if able and dice.random() < 0.6:
        body["tools"] = [TOOL]
    if able and dice.random() < 0.4:
        body["think"] = dice.choice([True, False, None])
    if dice.random() < 0.2:
        body["format"] = dice.choice(["json", "", None, SCHEMA])
    if dice.random() < 0.3:
        body["options"] = dice.choice(
            [
                {"temperature": 0},
                {"stop": ["zz"]},
                {"num_predict": 50},
                {"num_predict": 0},
                {"seed": 1, "top_k": 3},
                {},
            ]
        )
    if dice.random() < 0.2:
        body["keep_alive"] = dice.choice(["5m", 60, -1, "1h", None])
    return ask_by(by_path[path], doc.of(body))


def draw_embedding(dice: random.Random, path: str) -> Node:
    """Draw texts to embed."""
    texts = ["a", "Hello world", "", "\u4e1c\u4eac", "x " * 50]
    body: dict[str, Any] = {"model": EMBEDDING}
    if path == "/api/embed":
        several = [dice.choice(texts) for _ in range(dice.randrange(4))]
        body["input"] = dice.choice([dice.choice(texts), several])
        if dice.random() < 0.3:
            body["dimensions"] = dice.choice([0, 1, 5, 31, 32, 33, -1, 1000])
        if dice.random() < 0.2:
            body["truncate"] = dice.choice([True, False])
    else:
        body["prompt"] = dice.choice(texts)
    return doc.of(body)


__all__ = ["MODELS", "Drawn", "List", "Text", "draw"]
