"""
Comparing two replies to one request: status, headers, framing, the order of keys, texts, values.

What can't be equal is compared by its form: times, durations, digests, sizes and counts.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from conformance.differential.wire import Reply
from conformance.suite.compare import TIMESTAMP

HEADERS = (
    "content-type",
    "allow",
    "location",
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-max-age",
    "access-control-allow-credentials",
    "vary",
)
TIMES = {"created_at", "modified_at", "expires_at"}
COUNTS = {"size", "size_vram", "prompt_eval_count", "eval_count"}
WRONG_FILE = re.compile(r"invalid digest (for .*: invalid digest )?format", re.DOTALL)
DIGEST = re.compile(r"(sha256:)?[0-9a-f]{64}")
ABSENT = "(absent)"
UPLOADED = "model.gguf"
"""What Ollama calls the parent of a model that was made of a file; those of a pull have none."""


@dataclass(frozen=True)
class Difference:
    """Where two replies differ: `at` is a dotted place, the others are JSON texts or words."""

    at: str
    real: str
    ours: str

    @property
    def kind(self) -> str:
        """The place without numbers of lines and items, which tells kinds of differences apart."""
        return re.sub(r"\.\d+(?=\.|$)", ".*", self.at)


class Spelled(float):
    """A number with a fraction, and how it was spelled."""

    text: str

    def __new__(cls, text: str) -> Spelled:
        """Keep the text."""
        number = super().__new__(cls, text)
        number.text = text
        return number


def compare(real: Reply, ours: Reply) -> list[Difference]:
    """Return every difference, the most telling first."""
    found = []
    if real.status != ours.status:
        found.append(Difference("status", str(real.status), str(ours.status)))
    for name in HEADERS:
        wanted, got = real.header(name) or ABSENT, ours.header(name) or ABSENT
        if wanted != got:
            found.append(Difference(f"header.{name}", wanted, got))
    if real.whole != ours.whole:
        found.append(Difference("end", str(real.whole), str(ours.whole)))
    return [*found, *compare_bodies(real, ours)]


def compare_bodies(real: Reply, ours: Reply) -> Iterator[Difference]:
    """Yield differences of the bodies: as lines, as one value, or else as texts."""
    kind = real.header("content-type") or ""
    if "ndjson" in kind and "ndjson" in (ours.header("content-type") or ""):
        yield from compare_lines(real, ours)
        return
    one, other = read(real.body), read(ours.body)
    if one is None or other is None:
        if real.body != ours.body:
            yield Difference("text", _decode(real.body), _decode(ours.body))
        return
    yield from compare_values(one[0], other[0], "body")
    if real.body.endswith(b"\n") != ours.body.endswith(b"\n"):
        yield Difference("newline", str(real.body[-1:]), str(ours.body[-1:]))


def compare_lines(real: Reply, ours: Reply) -> Iterator[Difference]:
    """
    Yield differences of two streams, line by line, and of their cuts.

    Streams of different lengths are compared by what their lines come to.
    """
    wanted, got = real.body.split(b"\n"), ours.body.split(b"\n")
    if len(wanted) != len(got):
        yield Difference("lines", str(len(wanted)), str(len(got)))
        yield from compare_values(fold(wanted), fold(got), "fold")
        return
    for place, (one, other) in enumerate(zip(wanted, got, strict=True)):
        first, second = read(one), read(other)
        if first is None or second is None:
            if one != other:
                yield Difference(f"line.{place}", _decode(one), _decode(other))
            continue
        yield from compare_values(first[0], second[0], f"line.{place}")
    cuts = [all(chunk.count(b"\n") == 1 for chunk in reply.chunks) for reply in (real, ours)]
    if cuts[0] != cuts[1]:
        yield Difference("chunks", f"one line each: {cuts[0]}", f"one line each: {cuts[1]}")


def fold(lines: list[bytes]) -> Any:
    """Return the last line with the texts of all lines, or all lines where they are no frames."""
    values = [one[0] for line in lines if line and (one := read(line)) is not None]
    frames = [one for one in values if isinstance(one, dict)]
    if not frames or not any("message" in one or "response" in one for one in frames):
        return values
    last = dict(frames[-1])
    for key in ("response", "thinking"):
        if text := "".join(one.get(key, "") for one in frames):
            last[key] = text
    messages = [one["message"] for one in frames if "message" in one]
    if messages:
        joined = dict(last.get("message", {}))
        for key in ("content", "thinking"):
            if text := "".join(one.get(key, "") for one in messages):
                joined[key] = text
        last["message"] = joined
    return last


def read(data: bytes) -> tuple[Any] | None:
    """Return a JSON value with its spelled numbers and ordered members, or None."""
    try:
        return (json.loads(data, parse_float=Spelled),)
    except ValueError:
        return None


def compare_values(real: Any, ours: Any, at: str) -> Iterator[Difference]:
    """Yield differences of two values."""
    if at.endswith(".capabilities") and isinstance(real, list) and isinstance(ours, list):
        # Their order is that in which Ollama learns of them: of the file's template or its own.
        real, ours = sorted(real), sorted(ours)
    if at == "body.models" and isinstance(real, list) and isinstance(ours, list):
        yield from compare_dates(real, ours)
        real, ours = by_name(real), by_name(ours)
    if isinstance(real, dict) and isinstance(ours, dict):
        yield from compare_objects(real, ours, at)
    elif isinstance(real, list) and isinstance(ours, list):
        if len(real) != len(ours):
            yield Difference(f"{at}.length", _show(real), _show(ours))
        for place, (one, other) in enumerate(zip(real, ours, strict=False)):
            yield from compare_values(one, other, f"{at}.{place}")
    elif not equal(at.rpartition(".")[2], real, ours):
        yield Difference(at, _show(real), _show(ours))


def by_name(models: list[Any]) -> list[Any]:
    """Return models of a list in an order that does not depend on when they were made."""
    return sorted(models, key=lambda one: str(one.get("name")))


def moment(model: dict[str, Any]) -> str:
    """Return when a model was changed, to the second, by which Ollama sorts."""
    return str(model.get("modified_at", ""))[:19]


def compare_dates(real: list[Any], ours: list[Any]) -> Iterator[Difference]:
    """Yield a difference where one list has the newest model first and the other has not."""
    told = [
        all(moment(one) >= moment(later) for one, later in pairs)
        for pairs in (list(itertools.pairwise(models)) for models in (real, ours))
    ]
    if told[0] != told[1]:
        yield Difference("body.models.(order)", f"newest first: {told[0]}", f"{told[1]}")


def compare_objects(real: dict[str, Any], ours: dict[str, Any], at: str) -> Iterator[Difference]:
    """Yield differences of two objects: keys, their order, values."""
    for key, value in real.items():
        if key not in ours:
            yield Difference(f"{at}.{key}", _show(value), ABSENT)
        else:
            yield from compare_values(value, ours[key], f"{at}.{key}")
    for key, value in ours.items():
        if key not in real:
            yield Difference(f"{at}.{key}", ABSENT, _show(value))
    both = [key for key in real if key in ours], [key for key in ours if key in real]
    if both[0] != both[1]:
        yield Difference(f"{at}.(order)", " ".join(both[0]), " ".join(both[1]))


def equal(key: str, real: Any, ours: Any) -> bool:
    """Say whether two plain values are equal, or both of the form that a key's values have."""
    if key == "parent_model" and real == UPLOADED:
        real = ""
    if key == "parameters" and isinstance(real, str) and isinstance(ours, str):
        # Ollama's order is that of a map, another one each time.
        return sorted(real.split("\n")) == sorted(ours.split("\n"))
    if type(real) is not type(ours):
        return False
    if key == "error" and isinstance(real, str) and WRONG_FILE.fullmatch(real):
        # Of several wrong files Ollama tells of the first one of a map, another one each time.
        return WRONG_FILE.fullmatch(ours) is not None
    if key in TIMES:
        return all(isinstance(v, str) and TIMESTAMP.fullmatch(v) for v in (real, ours))
    if key.endswith("_duration") or key in COUNTS:
        return isinstance(real, int) and min(real, ours) > 0
    if key == "digest":
        return all(isinstance(v, str) and DIGEST.fullmatch(v) for v in (real, ours))
    if isinstance(real, Spelled):
        return bool(real.text == ours.text)
    return bool(real == ours)


def _show(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
