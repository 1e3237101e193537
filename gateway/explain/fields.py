"""
Fields with their rules: what each rule of a translation made, and what became of each field.

Values are looked up in what the gateway has really made; no rule is applied here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import UNSET

from .index import Field, Origin, RuleEntry, RuleIndex, StepEntry
from .report import Became, FieldPart, Made, Unmade

NO_SUCH_FIELD = "the API has no such field, so it is dropped"
GAVE_NOTHING = "the rule gives nothing for this value"


def made_by(origin: Origin, value: Any, index: RuleIndex) -> list[Made]:
    """Return the fields of an object that a translation made, each with its rule."""
    return list(_made(origin.rules, value, "", index))


def _made(rules: Iterable[RuleEntry], value: Any, prefix: str, index: RuleIndex) -> Iterator[Made]:
    if not isinstance(value, Mapping):
        return
    by_name = {rule.field: rule for rule in rules}
    for name, held in value.items():
        rule = by_name.get(name)
        path = f"{prefix}{name}"
        if rule is None:
            yield Made(path=path, value=held, at="", how="")
        elif rule.rules and isinstance(held, Mapping):
            yield from _made(rule.rules, held, f"{path}.", index)
        elif rule.shape and isinstance(held, list) and (shape := index.shape(rule.shape)):
            for number, item in enumerate(held):
                yield from _made(shape.rules, item, f"{path}[{number}].", index)
        else:
            yield Made(
                path=path,
                value=held,
                at=rule.at,
                how=rule.how,
                sources=rule.sources,
                group=rule.group,
            )


def unmade_by(origin: Origin, value: Any, request: Any) -> list[Unmade]:
    """Return the fields that a translation of a request did not make, and why."""
    held = value if isinstance(value, Mapping) else {}
    found = [
        Unmade(path=rule.field, at=rule.at, why=_why_not(rule, request))
        for rule in origin.rules
        if rule.field not in held
    ]
    found += [
        Unmade(path=name, at=one.at, why=f"never: {one.why}")
        for name, one in origin.omitted.items()
    ]
    return found


def _why_not(rule: RuleEntry, request: Any) -> str:
    if rule.when:
        return f"only when {rule.when}"
    own = [source for source in rule.sources if not source.startswith("$context")]
    if own and not any(_is_there(source, request) for source in own):
        return f"the request has no {' and no '.join(own)}"
    return GAVE_NOTHING


def _is_there(source: str, request: Any) -> bool:
    held = request
    for name in source.removeprefix("$request.").split("."):
        if not isinstance(held, Mapping) or name not in held:
            return False
        held = held[name]
    return held is not None


# -- what became of each field ---------------------------------------------------------------------


class Fates:
    """What became of the fields of one request."""

    def __init__(
        self,
        known: Mapping[str, Field],
        steps: Sequence[StepEntry],
        origin: Origin | None,
        result: Any,
        index: RuleIndex,
        ended: str = "",
    ) -> None:
        """
        Look up fields in `known`; `origin` made `result`, the request or the answer.

        `ended` says why there is no such result.
        """
        self._known = known
        self._steps = steps
        self._origin = origin
        self._result = result
        self._index = index
        self._ended = ended
        self._parents = {
            ".".join(parts[:count])
            for path in known
            for parts in [path.split(".")]
            for count in range(1, len(parts))
        }

    def of(self, body: Any) -> list[FieldPart]:
        """Return a part for each field of a body."""
        return list(self._walk(body, "", ""))

    def _walk(self, value: Any, path: str, shown: str) -> Iterator[FieldPart]:
        if path in self._known:
            yield self._fate(path, shown, value, self._known[path])
        elif isinstance(value, Mapping) and (not path or path in self._parents):
            for name, held in value.items():
                inner = f"{path}.{name}" if path else name
                yield from self._walk(held, inner, f"{shown}.{name}" if shown else name)
        elif isinstance(value, list) and f"{path}.*" in self._parents:
            for number, item in enumerate(value):
                yield from self._walk(item, f"{path}.*", f"{shown}[{number}]")
        elif path in self._parents:
            # Null, or a value of another type, in the place of an object.
            yield self._fate(path, shown, value, Field("read"))
        else:
            wild = self._known.get(f"{path.rpartition('.')[0]}.*")
            if wild is not None:
                yield self._fate(path, shown, value, wild)
            else:
                yield FieldPart(path=shown, value=value, verdict="unknown", why=NO_SUCH_FIELD)

    def _fate(self, path: str, shown: str, value: Any, known: Field) -> FieldPart:
        part = FieldPart(path=shown, value=value, verdict="read", at=known.at)
        for word in ("ignored", "refused"):
            if known.goes.startswith(f"{word}: "):
                part.verdict = "ignored" if word == "ignored" else "refused"
                part.why = known.goes.removeprefix(f"{word}: ")
                return part
        rules = self._origin.rules if self._origin is not None else ()
        part.became = list(self._became(rules, path, "", self._result))
        readers = self._readers(path)
        if any(one.value is not UNSET for one in part.became):
            part.verdict = "sent"
            part.at = next(one.at for one in part.became if one.value is not UNSET)
        elif part.became and not self._ended:
            part.verdict = "not sent"
            part.at, part.why = part.became[0].at, self._not_sent(rules, part.became[0])
        elif self._ended and known.goes.startswith("→") and not readers:
            part.verdict, part.why = "not sent", self._ended
        elif readers:
            part.at = readers[0].at
            part.why = ", ".join(f"{step.kind} {step.what}".strip() for step in readers)
        else:
            part.why = known.goes.removeprefix("→ ").replace("read", "read by the plan")
        return part

    def _readers(self, path: str) -> list[StepEntry]:
        """Return the steps that read a field; those that read it itself, if there are any."""
        found = [
            (max((len(read) for read in step.reads if _covers(read, path)), default=0), step)
            for step in self._steps
        ]
        closest = max((length for length, _ in found), default=0)
        steps = [step for length, step in found if length and length == closest]
        named = [step for step in steps if step.kind == "model"]
        return named or steps

    def _not_sent(self, rules: Iterable[RuleEntry], first: Became) -> str:
        top = first.path.partition(".")[0].partition("[")[0]
        rule = next((one for one in rules if one.field == top), None)
        return f"only when {rule.when}" if rule is not None and rule.when else GAVE_NOTHING

    def _became(
        self, rules: Iterable[RuleEntry], path: str, prefix: str, holder: Any
    ) -> Iterator[Became]:
        for rule in rules:
            held = holder.get(rule.field, UNSET) if isinstance(holder, Mapping) else UNSET
            name = f"{prefix}{rule.field}"
            if rule.rules:
                yield from self._became(rule.rules, path, f"{name}.", held)
                continue
            source = next((one for one in rule.sources if _covers(one, path)), None)
            if source is None:
                continue
            inner: list[Became] = []
            rest = path.removeprefix(source.removeprefix("$request.")).removeprefix(".*")
            shape = self._index.shape(rule.shape) if rule.shape else None
            if shape is not None and rest.startswith("."):
                # A transform may add items or leave some out, so the first one stands for all.
                first = held[0] if isinstance(held, list) and held else UNSET
                inner = list(self._became(shape.rules, rest[1:], f"{name}[].", first))
            yield from inner or [Became(path=name, at=rule.at, how=rule.how, value=held)]


def _covers(source: str, path: str) -> bool:
    """
    Say whether what a rule reads is a field, or holds it.

    >>> _covers("$request.messages", "messages.*.role"), _covers("options.seed", "options")
    (True, False)
    """
    source = source.removeprefix("$request.")
    return source == path or path.startswith(f"{source}.")
