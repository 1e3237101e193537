"""
Wrong and odd values: of every JSON type, at every border that a decoder or a rule may have.
"""

from __future__ import annotations

import random

from conformance.differential import document as doc
from conformance.differential.document import List, Node, Object, Text

NUMBERS = (
    *("0", "-0", "1", "-1", "2", "7", "20", "21", "0.5", "-0.5", "1.0", "1.5", "1e3", "1E5"),
    *("1e400", "-1e400", "1e-400", "0.1234567890123456789", "4096", "8192", "2147483648"),
    *("9007199254740993", "9223372036854775807", "9223372036854775808"),
    *("-9223372036854775809", "18446744073709551616"),
)
NO_NUMBERS = ["01", "+1", ".5", "1.", "1e", "0x1", "NaN", "Infinity", "-", "--1"]
TEXTS = (
    "",
    " ",
    "a",
    "json",
    "xml",
    "0",
    "-1",
    "10",
    "5m",
    "1h30m",
    "-1s",
    "1.5h",
    "5 m",
    "true",
    "high",
    "low",
    "max",
    "none",
    "xhigh",
    "a b\tc\nd",
    "\u00e9\u4e1c\U0001f642",
    "<b>&\u2028\u2029",
    '"quoted" \\ back',
    "\x00\x01\x1f\x7f",
    "aGVsbG8=",
    "aGVsbG8",
    "data:image/png;base64,iVBORw0KGgo=",
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
    "x" * 300,
)
SPELLINGS = (
    rb'"\ud83d"',
    rb'"\ud83d\ude00"',
    rb'"\u003cb\u003e"',
    rb'"\q"',
    b'"\xff\xfe"',
    b'"tab\there"',
    b'"open',
    b"nul",
    b"True",
    b"'single'",
)
ROLES = ("user", "system", "assistant", "tool", "User", "developer", "", "narrator")
NAMES = {"model", "name", "from", "source", "destination"}
MODELS = (
    "tiny-plain-1b-instruct",
    "meadow/thicket-4b",
    "orchard/pebble-7b:q8_0",
    "quiet-fjord-3b",
    "text-embedding-tiny-v1",
)
ALL = (*MODELS, "harbor/lantern-8b", "orchard/pebble-7b", "orchard/pebble-7b:q4_k_m")
CHAT, TOOLS, EMBEDDING = MODELS[0], MODELS[1], MODELS[4]


def any_value(dice: random.Random, depth: int = 2) -> Node:
    """Return a value of any type, seldom one that is no JSON."""
    match dice.randrange(12):
        case 0:
            return Text(b"null")
        case 1:
            return Text(dice.choice([b"true", b"false"]))
        case 2 | 3 | 4:
            return Text(dice.choice(NUMBERS).encode())
        case 5 | 6 | 7:
            return doc.of(dice.choice(TEXTS))
        case 8:
            return Text(dice.choice([*SPELLINGS, *(word.encode() for word in NO_NUMBERS)]))
        case 9 | 10 if depth:
            count = dice.choice([0, 1, 1, 2, 3])
            return List(tuple(any_value(dice, depth - 1) for _ in range(count)))
        case _ if depth:
            keys = dice.sample(["a", "b", "type", "name", "role", "content", "A", "\u00e9"], 2)
            count = dice.choice([0, 1, 2])
            return Object(tuple((key, any_value(dice, depth - 1)) for key in keys[:count]))
    return Text(b"{}")


def value_for(dice: random.Random, name: str | int, types: frozenset[str]) -> Node:
    """Return a value for a field: often of a type that it may have, else any."""
    if name in NAMES and dice.random() < 0.8:
        return doc.of(any_name(dice))
    if name == "role" and dice.random() < 0.8:
        return doc.of(dice.choice(ROLES))
    if name == "num_ctx":
        # A small context is full at once here, and never in a scripted engine.
        return Text(dice.choice([b"4096", b"8192", b"2048.5", b"null", b'"4096"', b"true", b"[]"]))
    if dice.random() < 0.4 or not types:
        return any_value(dice)
    match dice.choice(sorted(types)):
        case "string":
            return doc.of(dice.choice(TEXTS))
        case "integer":
            return Text(dice.choice(NUMBERS).encode())
        case "number":
            return Text(dice.choice(NUMBERS).encode())
        case "boolean":
            return Text(dice.choice([b"true", b"false"]))
        case "array":
            count = dice.choice([0, 1, 2])
            return List(tuple(any_value(dice, 1) for _ in range(count)))
        case "object":
            keys = ["type", "properties", "required", "a"]
            return Object(tuple((key, any_value(dice, 1)) for key in keys[: dice.randrange(4)]))
    return Text(b"null")


def any_name(dice: random.Random) -> str:
    """Return a model's name: known, in another spelling, unknown, or none at all."""
    name = dice.choice(MODELS)
    match dice.randrange(14):
        case 0 | 1 | 2:
            return name
        case 3:
            return name.upper()
        case 4:
            return name if ":" in name else f"{name}:latest"
        case 5:
            return name.partition(":")[0] + dice.choice([":LATEST", ":nope", ":", ":a b", ":a:b"])
        case 6:
            return (
                dice.choice(["registry.ollama.ai/library/", "library/", "h:1/n/", "x/", "/"]) + name
            )
        case 7:
            return name + dice.choice(
                [":cloud", "-cloud", ":local", ":cloud:local", ":local:local"]
            )
        case 8:
            return dice.choice(
                ["nosuch", "nosuch:tag", "NoSuch", "n:local", "a/b/c/d", "a/b/c/d/e"]
            )
        case 9:
            return dice.choice(
                ["", " ", ":", "/", "@", "a@b", "a b", "..", "../a", "-a", ".a", "a."]
            )
        case 10:
            return dice.choice(
                ["a\\b", "a\nb", "\x00", "\u00e9", "a\u2028b", '"q"', "%s", "<b>", "a&b"]
            )
        case 11:
            return dice.choice(["x" * 79, "x" * 80, "x" * 81, "n:" + "t" * 80, "n:" + "t" * 81])
        case 12:
            return dice.choice(
                ["http://h/n", "hf.co/a/b:Q4", "a.b/c", "a.b/c/d", "a_b-c.d", "a--b"]
            )
    return f" {name}" if dice.random() < 0.5 else f"{name} "
