"""Changes of members, and what of an object they leave alone (gateway.runtime.patching)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from msgspec import UNSET, Raw

from gateway.runtime import patching
from gateway.runtime.context import RequestContext
from gateway.runtime.patching import Change, appended, changed
from gateway.settings.schema import Settings
from gateway.types import openai

CONTEXT = RequestContext(Settings(), "")


def members(**values: bytes) -> dict[str, Raw]:
    """Return members by their raw values."""
    return {name: Raw(value) for name, value in values.items()}


def gives(**values: Any) -> Callable[[patching.Members, RequestContext], patching.Values]:
    """Return a function that gives these values whatever the members are."""
    return lambda _, __: values


def applied(before: dict[str, Raw], *changes: Change) -> dict[str, bytes] | None:
    """Apply changes; return the bytes of every member in order, None when nothing changed."""
    after = changed(before, changes, CONTEXT)
    return None if after is None else {name: bytes(raw) for name, raw in after.items()}


def test_what_is_replaced_keeps_its_place_and_the_rest_its_bytes() -> None:
    """Spaces, escapes and numbers as they came; what is new stands at the end."""
    before = members(a=b"[ 1 , 1e3 ]", b=b'"x"', c=b'"\\u00e9"')
    after = applied(before, Change("replace", gives(d=1, b="y")))
    assert after == {"a": b"[ 1 , 1e3 ]", "b": b'"y"', "c": b'"\\u00e9"', "d": b"1"}
    assert after is not None
    assert ["a", "b", "c", "d"] == [*after]


@pytest.mark.parametrize("raw", [b"1", b"false", b'""'])
def test_what_is_there_is_not_added(raw: bytes) -> None:
    """Nothing is a value that a client may state."""
    assert applied(members(a=raw), Change("add", gives(a=2))) is None
    assert {"a": raw, "b": b"2"} == applied(members(a=raw), Change("add", gives(a=1, b=2)))


def test_null_counts_as_absent() -> None:
    """What a model was made with stands in for it, and keeps its place."""
    after = applied(members(a=b"null", b=b"1"), Change("add", gives(a=2)))
    assert {"a": b"2", "b": b"1"} == after
    assert after is not None
    assert ["a", "b"] == [*after]


@pytest.mark.parametrize("raw", [b'"a b"', b'"a\\u0020b"'])
def test_the_same_text_is_not_written_anew(raw: bytes) -> None:
    """However it is escaped; so an object that has it already is passed on as it came."""
    assert applied(members(a=raw), Change("replace", gives(a="a b"))) is None


def test_another_number_is_another_value() -> None:
    """`1.0` where an integer is meant is what a rule may be there to mend."""
    assert {"a": b"1"} == applied(members(a=b"1.0"), Change("replace", gives(a=1)))


def test_absence_leaves_a_member_as_it_is() -> None:
    """A rule without a value says nothing."""
    assert applied(members(a=b"1"), Change("replace", gives(a=UNSET, b=UNSET))) is None


def _fails(problem: Exception) -> Callable[[patching.Members, RequestContext], patching.Values]:
    def fail(_: patching.Members, __: RequestContext) -> patching.Values:
        raise problem

    return fail


@pytest.mark.parametrize(
    "problem",
    [
        msgspec.DecodeError("no"),
        UnicodeDecodeError("utf-8", b"\xed", 0, 1, "no"),
        RecursionError(),
    ],
    ids=lambda problem: type(problem).__name__,
)
def test_what_can_not_be_read_leaves_out_its_change_alone(problem: Exception) -> None:
    """The others happen, those before it and those after it."""
    changes = [
        Change("replace", gives(a=2)),
        Change("replace", _fails(problem)),
        Change("add", gives(b=3)),
    ]
    assert {"a": b"2", "b": b"3"} == applied(members(a=b"1"), *changes)


def test_a_change_happens_whole_or_not_at_all() -> None:
    """The text that is there can't be compared, so that its neighbour stays as well."""
    before = members(a=b"1", b=b'"\\ud83d"')
    assert applied(before, Change("replace", gives(a=2, b="x"))) is None


def test_another_fault_is_not_hidden() -> None:
    """A transform that is wrong is found."""
    with pytest.raises(ZeroDivisionError):
        applied({}, Change("replace", _fails(ZeroDivisionError())))


def test_changes_read_the_members_as_they_came() -> None:
    """Their order does not matter."""

    def twice(found: patching.Members, _: RequestContext) -> patching.Values:
        return {"b": msgspec.json.decode(found["a"]) * 2}

    changes = [Change("replace", gives(a=5)), Change("replace", twice)]
    assert {"a": b"5", "b": b"2"} == applied(members(a=b"1"), *changes)
    assert {"a": b"5", "b": b"2"} == applied(members(a=b"1"), *reversed(changes))


def test_a_struct_is_written_without_what_it_has_not() -> None:
    """Absent fields are no members."""
    form = openai.ResponseFormat(type="text")
    assert {"a": b'{"type":"text"}'} == applied({}, Change("replace", gives(a=form)))


ITEM = openai.ModelEntry(id="b", object="model")


def test_items_stand_behind_the_lists_own_in_place_of_equal_ones() -> None:
    """What is kept keeps its bytes; what is no object, or has no such member, is kept."""
    listed = appended(Raw(b'[{"id":"a", "n":1e3},{"id":"b"},7,{}]'), [ITEM], "id")
    assert not isinstance(listed, msgspec.UnsetType)
    written = [b'{"id":"a", "n":1e3}', b"7", b"{}", b'{"id":"b","object":"model"}']
    assert written == [msgspec.json.encode(item) for item in listed]


@pytest.mark.parametrize("items", [[], iter(())])
def test_nothing_to_append_is_no_change(items: Any) -> None:
    """The list is not even read."""
    assert appended(Raw(b"no list"), items, "id") is UNSET


def test_an_absent_list_stays_absent() -> None:
    """An answer without it is another one than was described."""
    assert appended(UNSET, [ITEM], "id") is UNSET


@pytest.mark.parametrize("raw", [b"7", b"{}", b'"a"', b"null"])
def test_what_is_no_list_is_not_appended_to(raw: bytes) -> None:
    """Its change is left out."""
    with pytest.raises(msgspec.DecodeError):
        appended(Raw(raw), [ITEM], "id")
