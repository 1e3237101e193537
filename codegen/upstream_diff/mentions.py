"""
The names on a vendor's page that the project's description does not have, and not the reverse.

A page seldom says at which depth a name of a table belongs, so it counts as known when any field of
that side has it. Examples are compared path by path.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from codegen.descriptions.problem import Position
from codegen.upstream_diff.apis import Change
from codegen.upstream_diff.compare import Difference, joined, place_of_fields
from codegen.upstream_diff.document import Document
from codegen.upstream_diff.markdown import Mention, Page
from codegen.upstream_diff.operations import (
    Key,
    Operation,
    bases,
    key_of,
    operations,
    passed_on,
)
from codegen.upstream_diff.shape import Alternatives, Identity, Shapes
from codegen.upstream_diff.sides import messages, read_answer, read_parameters, read_request


def shared_with(ours: Document, page: Page) -> int:
    """Return how many endpoints of a page a description has."""
    own = {one.key for one in operations(ours, bases(ours)[0])[0]}
    return len(own & {key_of(*endpoint) for endpoint in page.endpoints})


def unknown_names(ours: Document, page: Page) -> list[Change]:
    """Return the endpoints and names on a page that a description lacks, and what was skipped."""
    own = {one.key: one for one in operations(ours, bases(ours)[0])[0]}
    left = passed_on(ours)
    found = [
        Change(f"line {line}", "", Difference("", "unread", reason))
        for line, reason in page.skipped
    ]
    for (method, path), line in page.endpoints.items():
        key = key_of(method, path)
        if key not in own:
            text = f"the page has this endpoint (line {line})"
            text += f"; ours: {left[key]}" if key in left else ""
            difference = Difference("", "new", text, minor=key in left)
            found.append(Change(f"{method} {path}", "", difference))
    names = _Names(own)
    told: set[tuple[str, str, str]] = set()
    for mention in page.mentions:
        for change in names.unknown(mention):
            path = change.difference.path
            above = [path[:at] for at, letter in enumerate(path) if letter == "."]
            if path and any((change.operation, change.side, one) in told for one in (path, *above)):
                continue
            told.add((change.operation, change.side, path))
            found.append(change)
    order = {one.name: number for number, one in enumerate(own.values())}
    return sorted(found, key=lambda change: order.get(change.operation, -1))


class _Names:
    """Looks up what a page mentions."""

    def __init__(self, own: dict[Key, Operation]) -> None:
        self._own = own
        self._shapes = Shapes()
        self._paths: dict[tuple[Key, str], frozenset[str]] = {}

    def unknown(self, mention: Mention) -> Iterator[Change]:
        """Yield a change for each name that our description lacks on the mentioned side."""
        operation = self._own.get(key_of(mention.method, mention.path))
        if operation is None:
            return
        label = mention.side or "request or answer"
        if mention.name:
            if not any(self._has(operation, side, mention.name) for side in _sides(mention)):
                text = f"the page names it (line {mention.line})"
                place = self._place(operation, mention)
                yield Change(operation.name, label, Difference(mention.name, "new", text, place))
            return
        # An example without a title belongs to the side that it fits better.
        side, lacking = min(
            (
                (side, list(dict.fromkeys(self._lacking(mention.example, schema, ""))))
                for side in _sides(mention)
                for schema in [self._schema(operation, side)]
            ),
            key=lambda entry: len(entry[1]),
        )
        place = self._place(operation, mention)
        if lacking and set(lacking) == set(_top_names(mention.example)):
            text = f"an example (line {mention.line}) that shares no name with ours"
            yield Change(operation.name, side, Difference("", "unread", text, place))
            return
        for path in lacking:
            text = f"an example has it (line {mention.line})"
            yield Change(operation.name, side, Difference(path, "new", text, place))

    def _place(self, operation: Operation, mention: Mention) -> Position | None:
        schema = self._schema(operation, _sides(mention)[0])
        return place_of_fields(self._shapes.of(schema)) or operation.node.position

    def _lacking(self, value: object, schema: Alternatives, path: str) -> Iterator[str]:
        if not schema:
            # Ours says that there is no body.
            yield from _top_names(value)
            return
        shape = self._shapes.of(schema)
        if isinstance(value, list):
            for item in value if shape.items else ():
                yield from self._lacking(item, shape.items, joined(path, "*"))
        elif isinstance(value, dict) and (shape.fields or shape.values):
            for name, inner in value.items():
                if name in shape.fields:
                    yield from self._lacking(inner, shape.fields[name], joined(path, name))
                elif shape.values:
                    yield from self._lacking(inner, shape.values, joined(path, "{*}"))
                else:
                    yield joined(path, name)

    def _has(self, operation: Operation, side: str, name: str) -> bool:
        key = operation.key, side
        if key not in self._paths:
            if side == "parameter":
                known = read_parameters(operation).known.values()
                self._paths[key] = frozenset(node.text("name") or "" for node in known)
            else:
                self._paths[key] = frozenset(self._every_path(self._schema(operation, side)))
        plain = _without_items(name)
        return any(path == plain or path.endswith(f".{plain}") for path in self._paths[key])

    def _every_path(self, schema: Alternatives) -> Iterator[str]:
        waiting, seen = deque([("", schema)]), set[frozenset[Identity]]()
        while waiting:
            path, nodes = waiting.popleft()
            identity = frozenset(node.identity for node in nodes)
            if identity in seen:
                continue
            seen.add(identity)
            shape = self._shapes.of(nodes)
            for name, inner in shape.fields.items():
                yield joined(path, name)
                waiting.append((joined(path, name), inner))
            waiting.extend((path, inner) for inner in (shape.items, shape.values) if inner)

    def _schema(self, operation: Operation, side: str) -> Alternatives:
        read = read_request(operation) if side == "request" else read_answer(operation)
        return tuple(
            node
            for media, nodes in read.media.items()
            for node in messages(self._shapes, media, nodes)
        )


def _sides(mention: Mention) -> list[str]:
    return [mention.side] if mention.side else ["request", "answer"]


def _top_names(example: object) -> Iterator[str]:
    for value in example if isinstance(example, list) else [example]:
        prefix = "*." if isinstance(example, list) else ""
        yield from (f"{prefix}{name}" for name in value) if isinstance(value, dict) else ()


def _without_items(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in ("*", "{*}"))
