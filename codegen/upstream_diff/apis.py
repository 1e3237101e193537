"""Two descriptions compared: their operations, and what each of them takes and answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from codegen.upstream_diff.compare import Comparison, Difference, joined
from codegen.upstream_diff.document import Document, Node
from codegen.upstream_diff.operations import (
    Operation,
    bases,
    operations,
    passed_on,
)
from codegen.upstream_diff.shape import Shapes
from codegen.upstream_diff.sides import (
    Side,
    is_required,
    messages,
    read_answer,
    read_parameters,
    read_request,
    schema_of,
)


@dataclass(frozen=True)
class Change:
    """A difference, and where: an operation, and of it `request`, `answer` or a parameter."""

    operation: str
    side: str
    difference: Difference


def shared(ours: Document, theirs: Document) -> tuple[int, str]:
    """Return how many operations two documents share, and below which base of theirs."""
    own = {one.key for one in operations(ours, bases(ours)[0])[0]}
    counted = [
        (len(own & {one.key for one in operations(theirs, base)[0]}), base)
        for base in bases(theirs)
    ]
    # The first of the best: `max` keeps the order, in which what is stated comes first.
    return max(counted, key=lambda entry: entry[0])


class Apis:
    """Our description of an API, and a vendor's."""

    def __init__(self, ours: Document, theirs: Document, base: str) -> None:
        self._shapes = Shapes()
        self._comparison = Comparison(self._shapes)
        self._ours = operations(ours, bases(ours)[0])[0]
        self._theirs, self._unread = operations(theirs, base)
        self._passed_on = passed_on(ours)

    def changes(self) -> list[Change]:
        """Return every difference: new and gone operations first, then each own one in order."""
        own = {one.key: one for one in self._ours}
        other = {one.key: one for one in self._theirs}
        found = [
            Change(f"{one.method} {one.path}".strip(), "", Difference("", "unread", one.reason))
            for one in self._unread
        ]
        found += [self._new(one) for key, one in sorted(other.items()) if key not in own]
        for key, one in own.items():
            if key not in other and not any(path.covers(key) for path in self._unread):
                text = "ours has this operation"
                found.append(
                    Change(one.name, "", Difference("", "absent", text, one.node.position))
                )
        for key, one in own.items():
            if key in other:
                found += self._operation(one, other[key])
        return found

    def _new(self, operation: Operation) -> Change:
        text = "theirs has this operation"
        text += f", on {operation.server}" if operation.server else ""
        known = self._passed_on.get(operation.key)
        text += f"; ours: {known}" if known else ""
        difference = Difference("", "new", text, minor=known is not None)
        return Change(operation.name, "", difference)

    def _operation(self, ours: Operation, theirs: Operation) -> Iterator[Change]:
        notes = _notes(ours.node)
        every = [*self._parameters(ours, theirs)]
        for side, take in (("request", read_request), ("answer", read_answer)):
            every += self._side(side, take(ours), take(theirs), ours)
        for change in every:
            difference = change.difference
            difference = replace(difference, notes=(*difference.notes, *notes))
            yield replace(change, difference=difference)

    def _side(self, side: str, ours: Side, theirs: Side, operation: Operation) -> Iterator[Change]:
        place = operation.node.position
        for reason in theirs.unread:
            yield Change(operation.name, side, Difference("", "unread", reason, place))
        if theirs.unread and not theirs.media:
            return
        if not ours.media and not theirs.media:
            return
        if not ours.media or not theirs.media:
            kind, whose = ("new", "theirs") if theirs.media else ("absent", "ours")
            text = f"{whose} a body, {self._shapes.describe(theirs.every or ours.every)}"
            yield Change(operation.name, side, Difference("", kind, text, place))
            return
        if ours.required is not theirs.required:
            whose = "ours" if ours.required else "theirs"
            text = f"only {whose} requires a body"
            yield Change(operation.name, side, Difference("", "required", text, place))
        yield from self._media(side, ours, theirs, operation)

    def _media(self, side: str, ours: Side, theirs: Side, operation: Operation) -> Iterator[Change]:
        # An own media type may be the one that could not be read.
        own_names = [name for name in ours.media if name in theirs.media or not theirs.unread]
        names = list(dict.fromkeys([*own_names, *theirs.media]))
        found: dict[Difference, list[str]] = {}
        for name in names:
            own, other = (one.media.get(name) or one.every for one in (ours, theirs))
            own, other = (messages(self._shapes, name, one) for one in (own, other))
            for difference in self._comparison.compare(own, other):
                found.setdefault(difference, []).append(name)
        if not any("*" in name for name in names):
            for name in names:
                if name not in theirs.media or name not in ours.media:
                    kind = "new" if name in theirs.media else "absent"
                    whose = "theirs" if name in theirs.media else "ours"
                    text = f"{whose} the media type {name}"
                    place = operation.node.position
                    yield Change(operation.name, side, Difference("", kind, text, place))
        for difference, where in sorted(found.items(), key=_order):
            label = side if len(where) == len(names) else f"{side} ({', '.join(where)})"
            yield Change(operation.name, label, difference)

    def _parameters(self, ours: Operation, theirs: Operation) -> Iterator[Change]:
        own, other = read_parameters(ours), read_parameters(theirs)
        place = ours.node.position
        for reason in other.unread:
            yield Change(ours.name, "parameter", Difference("", "unread", reason, place))
        for key in sorted({*own.known, *other.known}):
            side = f"{key[0]} parameter"
            before, after = own.known.get(key), other.known.get(key)
            if key[0] == "path" and (before is None or after is None):
                # The path shows that it is there; some documents do not describe it as well.
                continue
            if before is None and after is not None:
                text = f"theirs {self._shapes.describe(schema_of(after))}"
                text += ", required" if is_required(after) else ""
                name = after.text("name") or ""
                yield Change(ours.name, side, Difference(name, "new", text, place))
            elif after is None and before is not None:
                if not other.unread:
                    text = f"ours {self._shapes.describe(schema_of(before))}"
                    difference = Difference(
                        before.text("name") or "", "absent", text, before.position or place
                    )
                    yield Change(ours.name, side, difference)
            elif before is not None and after is not None:
                yield from self._parameter(ours.name, side, before, after)

    def _parameter(self, operation: str, side: str, ours: Node, theirs: Node) -> Iterator[Change]:
        name = ours.text("name") or ""
        if is_required(ours) != is_required(theirs):
            whose = "ours" if is_required(ours) else "theirs"
            text = f"only {whose} requires it"
            yield Change(operation, side, Difference(name, "required", text, ours.position))
        found = self._comparison.compare(schema_of(ours), schema_of(theirs))
        for difference in sorted(found, key=lambda one: (one.path, one.kind, one.text)):
            path = joined(name, difference.path) if difference.path else name
            yield Change(operation, side, replace(difference, path=path))


def _notes(node: Node) -> tuple[str, ...]:
    text = node.text("x-wire")
    return (f"{node.position}: {' '.join(text.split())}",) if text else ()


def _order(entry: tuple[Difference, Iterable[str]]) -> tuple[str, str, str]:
    return entry[0].path, entry[0].kind, entry[0].text
