"""
An explanation as lines of text, for people.

Places are shown without their folder, which the first line names. Values are cut: the whole ones
are in the JSON form.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from msgspec import UNSET

from .report import CallPart, ChunkPart, Explanation, FieldPart, Made

FOLDER = "specs/mappings/"
MOST_CHARS = 72
MOST_CHUNKS = 12
"""Chunks that are shown of a long stream, apart from the last ones."""

_MARKS = {
    "done": "done",
    "passed": "ok",
    "skipped": "-",
    "refused": "REFUSED",
    "ended": "END",
    "not reached": "·",
}


def lines_of(explanation: Explanation, *, whole: bool = False) -> Iterator[str]:
    """Yield the lines of an explanation; with `whole`, those of no consequence, too."""
    one = explanation
    request = one.request
    yield f"{request.method} {request.path}, from {request.source}"
    if one.mapping:
        yield f"rules: {one.mapping}; places below are in {FOLDER}"
    if one.way == "passed on":
        yield f"passed on as {one.route}: only what rules name is changed"
    elif one.way == "edge":
        yield "no rule is asked: the request ends before"
    where = {"file": "the file ", "host": "LM Studio at ", "assumed": ""}[one.models.source]
    yield f"models: {one.models.count}, by {where}{one.models.where}"
    for note in one.notes:
        yield f"note: {note}"
    yield from _plan(one, whole)
    yield from _fields(one.fields)
    yield from _ignored(one.fields)
    yield from _changes(one, whole)
    for call in one.calls:
        yield from _call(call, whole)
    yield from _way_back(one.way_back, whole)
    yield from _answer(one)


def table(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield rows whose columns are as wide as their widest cell; the last one is not filled."""
    listed = [list(row) for row in rows]
    if not listed:
        return
    widths = [max(len(row[number]) for row in listed) for number in range(len(listed[0]))]
    for row in listed:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        yield ("  " + "  ".join(cells)).rstrip()


def short(value: Any, most: int = MOST_CHARS) -> str:
    """
    Return a value as JSON, cut; a long text that can only be an encoded one as its size.

    >>> short({"a": 1}), short("aGVs" * 500)
    ('{"a": 1}', '(2,000 characters)')
    """
    if value is UNSET:
        return ""
    if isinstance(value, str) and len(value) > 1000 and " " not in value[:1000]:
        return f"({len(value):,} characters)"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def place(at: str) -> str:
    """Return a place without the folder of the mappings."""
    return at.removeprefix(FOLDER)


def _plan(one: Explanation, whole: bool) -> Iterator[str]:
    if not one.steps:
        return
    yield ""
    yield "THE PLAN"
    rows = []
    for step in one.steps:
        if step.verdict == "not reached" and not whole:
            continue
        what = f"{step.kind} {step.what}".strip()
        found = step.found if step.verdict != "skipped" or whole else ""
        what = what if whole else _cut(what, 56)
        rows.append((_MARKS[step.verdict], place(step.at), what, found))
    yield from table(rows)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _fields(fields: Sequence[FieldPart]) -> Iterator[str]:
    shown = [part for part in fields if part.verdict not in ("ignored", "unknown")]
    if not shown:
        return
    yield ""
    yield "FIELDS OF THE REQUEST"
    rows = []
    for part in shown:
        became = [one.path for one in part.became if one.value is not UNSET]
        what = f"→ {', '.join(dict.fromkeys(became))}" if became else ""
        if part.verdict == "passed on":
            what = "passed on"
        elif not became:
            what = {"read": "read", "refused": "REFUSED"}.get(part.verdict, part.verdict)
        why = "" if became else part.why
        rows.append((part.path, short(part.value, 40), what, place(part.at), why))
    yield from table(rows)


def _ignored(fields: Sequence[FieldPart]) -> Iterator[str]:
    shown = [part for part in fields if part.verdict in ("ignored", "unknown")]
    if shown:
        yield ""
        yield "IGNORED"
        rows = [(part.path, short(part.value, 40), place(part.at), part.why) for part in shown]
        yield from table(rows)


def _changes(one: Explanation, whole: bool) -> Iterator[str]:
    for side, group in groupby(one.changed, key=lambda part: part.side):
        parts = [part for part in group if part.verdict == "changed" or whole]
        if parts:
            yield ""
            yield f"CHANGED IN THE {side.upper()}"
            yield from table(
                (
                    part.path,
                    part.verdict if part.verdict != "changed" else short(part.after, 40),
                    place(part.at),
                    f"{part.how}: {part.why}",
                )
                for part in parts
            )


def _call(call: CallPart, whole: bool) -> Iterator[str]:
    if call.purpose == "list" and not whole:
        return
    yield ""
    title = "LM STUDIO WOULD GET" if call.purpose == "answer" else f"BEFORE IT ({call.purpose})"
    yield f"{title}: {call.method} {call.path}" + (f" on {call.host}" if call.host else "")
    if whole:
        yield from table((name, value) for name, value in call.headers.items())
    if call.made:
        yield from _made(call.made)
    elif call.body is not UNSET:
        yield f"  {short(call.body, 4000 if whole else 400)}"
    unmade = [
        part
        for part in call.unmade
        if whole or not part.why.startswith(("never", "the request has no"))
    ]
    if unmade:
        yield "  not in it:"
        yield from table((part.path, place(part.at), part.why) for part in unmade)


def _made(made: Iterable[Made]) -> Iterator[str]:
    yield from table(
        (one.path, short(one.value, 48), place(one.at) or "NO RULE", one.how) for one in made
    )


def _way_back(parts: Sequence[ChunkPart], whole: bool) -> Iterator[str]:
    if not parts:
        return
    yield ""
    yield "THE WAY BACK"
    left_out = 0 if whole else max(len(parts) - MOST_CHUNKS - 2, 0)
    for number, part in enumerate(parts, 1):
        if left_out and MOST_CHUNKS < number <= MOST_CHUNKS + left_out:
            if number == MOST_CHUNKS + 1:
                yield f"  … {left_out} chunks like these (--all shows them)"
            continue
        chunk = "the end" if part.chunk is None else short(_telling(part.chunk), 200)
        yield f"  {number:>3}  {chunk}"
        fresh = ", ".join(f"{name}={short(value, 60)}" for name, value in part.remembered.items())
        if fresh:
            yield f"       remembered: {fresh}"
        if part.frame is None:
            yield "       → no frame"
            continue
        yield f"       → {short(part.frame, 200)}"
        if whole or part.chunk is None:
            yield from (f"       {line}" for line in _made(part.made))


def _telling(chunk: Any) -> Any:
    """Return what differs from chunk to chunk of a stream, if a chunk has it."""
    choices = chunk.get("choices") if isinstance(chunk, dict) else None
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        first = choices[0]
        kept = {name: first[name] for name in ("delta", "message", "text") if name in first}
        if first.get("finish_reason"):
            kept["finish_reason"] = first["finish_reason"]
        if chunk.get("usage"):
            kept["usage"] = chunk["usage"]
        return kept or chunk
    if isinstance(chunk, dict) and chunk.get("usage"):
        return {"usage": chunk["usage"]}
    return chunk


def _answer(one: Explanation) -> Iterator[str]:
    yield ""
    answer = one.answer
    if answer is None:
        yield "THE CLIENT would get what LM Studio's answer becomes; give one with --answer FILE"
        return
    yield f"THE CLIENT WOULD GET: {answer.status} {answer.headers.get('content-type', '')}".rstrip()
    for name, value in answer.headers.items():
        if name.startswith("x-olgate"):
            yield f"  {name}: {value}"
    if answer.row:
        yield f"  by the row {place(answer.row)}"
    if answer.lines:
        yield f"  {len(answer.lines)} lines; the last: {short(answer.lines[-1], 400)}"
    elif answer.body is not UNSET:
        yield f"  {short(answer.body, 400)}"
    elif answer.text:
        yield f"  {short(answer.text, 400)}"
