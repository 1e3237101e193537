"""
The generated table's rows for requests that are passed on, and the application of their changes.

A change gives values to some members of a JSON object, for one reason. It reads the members as they
came. If a member can't be read, the whole change is left out. A member that no change names keeps
its bytes and its place.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

from ..faults import Refusal
from ..transforms.rewriter import Rewriter
from ..wire.lenient import UNREADABLE
from ..wire.raw_members import member_of
from .context import RequestContext
from .needs import Needs

NULL = Raw(b"null")
Members: TypeAlias = Mapping[str, Raw]
"""The members of a JSON object by name, each value as it was written."""

Values: TypeAlias = dict[str, Any]
"""New values of members by name; UNSET leaves a member as it is."""


@dataclass(frozen=True, slots=True)
class Change:
    """
    One change: `add` gives values to members that are not there or null, `replace` to all, and
    `remove` leaves the named members out.

    `when` asks the context, in which the request's members are, whether there is a change at all;
    there is none if it raises one of `UNREADABLE`.
    `warning` is what the client is told when something changes.
    """

    verb: Literal["replace", "add", "remove"]
    values: Callable[[Members, RequestContext], Values]
    when: Callable[[RequestContext], bool] | None = None
    warning: str = ""


@dataclass(frozen=True, slots=True)
class Rewrite:
    """
    A change of an answer's chunks in which one depends on those before it; a whole answer is one.

    `make` makes the rewriter of one answer. It takes the chunks in which one of `marks` is, all
    where there are none. `when` is that of a change.
    """

    make: Callable[[RequestContext], Rewriter]
    when: Callable[[RequestContext], bool] | None = None
    marks: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class PassedOn:
    """
    How requests to one route are passed on, or to every route below a path that ends in "/".

    `method` is "" for any. `model` is the request's member that names a model, "" when none does;
    `answered_by` are the answer's members of which the first one there names the model that
    answered. `path_model` is the path's parameter that names a model. With `looked_up` the model
    of `model` is not made ready. `changes_models` is for routes that may change the list of models.
    `first` happens before a request for a model is changed; it takes a `Run` of the engine.
    `stream` are the changes of each event, `rewrites` those that come before and depend on earlier
    events.
    `instead` makes an answer without LM Studio, or returns UNSET; `warning` is what the client is
    told of it. `missing` is the error for a request that names no model, `lacking` the one when LM
    Studio lacks the route. `reads_kept` and `reads_models` are the lists of the context that the
    rules read.
    Where there are several hosts, `home` is the request's member or the path's parameter that names
    a model or an instance of the host that serves. `session` is the one that names what a host
    remembers; with `session_below` the first word below the path does. `gives` are ways through
    members of an answer or event, at the end of one of which it names such a thing. And `union`
    makes one list of all hosts' lists: it has the answer's member that is a list, the member by
    which items are one, and the member of an item that is a list of all hosts' items itself, "" for
    none.
    """

    method: str
    path: str
    model: str = ""
    answered_by: tuple[str, ...] = ()
    changes_models: bool = False
    first: Callable[[Members, Any], Awaitable[None]] | None = None
    request: tuple[Change, ...] = ()
    answer: tuple[Change, ...] = ()
    stream: tuple[Change, ...] = ()
    rewrites: tuple[Rewrite, ...] = ()
    instead: Callable[[Members, RequestContext], Any] | None = None
    warning: str = ""
    reads_kept: bool = False
    reads_models: bool = False
    path_model: str = ""
    looked_up: bool = False
    missing: Refusal | None = None
    lacking: Refusal | None = None
    home: str = ""
    session: str = ""
    session_below: bool = False
    gives: tuple[tuple[str, ...], ...] = ()
    union: tuple[str, str, str] | None = None
    needs: Needs | None = None
    """What tells which hosts could serve its requests; None if they name no model."""

    @property
    def is_kept(self) -> bool:
        """Whether its answer is made from the list of models too, and of nothing in a request."""
        return self.reads_models and self.method == "GET" and "{" not in self.path


DueT = TypeVar("DueT", Change, Rewrite)


def due(changes: tuple[DueT, ...], context: RequestContext) -> tuple[DueT, ...]:
    """
    Return the changes whose conditions hold; these are asked before anything is sent.

    Several changes may have one condition, which is asked once.
    """
    holding: list[DueT] = []
    known = context.conditions
    # A plain loop: a generator would be entered once for every change.
    for change in changes:
        when = change.when
        if when is not None and when not in known:
            try:
                known[when] = when(context)
            except UNREADABLE:
                known[when] = False
        if when is None or known[when]:
            holding.append(change)
    return tuple(holding)


def changed(
    members: Members, changes: Iterable[Change], context: RequestContext
) -> dict[str, Raw] | None:
    """
    Return the members with all changes applied, None when no value differs.

    Members that are replaced keep their places, new ones stand at the end. The warnings of what
    changed are added to the context's.

    >>> raise_it = Change("replace", lambda members, context: {"n": 2, "m": UNSET})
    >>> changed({"n": Raw(b"1"), "m": Raw(b"0")}, [raise_it], None)["n"] == Raw(b"2")
    True
    >>> changed({"n": Raw(b"2")}, [raise_it], None) is None
    True
    """
    found: dict[str, Raw] = {}
    left_out: list[str] = []
    # One function: most changes of most requests change nothing.
    for change in changes:
        new: dict[str, Raw] = {}
        verb = change.verb
        try:
            for name, value in change.values(members, context).items():
                before = members.get(name)
                if verb == "remove":
                    new |= {} if before is None else {name: before}
                    continue
                if value is UNSET or (before is not None and verb == "add" and before != NULL):
                    continue
                after = Raw(msgspec.json.encode(value))
                if before is None or (before != after and not _is_text(before, value)):
                    new[name] = after
        except UNREADABLE:
            continue
        if verb == "remove":
            left_out += new
        else:
            found |= new
        if new and change.warning:
            context.warnings.append(change.warning)
    if left_out:
        return {name: raw for name, raw in {**members, **found}.items() if name not in left_out}
    return {**members, **found} if found else None


def appended(
    listed: Raw | list[Raw] | UnsetType, items: Iterable[Any], by: str
) -> list[Any] | UnsetType:
    """
    Return a list with further items after its own, UNSET when it is as it came and none is added.

    An item of the list gives way to a further one whose member `by` is equal. Raises
    msgspec.DecodeError when there is no list.

    >>> appended(Raw(b'[{"id":"a"},{"id":"b"}]'), [{"id": "a", "n": 1}], "id")[1]
    {'id': 'a', 'n': 1}
    """
    further = list(items)
    if isinstance(listed, UnsetType):
        return UNSET
    if isinstance(listed, Raw):
        if not further:
            return UNSET
        own = msgspec.json.decode(listed, type=list[Raw])
    else:
        own = listed
    taken = [msgspec.to_builtins(item).get(by) for item in further]
    return [*(item for item in own if member_of(item, by) not in taken), *further]


def _is_text(raw: Raw, value: object) -> bool:
    """Whether raw JSON is a text, however it is escaped: it is not written anew for its escapes."""
    return isinstance(value, str) and bool(msgspec.json.decode(raw) == value)
