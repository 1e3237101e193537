"""
Read a large request body in steps, to the same struct or refusal as `reading` makes at once.

The body is split first (`splitting`), so that a syntax error is found before any other mistake, as
in Go. Then each part is decoded by compiled code, and only a part that this refuses is read
leniently. A text is put together from pieces. What has to be looked at as a whole has a limit: a
text, and a value that is kept as it was sent.

As in all large bodies, the last of equal keys counts (see `reading`).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from itertools import accumulate
from typing import Any, Final, NamedTuple, TypeVar, get_args

import msgspec
from msgspec import UNSET, Raw

from ..faults import Refusal
from .fitting import IN_STEPS, BodyFitter, GoRules, Place
from .go_json import TOO_DEEP, first_value, mend_surrogates, replace_undecoded
from .go_syntax import Broken
from .inspecting import inspector_for
from .lenient import UNREADABLE
from .shapes import JsonKind, Shape, plan_for
from .splitting import (
    BACKSLASH,
    SMALL,
    WINDOW,
    Part,
    Steps,
    split,
    split_items,
    whole_units,
    without_quotes,
)

T = TypeVar("T")

_EMPTY: Final[Mapping[str, Any]] = {"text": "", "array": [], "object": {}}
_KINDS: Final[Mapping[str, JsonKind]] = {"text": "string", "array": "array", "object": "object"}


class Sizes(NamedTuple):
    """The limits on what is looked at as a whole, in bytes."""

    text_bytes: int
    json_bytes: int


class _Slot(NamedTuple):
    """One field of a struct, and a decoder of an object that has only this field."""

    name: str
    attribute: str
    decode: Any
    is_sound: Any
    is_raw: bool
    holds_raw: bool
    structs: tuple[type, ...]
    """The structs that its value, or an item of its value, can be."""

    def typed(self, value: bytes) -> Any:
        """Decode a value for this field; raises what msgspec raises."""
        return getattr(self.decode(b'{"%b":%b}' % (self.name.encode(), value)), self.attribute)

    def sound(self, value: bytes) -> Any:
        """Do the same, and raise one of `UNREADABLE` for what compiled code does not see."""
        if self.holds_raw and not value.isascii():
            value.decode()
        found = self.decode(b'{"%b":%b}' % (self.name.encode(), value))
        if not self.is_sound(found):
            raise msgspec.DecodeError("a check finds fault with it")
        return getattr(found, self.attribute)


def read_in_steps(
    body: bytes,
    kind: type[T],
    go_name: str,
    *,
    rules: GoRules,
    objects: Mapping[str, str],
    sizes: Sizes,
) -> Steps[T]:
    """Do the same as `read_body`; raises `Refusal`, also beyond `sizes` (413)."""
    shape = plan_for(kind).shape
    try:
        whole = yield from split(body, shape)
        fitter = BodyFitter(go_name, rules, objects)
        reader = _Reader(body, fitter, rules, sizes)
        place = fitter.place_of_whole()
        if whole.kind != "object":
            value = first_value(body[whole.start : whole.end]) if whole.kind == "leaf" else None
            whole_value = _EMPTY.get(whole.kind, {} if value is None else value)
            fitted = fitter.fit_whole(whole_value, shape)
            return msgspec.json.decode(msgspec.json.encode(fitted), type=kind)
        request = yield from reader.struct(whole, kind, shape, place)
        fitter.raise_first()
        return request
    except Broken as problem:
        raise Refusal(400, str(problem)) from None
    except RecursionError:
        raise Refusal(400, TOO_DEEP) from None
    except msgspec.DecodeError as error:
        raise Refusal(400, f"json: {error}") from None


class _Reader:
    """Makes typed values of the parts of one body."""

    def __init__(self, body: bytes, fitter: BodyFitter, rules: GoRules, sizes: Sizes) -> None:
        self._body = body
        self._fitter = fitter
        self._rules = rules
        self._sizes = sizes

    def struct(self, part: Part, kind: type[T], shape: Shape, place: Place) -> Steps[T]:
        """Read an object of many bytes, member by member."""
        outer = self._fitter.place_of_fields(shape, place)
        values: dict[str, Any] = {}
        for key, member in part.members:
            name = self._fitter.name_of(key, shape)
            if name is None:
                continue
            slot = _slot_of(kind, name, self._rules)
            inner = self._fitter.place_of_field(name, shape, outer)
            if slot.attribute in values and self._is_null(member):
                earlier = values[slot.attribute]
                value = self._fitter.emptied(shape.fields[name], inner, earlier)
            else:
                value = yield from self._member(member, slot, shape.fields[name], inner)
            if value is not UNSET:
                values[slot.attribute] = value
            yield
        for name in shape.required:
            slot = _slot_of(kind, name, self._rules)
            if slot.attribute not in values:
                zero = self._fitter.zero(shape.fields[name], outer)
                values[slot.attribute] = self._fitted(slot, zero)
        return kind(**values)

    def _is_null(self, part: Part) -> bool:
        return self._body[part.start : part.start + 4] == b"null"

    def _member(self, part: Part, slot: _Slot, shape: Shape, place: Place) -> Steps[Any]:
        if part.kind == "leaf":
            return self._small(part, slot, shape, place)
        path = place.path
        is_whole = slot.is_raw or path in self._rules.octets
        if part.kind != "text" and path in self._rules.checks:
            is_whole = True
        if is_whole or (part.kind == "object" and not (shape.struct and slot.structs)):
            self._check_size("value", part, self._sizes.json_bytes, "json_bytes")
            return self._small(part, slot, shape, place)
        if shape.kinds and _KINDS[part.kind] not in shape.kinds:
            self._fitter.complain(_EMPTY[part.kind], shape, place)
            return UNSET
        if part.kind == "text":
            return (yield from self._fitted_text(part, shape, place))
        if part.kind == "array":
            return (yield from self._array(part, slot, shape, place))
        return (yield from self.struct(part, slot.structs[0], shape, place))

    def _small(self, part: Part, slot: _Slot, shape: Shape, place: Place) -> Any:
        """Read a value at once: by compiled code, else as leniently as Ollama."""
        raw = self._body[part.start : part.end]
        fitter = self._fitter
        if not fitter.is_object(place):
            try:
                return slot.sound(raw)
            except UNREADABLE:
                pass
        value = first_value(raw)
        if value is None and not shape.is_nullable:
            return UNSET
        fitted = fitter.fit(value, shape, place)
        if slot.name in fitter.kept_as_sent and not isinstance(fitted, dict | None):
            try:
                return slot.typed(raw)
            except UNREADABLE:
                pass
        return self._fitted(slot, fitted)

    def _array(self, part: Part, slot: _Slot, shape: Shape, place: Place) -> Steps[list[Any]]:
        found: list[Any] = []
        for item in part.items:
            if item.kind in ("leaf", "run"):
                found += yield from self._items(item, slot, shape, place)
            else:
                found.append((yield from self._item(item, slot, shape, place)))
            yield
        return found

    def _items(self, part: Part, slot: _Slot, shape: Shape, place: Place) -> Steps[list[Any]]:
        run = self._body[part.start : part.end]
        try:
            return list(slot.sound(b"[%b]" % run))
        except UNREADABLE:
            pass
        found: list[Any] = []
        for piece in (yield from split_items(run, SMALL)):
            items = b"[%b]" % run[piece.start : piece.end]
            try:
                found += slot.sound(items)
            except UNREADABLE:
                found += self._fitted(slot, self._fitter.fit(first_value(items), shape, place))
            yield
        return found

    def _item(self, part: Part, slot: _Slot, shape: Shape, place: Place) -> Steps[Any]:
        """Read one item of many bytes."""
        assert shape.item is not None or not shape.kinds
        item = shape.item or Shape()
        fitter = self._fitter
        inner = fitter.place_of_item(place)
        kind = _KINDS[part.kind]
        is_struct = part.kind == "object" and item.struct is not None and bool(slot.structs)
        if (part.kind == "text" and (not item.kinds or kind in item.kinds)) or is_struct:
            before = fitter.begin_item(inner)
            if part.kind == "text":
                value = yield from self._fitted_text(part, item, inner)
            else:
                pinned = fitter.pinned(inner)
                value = yield from self.struct(part, slot.structs[0], item, pinned)
            fitter.end_item(inner, before)
            return value
        self._check_size("value", part, self._sizes.json_bytes, "json_bytes")
        whole = Part("run", part.start, part.end)
        found = self._at_once(whole, slot, shape, place)
        return found[0] if found else UNSET

    def _check_size(self, what: str, part: Part, most: int, name: str) -> None:
        if (size := part.end - part.start) > most:
            text = f"a {what} in the body has {size} bytes, more than {most} (limits.{name})"
            raise Refusal(413, text)

    def _at_once(self, part: Part, slot: _Slot, shape: Shape, place: Place) -> list[Any]:
        items = b"[%b]" % self._body[part.start : part.end]
        try:
            return list(slot.sound(items))
        except UNREADABLE:
            return list(self._fitted(slot, self._fitter.fit(first_value(items), shape, place)))

    def _fitted(self, slot: _Slot, value: Any) -> Any:
        """Return a fitted value as a field takes it; raises `Refusal`."""
        try:
            return slot.typed(msgspec.json.encode(value))
        except msgspec.DecodeError as error:
            self._fitter.raise_first()
            raise Refusal(400, f"json: {error}") from None

    def _fitted_text(self, part: Part, shape: Shape, place: Place) -> Steps[Any]:
        text = yield from self._text(part)
        check = self._rules.checks.get(place.path)
        if check is None or check not in IN_STEPS:
            return self._fitter.fit(text, shape, place)
        self._fitter.note((yield from IN_STEPS[check](text)))
        return text

    def _text(self, part: Part) -> Steps[str]:
        self._check_size("text", part, self._sizes.text_bytes, "text_bytes")
        pieces: list[str] = []
        at, end = part.start + 1, part.end - 1
        while at < end:
            piece = _piece_of_text(self._body, at, end)
            pieces.append(_text_of(piece))
            at += len(piece)
            yield
        return "".join(pieces)


def _piece_of_text(body: bytes, at: int, end: int) -> bytes:
    """Return what follows of a text: no part of a character, of an escape or of a pair."""
    stop = min(at + WINDOW, end)
    piece = body[at:stop]
    if stop == end:
        return piece
    if BACKSLASH in piece:
        stop = at + whole_units(without_quotes(piece))
    least = max(at + 1, stop - 3)
    while least < stop and body[stop] & 0xC0 == 0x80:
        stop -= 1
    return piece[: stop - at]


def _text_of(piece: bytes) -> str:
    """Return a piece of a text in which nothing but half a pair or a character can be wrong."""
    try:
        if BACKSLASH not in piece:
            return piece.decode()
        return msgspec.json.decode(b'"%b"' % piece, type=str)
    except UNREADABLE:
        quoted = mend_surrogates(replace_undecoded(b'"%b"' % piece))
        text: str = msgspec.json.decode(quoted, type=str)
        return text


def _slot_of(kind: type[Any], name: str, rules: GoRules) -> _Slot:
    known = _SLOTS.get((kind, name, rules))
    if known is None:
        known = _SLOTS[kind, name, rules] = _make_slot(kind, name, rules)
    return known


_SLOTS: Final[dict[tuple[Any, str, GoRules], _Slot]] = {}


def _make_slot(kind: type[Any], name: str, rules: GoRules) -> _Slot:
    field = next(each for each in msgspec.structs.fields(kind) if each.encode_name == name)
    # Its name is part of the keys of rules.
    lone = msgspec.defstruct(
        kind.__name__,
        [(field.name, field.type, UNSET)],
        rename={field.name: name},
        forbid_unknown_fields=True,
        kw_only=True,
        gc=False,
    )
    parts = list(_parts_of(field.type))
    return _Slot(
        name,
        field.name,
        msgspec.json.Decoder(lone).decode,
        inspector_for(lone, rules),
        Raw in parts,
        plan_for(lone).holds_raw,
        tuple(each for each in parts if isinstance(each, type) and _is_struct(each)),
    )


def _is_struct(kind: type) -> bool:
    return issubclass(kind, msgspec.Struct)


def _parts_of(kind: Any) -> Generator[Any, None, None]:
    yield kind
    for each in get_args(kind):
        yield from _parts_of(each)


_OTHER: Final = bytes(set(range(256)) - set(b'[]{}"'))
_AS_SQUARE: Final = bytes.maketrans(b"{}", b"[]")
_LEVEL: Final[Mapping[int, int]] = {91: 1, 93: -1}
_PAIRED: Final = 4
"""Levels that are taken off the innermost brackets of a step before what is left is counted."""


def is_deeper_in_steps(body: bytes, limit: int) -> Steps[bool]:
    """
    Return whether brackets of any kind nest deeper than `limit`.

    A body with few brackets needs no more than their count. Of another one, a step removes from its
    bytes the escapes, then everything but brackets and quotes, then the strings, which follow an
    odd number of quotes, then pairs of brackets, and adds up what is left.
    """
    if not (yield from _has_more_brackets(body, limit)):
        return False
    depth, is_in_text, kept = 0, 0, b""
    for at in range(0, len(body), WINDOW):
        piece = kept + body[at : at + WINDOW]
        kept = b""
        if BACKSLASH in piece:
            piece = piece.replace(b"\\\\", b"")
            kept = b"\\" if piece.endswith(b"\\") else b""
            piece = piece.replace(b'\\"', b"")
        parts = piece.translate(_AS_SQUARE, _OTHER).split(b'"')
        brackets = b"".join(parts[is_in_text::2])
        is_in_text ^= (len(parts) - 1) & 1
        if brackets:
            levels = brackets
            for _ in range(_PAIRED):
                levels = levels.replace(b"[]", b"")
            opened = levels.count(b"[")
            if depth + opened + _PAIRED > limit:
                most = max(accumulate(map(_LEVEL.__getitem__, brackets), initial=depth))
                if most > limit:
                    return True
            depth += 2 * opened - len(levels)
        yield
    return False


def _has_more_brackets(body: bytes, most: int) -> Steps[bool]:
    """Return whether a body has more opening brackets, in texts or not."""
    left = most
    for mark in (b"[", b"{"):
        at = body.find(mark)
        while at >= 0:
            if not left:
                return True
            left -= 1
            at = body.find(mark, at + 1)
        yield
    return False
