"""
Judging a run: everything wrong in what the client got and in what reached LM Studio.

Nothing is sent or started here; the judge sees a case, an answer and a list of requests, and
reports all problems at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import UNSET

from conformance.suite.case import Case, Expect, Frames, Run
from conformance.suite.compare import (
    ABSENT,
    Mismatch,
    blur,
    compare,
    compare_members,
    look_up,
    show,
)
from conformance.suite.fixture import load_fixture
from conformance.suite.spec import NDJSON, load_spec
from conformance.suite.wire import (
    NotJson,
    check_created,
    check_ending,
    check_writing,
    read_json,
    split_lines,
)

JSON = "application/json; charset=utf-8"
JSON_OF_REPORTS = "application/json"
REPORTS = ("/api/pull", "/api/push", "/api/create")
GENERATIONS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/api/v0/chat/completions",
    "/api/v0/completions",
)
_TEXT_PATHS = {
    "content": ("message.content",),
    "thinking": ("message.thinking", "thinking"),
    "response": ("response",),
}


@dataclass(frozen=True)
class Answer:
    """What the client got: `cut` says that the connection ended before the body did."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    cut: bool = False

    def header(self, name: str) -> str | None:
        """Return a header's value by its name in any letter case, or None."""
        return next((v for k, v in self.headers if k.lower() == name.lower()), None)


@dataclass(frozen=True)
class Seen:
    """One request as it reached the stand-in."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def value(self) -> Any:
        """Return the body as JSON, or None when it is none."""
        try:
            return read_json(self.body)
        except NotJson:
            return None


def judge(run: Run, answer: Answer, seen: Sequence[Seen] | None) -> list[Mismatch]:
    """Return every problem of a run; `seen` is None when the stand-in can't be asked."""
    expect = fold_expectation(run.case) if run.replay == "one_shot" else run.case.expect
    problems = list(_judge_answer(run, expect, answer))
    if seen is not None:
        problems += _judge_upstream(run.case, seen)
    return problems


def fold_expectation(case: Case) -> Expect:
    """
    Derive the one-shot answer from the frames expected of the stream.

    Joined texts stand where the frames had them, everything else is the last frame's.
    """
    frames = case.expect.frames
    assert frames is not None
    body: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(frames.last or {}))
    for name, text in frames.joined.items():
        path = "thinking" if (name, case.path) == ("thinking", "/api/generate") else None
        *parents, leaf = (path or _TEXT_PATHS[name][0]).split(".")
        target = body
        for parent in parents:
            target = target.setdefault(parent, {})
        target[leaf] = text
        if name == "thinking" and text == "":
            target[leaf] = ABSENT
    return Expect(json_subset=body, content_type=JSON, headers=case.expect.headers)


def _judge_answer(run: Run, expect: Expect, answer: Answer) -> Iterator[Mismatch]:
    case = run.case
    if answer.status != expect.status:
        yield Mismatch("status", str(expect.status), f"{answer.status} {show(_text(answer))}")
    if answer.cut:
        yield Mismatch("connection", "a body that ends as HTTP says", "the connection was cut")
    wanted_type = expect.content_type or _derive_content_type(case, expect)
    got_type = answer.header("content-type")
    if wanted_type is not None and not _type_fits(wanted_type, got_type):
        yield Mismatch("header content-type", wanted_type, str(got_type))
    for name, value in expect.headers.items():
        got = answer.header(name)
        if value == ABSENT:
            if got is not None:
                yield Mismatch(f"header {name}", "absent", got)
        else:
            yield from compare(value, got, f"header {name}", exact=True)
    if answer.status == expect.status:
        yield from _judge_body(run, expect, answer)


def _derive_content_type(case: Case, expect: Expect) -> str | None:
    if not _is_ollama(case):
        return None
    if expect.frames is not None:
        return NDJSON
    if expect.error is not None or expect.status >= 400:
        return "application/json*" if expect.wants_json else None
    # Progress in one piece is written by the code for streams, which names no charset.
    is_report = case.path in REPORTS
    return (JSON_OF_REPORTS if is_report else JSON) if expect.wants_json else None


def _type_fits(wanted: str, got: str | None) -> bool:
    if wanted.endswith("*"):
        return (got or "").startswith(wanted[:-1])
    return wanted == got


def _judge_body(run: Run, expect: Expect, answer: Answer) -> Iterator[Mismatch]:
    if expect.body_empty and answer.body:
        yield Mismatch("body", "nothing", show(_text(answer)))
    if expect.text is not None and answer.body != expect.text.encode():
        yield from _compare_events(expect.text, _text(answer))
        yield Mismatch("body", show(expect.text), show(_text(answer)))
    if expect.bytes_of is not None:
        yield from _compare_bytes(load_fixture(expect.bytes_of).body, answer.body)
    if expect.frames is not None:
        yield from _judge_frames(run.case, expect, expect.frames, answer)
    elif expect.wants_json or _claims_json(run.case, answer):
        yield from _judge_json(run, expect, answer)


def _claims_json(case: Case, answer: Answer) -> bool:
    kind = answer.header("content-type") or ""
    return _is_ollama(case) and kind.startswith("application/json") and bool(answer.body)


def _is_ollama(case: Case) -> bool:
    """Say whether the path belongs to Ollama's API, not to LM Studio's under the same root."""
    return case.path.startswith("/api/") and not case.path.startswith(("/api/v0/", "/api/v1/"))


def _compare_events(wanted: str, got: str) -> Iterator[Mismatch]:
    """Yield where the JSON of events differs, so that a failure names the member."""
    pairs = zip(wanted.split("\n\n"), got.split("\n\n"), strict=False)
    for number, (one, other) in enumerate(pairs, 1):
        try:
            expected = read_json(one.removeprefix("data: ").encode())
            actual = read_json(other.removeprefix("data: ").encode())
        except NotJson:
            continue
        yield from compare(expected, actual, f"event {number}", exact=True)


def _compare_bytes(wanted: bytes, got: bytes) -> Iterator[Mismatch]:
    if wanted == got:
        return
    same = next(
        (n for n, (a, b) in enumerate(zip(wanted, got, strict=False)) if a != b),
        min(len(wanted), len(got)),
    )
    yield Mismatch(
        f"body at byte {same}",
        f"{wanted[same : same + 80]!r} ({len(wanted)} bytes)",
        f"{got[same : same + 80]!r} ({len(got)} bytes)",
    )


def _judge_json(run: Run, expect: Expect, answer: Answer) -> Iterator[Mismatch]:
    try:
        value = read_json(answer.body)
    except NotJson as error:
        yield Mismatch("body", "one JSON value", f"{error}: {show(_text(answer))}")
        return
    if expect.error is not None:
        yield from compare({"error": expect.error}, value, "", exact=True)
    if expect.json is not UNSET:
        wanted, got = blur(expect.json, expect.tolerate), blur(value, expect.tolerate)
        yield from compare(wanted, got, "", exact=True)
    if expect.json_subset is not UNSET:
        yield from compare(expect.json_subset, value, "", exact=False)
    for path, items in expect.json_contains.items():
        yield from compare_members(items, look_up(value, path)[1], path)
    for path in expect.json_has:
        if not look_up(value, path)[0]:
            yield Mismatch(path, "present", "absent")
    for path in expect.json_absent:
        found, got = look_up(value, path)
        if found:
            yield Mismatch(path, "absent", show(got))
    if _is_ollama(run.case):
        yield from check_writing(answer.body, "body")
        yield from check_created(value, "body")
        yield from _check_spec(run.case, answer, value)


def _check_spec(case: Case, answer: Answer, value: Any) -> Iterator[Mismatch]:
    spec = load_spec()
    if spec is None:
        return
    media_type = (answer.header("content-type") or "").split(";")[0]
    schema, complaint = spec.answer_schema(case.method, case.path, answer.status, media_type)
    if complaint:
        yield Mismatch("answer", complaint, f"{answer.status} {media_type}")
    elif schema is not None:
        yield from spec.check(value, schema, "body")


def _judge_frames(case: Case, expect: Expect, wanted: Frames, answer: Answer) -> Iterator[Mismatch]:
    lines, problems = split_lines(answer.body)
    yield from problems
    frames = [value for _, value in lines]
    yield from check_ending(frames)
    yield from _check_frames_spec(case, expect, answer, frames)
    count = wanted.count
    if count.exactly is not None and len(frames) != count.exactly:
        yield Mismatch("number of lines", str(count.exactly), str(len(frames)))
    if count.at_least is not None and len(frames) < count.at_least:
        yield Mismatch("number of lines", f"at least {count.at_least}", str(len(frames)))
    if not frames:
        return
    if wanted.first is not None:
        yield from compare(wanted.first, frames[0], "first line", exact=False)
    if wanted.last is not None:
        yield from compare(wanted.last, frames[-1], "last line", exact=False)
    for path in wanted.each_has:
        for number, frame in enumerate(frames, 1):
            if not look_up(frame, path)[0]:
                yield Mismatch(f"line {number}: {path}", "present", "absent")
    for path in wanted.each_lacks:
        for number, frame in enumerate(frames, 1):
            found, got = look_up(frame, path)
            if found:
                yield Mismatch(f"line {number}: {path}", "absent", show(got))
    for name, text in wanted.joined.items():
        got = join(frames, name)
        if got != text:
            yield Mismatch(f"joined {name}", show(text), show(got))
    if wanted.lines is not None:
        one, other = blur(wanted.lines, expect.tolerate), blur(frames, expect.tolerate)
        yield from _compare_lines(one, other)


def _compare_lines(wanted: list[Any], got: list[Any]) -> Iterator[Mismatch]:
    for number in range(max(len(wanted), len(got))):
        path = f"line {number + 1}"
        if number >= len(got):
            yield Mismatch(path, show(wanted[number]), "no such line")
        elif number >= len(wanted):
            yield Mismatch(path, "no such line", show(got[number]))
        else:
            yield from compare(wanted[number], got[number], path, exact=True)


def _check_frames_spec(
    case: Case, expect: Expect, answer: Answer, frames: list[dict[str, Any]]
) -> Iterator[Mismatch]:
    spec = load_spec()
    if spec is None:
        return
    if expect.each_frame:
        schema = spec.component(expect.each_frame.removeprefix("ollama:"))
        if schema is None:
            yield Mismatch("each_frame", "a component of specs/ollama.yaml", expect.each_frame)
            return
    else:
        schema, complaint = spec.answer_schema(case.method, case.path, answer.status, NDJSON)
        if complaint:
            yield Mismatch("answer", complaint, f"{answer.status} {NDJSON}")
        if schema is None:
            return
    for number, frame in enumerate(frames, 1):
        if expect.each_frame and "error" in frame:
            continue
        yield from spec.check(frame, schema, f"line {number}")


def join(frames: Sequence[dict[str, Any]], name: str) -> str:
    """Return a text put together from all lines: `content`, `thinking` or `response`."""
    parts = (look_up(frame, path)[1] for frame in frames for path in _TEXT_PATHS[name])
    return "".join(part for part in parts if isinstance(part, str))


def _judge_upstream(case: Case, seen: Sequence[Seen]) -> Iterator[Mismatch]:
    upstream = case.upstream
    if upstream.expect_request is not UNSET:
        yield from _judge_request(case, upstream.expect_request, seen)
    position = 0
    for wanted in upstream.expect_requests:
        rest = list(enumerate(seen[position:], position + 1))
        found = next(
            (n for n, one in rest if (one.method, one.path) == (wanted.method, wanted.path)), None
        )
        if found is None:
            names = ", ".join(f"{one.method} {one.path}" for one in seen) or "none"
            yield Mismatch("requests upstream", f"{wanted.method} {wanted.path}", names)
            break
        position = found
        one = seen[found - 1]
        where = f"upstream {wanted.method} {wanted.path}"
        if wanted.body is not UNSET:
            yield from compare(wanted.body, one.value, where, exact=False)
        yield from compare(wanted.headers, one.headers, f"{where} headers", exact=False)
    counts = {**upstream.count_requests, **dict.fromkeys(upstream.no_requests_to, 0)}
    for path, number in counts.items():
        got = sum(one.path == path for one in seen)
        if got != number:
            yield Mismatch(f"requests to {path}", str(number), str(got))


def _judge_request(case: Case, wanted: Any, seen: Sequence[Seen]) -> Iterator[Mismatch]:
    paths = {load_fixture(name).path for name in case.upstream.fixtures} or set(GENERATIONS)
    arrived = [one for one in seen if one.method == "POST" and one.path in paths]
    if not arrived:
        names = ", ".join(f"{one.method} {one.path}" for one in seen) or "none"
        yield Mismatch("request upstream", f"POST {' or '.join(sorted(paths))}", names)
        return
    yield from compare(wanted, arrived[-1].value, "upstream request", exact=False)


def _text(answer: Answer) -> str:
    return answer.body.decode("utf-8", "replace")
