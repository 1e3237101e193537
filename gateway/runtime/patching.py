"""
The generated table's rows for requests that are passed on, and the application of their changes.

A change gives values to some members of a JSON object, for one reason. It reads the members as they
came. If a member can't be read, the whole change is left out. A member that no change names keeps
its bytes and its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Raw, UnsetType

from gateway.runtime.context import RequestContext
from gateway.wire.lenient import UNREADABLE

Members: TypeAlias = Mapping[str, Raw]
"""The members of a JSON object by name, each value as it was written."""

Values: TypeAlias = dict[str, Any]
"""New values of members by name; UNSET leaves a member as it is."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change: `add` gives values only to members that are not there, `replace` to all."""

    verb: Literal["replace", "add"]
    values: Callable[[Members, RequestContext], Values]


@dataclass(frozen=True, slots=True)
class PassedOn:
    """
    How requests to one route are passed on, or to every route below a path that ends in "/".

    `method` is "" for any. `model` is the request's member that names a model, "" when none does;
    `answered_by` are the answer's members of which the first one there names the model that
    answered. `changes_models` is for routes that may change the list of models.
    `instead` makes an answer without LM Studio, or returns UNSET. With `reads_kept`, `answer` and
    `instead` have something to say only while names are kept here.
    """

    method: str
    path: str
    model: str = ""
    answered_by: tuple[str, ...] = ()
    changes_models: bool = False
    request: tuple[Change, ...] = ()
    answer: tuple[Change, ...] = ()
    instead: Callable[[RequestContext], Any] | None = None
    reads_kept: bool = False


def changed(
    members: Members, changes: Iterable[Change], context: RequestContext
) -> dict[str, Raw] | None:
    """
    Return the members with all changes applied, None when no value differs.

    Members that are replaced keep their places, new ones stand at the end.

    >>> raise_it = Change("replace", lambda members, context: {"n": 2, "m": UNSET})
    >>> changed({"n": Raw(b"1"), "m": Raw(b"0")}, [raise_it], None)["n"] == Raw(b"2")
    True
    >>> changed({"n": Raw(b"2")}, [raise_it], None) is None
    True
    """
    found: dict[str, Raw] = {}
    for change in changes:
        try:
            found |= _new_values(members, change, context)
        except UNREADABLE:
            continue
    return {**members, **found} if found else None


def appended(listed: Raw | UnsetType, items: Iterable[Any], by: str) -> list[Any] | UnsetType:
    """
    Return a list with further items after its own, UNSET when there are none to add.

    An item of the list gives way to a further one whose member `by` is equal. Raises
    msgspec.DecodeError when there is no list.

    >>> appended(Raw(b'[{"id":"a"},{"id":"b"}]'), [{"id": "a", "n": 1}], "id")[1]
    {'id': 'a', 'n': 1}
    """
    further = list(items)
    if not further or isinstance(listed, UnsetType):
        return UNSET
    taken = [msgspec.to_builtins(item).get(by) for item in further]
    own = msgspec.json.decode(listed, type=list[Raw])
    return [*(item for item in own if _member(item, by) not in taken), *further]


def _new_values(members: Members, change: Change, context: RequestContext) -> dict[str, Raw]:
    found: dict[str, Raw] = {}
    for name, value in change.values(members, context).items():
        before = members.get(name)
        if value is UNSET or (before is not None and change.verb == "add"):
            continue
        after = Raw(msgspec.json.encode(value))
        if before is None or (before != after and not _is_text(before, value)):
            found[name] = after
    return found


def _is_text(raw: Raw, value: object) -> bool:
    """Whether raw JSON is a text, however it is escaped: it is not written anew for its escapes."""
    return isinstance(value, str) and bool(msgspec.json.decode(raw) == value)


def _member(raw: Raw, name: str) -> object:
    value = msgspec.json.decode(raw)
    return value.get(name) if isinstance(value, dict) else None
