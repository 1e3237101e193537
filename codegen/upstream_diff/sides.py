"""What an operation takes and answers: its parameters, and its bodies by media type."""

from __future__ import annotations

from dataclasses import dataclass, field

from codegen.upstream_diff.document import Node, Unread
from codegen.upstream_diff.operations import Operation
from codegen.upstream_diff.shape import ANYTHING, Alternatives, Shapes, named_kind

STREAMS = ("application/x-ndjson", "application/jsonl", "application/json-seq", "text/event-stream")
"""Media types of which each message is described, or the list of all messages."""

NO_PARAMETERS = ("accept", "content-type", "authorization")
"""Headers that OpenAPI describes elsewhere, so that a parameter of such a name is ignored."""


@dataclass
class Side:
    """What is sent or answered, by media type; `unread` says why some of it is not known."""

    media: dict[str, Alternatives] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    required: bool = False
    """Whether a request must have a body."""

    @property
    def every(self) -> Alternatives:
        """The schemas of all media types."""
        return tuple(node for nodes in self.media.values() for node in nodes)


def messages(shapes: Shapes, media: str, schema: Alternatives) -> Alternatives:
    """Return the schema of one message, where a media type holds many and that of all is given."""
    shape = shapes.of(schema)
    whole = media in STREAMS and shape.types == frozenset({"array"})
    return shape.items if whole and shape.items else schema


@dataclass
class Parameters:
    """Parameters by kind and name; `unread` says why some are not known."""

    known: dict[tuple[str, str], Node] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)


def read_parameters(operation: Operation) -> Parameters:
    """Return an operation's parameters by kind and name, those of a path by their number."""
    found = Parameters()
    in_path = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    for holder in (operation.item, operation.node):
        listed = holder.get("parameters")
        if listed is not None and not isinstance(listed.value, list):
            found.unread.append(f"`parameters` is {named_kind(listed.value)}, not a list")
        for entry in listed.items() if listed else ():
            node = entry.followed()
            if isinstance(node, Unread):
                found.unread.append(node.reason)
                continue
            kind, name = node.text("in"), node.text("name")
            if kind is None or name is None:
                found.unread.append("a parameter without `in` or `name`")
            elif kind == "path":
                found.known[kind, str(in_path.index(name)) if name in in_path else name] = node
            elif kind != "header":
                found.known[kind, name] = node
            elif name.lower() not in NO_PARAMETERS:
                found.known[kind, name.lower()] = node
    return found


def is_required(parameter: Node) -> bool:
    """Return whether a request must have a parameter; those of a path are always there."""
    required = parameter.get("required")
    return parameter.text("in") == "path" or (required is not None and required.value is True)


def schema_of(parameter: Node) -> Alternatives:
    """Return the schema of a parameter's value, or of the media types it may come in."""
    content = parameter.get("content")
    holders = [media for _, media in content.entries()] if content else [parameter]
    schemas = [schema for holder in holders if (schema := holder.get("schema")) is not None]
    return tuple(schemas) or ANYTHING


def read_request(operation: Operation) -> Side:
    """Return what an operation takes as its body."""
    side = Side()
    body = operation.node.get("requestBody")
    if body is not None:
        _add_media(side, body, "the body of a request")
        found = body.followed()
        required = found.get("required") if isinstance(found, Node) else None
        side.required = required is not None and required.value is True
    return side


def read_answer(operation: Operation) -> Side:
    """Return what an operation answers with a 2xx status, or by default where none is stated."""
    side = Side()
    responses = operation.node.get("responses")
    if responses is None:
        return side
    if not isinstance(responses.value, dict):
        side.unread.append(f"`responses` is {named_kind(responses.value)}, not an object")
    good = [answer for status, answer in responses.entries() if status.startswith("2")]
    default = responses.get("default")
    if not good and default is not None:
        good = [default]
    for answer in good:
        _add_media(side, answer, "an answer")
    return side


def _add_media(side: Side, holder: Node, meant: str) -> None:
    found = holder.followed()
    if isinstance(found, Unread):
        side.unread.append(found.reason)
        return
    if not isinstance(found.value, dict):
        side.unread.append(f"{named_kind(found.value)} where {meant} should stand")
        return
    content = found.get("content")
    if content is not None and not isinstance(content.value, dict):
        side.unread.append(f"`content` is {named_kind(content.value)}, not an object")
        return
    for name, media in content.entries() if content else ():
        if not isinstance(media.value, dict):
            side.unread.append(f"{named_kind(media.value)} where {name} should be described")
            continue
        schema = media.get("schema")
        kind = name.split(";")[0].strip().lower()
        side.media[kind] = (*side.media.get(kind, ()), *((schema,) if schema else ANYTHING))
