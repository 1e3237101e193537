"""
The steps of a plan with what each found, in words.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from msgspec import UNSET

from .host import Request
from .index import StepEntry
from .report import StepPart
from .trace import StepSeen, Trace

MOST_CHARS = 160


def step_parts(
    entries: Sequence[StepEntry], trace: Trace, requests: Sequence[Request]
) -> list[StepPart]:
    """Return a part for each step of the plan; `requests` are those that LM Studio would get."""
    parts = [_part(step, trace.steps.get(number), trace) for number, step in enumerate(entries)]
    changes = [words for one in requests if (words := _change(one))]
    if changes:
        _add_changes(parts, entries, trace, "; ".join(changes))
    return parts


def _add_changes(
    parts: list[StepPart], entries: Sequence[StepEntry], trace: Trace, words: str
) -> None:
    """Say what would be loaded at the last step that ran one of the engine's."""
    for number in reversed(range(len(entries))):
        seen = trace.steps.get(number)
        if seen is not None and seen.calls:
            parts[number].found += f"; {words}" if parts[number].found else words
            return


def _change(request: Request) -> str:
    if request.purpose not in ("load", "unload", "warm"):
        return ""
    body = json.loads(request.body)
    if request.purpose == "load":
        length = body.get("context_length")
        of = f" with a context length of {length}" if length else ""
        return f"{body.get('model')} would be loaded{of}"
    if request.purpose == "unload":
        return f"{body.get('instance_id')} would be unloaded"
    return f"{body.get('model')} would be loaded by a question for one token"


def _part(step: StepEntry, seen: StepSeen | None, trace: Trace) -> StepPart:
    part = StepPart(
        at=step.at, kind=step.kind, what=step.what, verdict="not reached", when=step.when
    )
    if seen is None:
        return part
    if seen.refused is not None:
        part.verdict = "refused"
        part.found = f"{seen.refused.status} {seen.refused.error}"
    elif seen.failed:
        part.verdict, part.found = "refused", seen.failed
    elif seen.has_returned:
        part.verdict = "ended"
        part.found = _calls(seen)
    elif step.kind in ("check", "model", "need", "decode"):
        part.verdict = "passed"
        part.found = _looked_at(step, seen, trace)
    elif seen.calls:
        part.verdict, part.found = "done", _calls(seen)
    else:
        part.verdict = "skipped"
        part.found = f"not so: {step.when}" if step.when else ""
    return part


def _looked_at(step: StepEntry, seen: StepSeen, trace: Trace) -> str:
    context = trace.context
    row = context.resolved if context is not None else None
    if step.kind == "model" and row is not None:
        can = " ".join(
            f"{name}:{getattr(row.capabilities, name)}"
            for name in row.capabilities.__struct_fields__
        )
        loaded = ", ".join(
            one.id + (f" (context {one.context_length})" if one.context_length else "")
            for one in row.instances
        )
        return (
            f"{seen.values.get('name', '')!r} is {row.name}, LM Studio's {row.request_key}; {can}; "
            + (f"loaded as {loaded}" if loaded else "not loaded")
        )
    if step.kind == "need" and row is not None:
        return f"the model's {step.what}: {getattr(row.capabilities, step.what, 'unknown')}"
    if step.kind == "decode":
        options = seen.values.get("options")
        return _short(options) if options else ""
    return ""


def _calls(seen: StepSeen) -> str:
    words = []
    for name, given in seen.calls:
        passed = ", ".join(f"{key}={_short(value)}" for key, value in given.items() if _is(value))
        words.append(f"{name} {passed}".strip())
    return "; ".join(words)


def _is(value: Any) -> bool:
    return value is not UNSET and value is not None


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= MOST_CHARS else f"{text[: MOST_CHARS - 1]}…"
