"""Read request bodies the way Ollama reads them.

May live here: turning a body's bytes into a request struct, and Ollama's words for what cannot be
read. May not live here: anything that knows an endpoint, a field's meaning or a default; and
nothing here logs, because whatever it could say is the client's own text.

Two stages. The fast path is one typed decode; request structs forbid unknown fields, so any body
that is unusual (a key in another letter case, an unknown key, a lone surrogate, bytes after the
value) fails there. The slow path reads the first JSON value leniently, fits it to the struct's
fields, and decodes the result with the same decoder, so both paths build equal structs. The rules
and the wordings are those of ollama sheet §1.6.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, AnyStr, Final, Literal, NamedTuple, NoReturn, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType
from msgspec import inspect as types

from gateway.faults import Refusal

__all__ = ["GoRules", "read_blank", "read_body", "read_late", "read_slowly"]

T = TypeVar("T")

Kind = Literal["string", "number", "bool", "array", "object"]

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_MISSING_BODY: Final = "missing request body"
_TRUNCATED: Final = "unexpected EOF"
_TOO_DEEP: Final = "exceeded max depth: the body nests values deeper than this server reads"
_UNREADABLE: Final = "invalid JSON"


Check = Callable[[Any], str | UnsetType]


@dataclass(frozen=True, eq=False)
class GoRules:
    """What Ollama's Go types say and a struct does not.

    All keys are `Struct.field`, with `[]` for the elements of a list or of a map.

    `types` are the Go types that cannot be derived: `ChatRequest.tools` is "api.Tools",
    `Message.images[]` is "api.ImageData". Derived otherwise: a struct `Tool` is "api.Tool", a list
    of it "[]api.Tool". A word that ends in ".Alias" marks elements that Ollama parses by code of
    its own: a failure inside such an element ends the reading, so it beats every other type error,
    and is reported under the name of the struct around it.

    `checks` ask a value, once its type is right, for what is wrong with it. On a field of any type
    but string the check stands for code of Ollama's own and ends the reading like an ".Alias"; such
    a field's value is passed as raw JSON. On a string it is one failure among the others.

    `shapes` name the struct that a raw value must fit; the value itself stays as it was sent.
    """

    types: Mapping[str, str] = field(default_factory=dict)
    checks: Mapping[str, Check] = field(default_factory=dict)
    shapes: Mapping[str, type[msgspec.Struct]] = field(default_factory=dict)


NO_RULES: Final = GoRules()


def read_blank(body: bytes) -> None:
    """Refuse a body of nothing but space, and look no further into it; raises `Refusal`."""
    if not body.strip():
        raise Refusal(400, _MISSING_BODY)


def read_body(
    body: bytes,
    kind: type[T],
    decoder: msgspec.json.Decoder[T],
    go_name: str,
    *,
    rules: GoRules = NO_RULES,
    objects: Mapping[str, str] = _NOTHING,
) -> T:
    """Decode a request body into `kind`, or refuse it with status 400 in Ollama's words.

    `go_name` is the request's name in Ollama's texts, such as "ChatRequest".

    `objects` lists raw fields at the top of the body (JSON name to Go type word) that must hold an
    object or null when they are present.

    `kind`, and every struct in it, must forbid unknown fields to have the fast path: otherwise a
    key in another letter case would be dropped without a word.

    Raises `Refusal`. (ollama sheet §1.6)
    """
    plan = _plan_for(kind)
    if plan.is_closed:
        try:
            request = decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
        else:
            if (
                (not plan.holds_raw or _is_utf8(body))
                and _are_objects(request, objects, plan)
                and _inspector_for(kind, rules)(request)
            ):
                return request
    return read_slowly(body, kind, decoder, go_name, rules=rules, objects=objects)


def read_slowly(
    body: bytes,
    kind: type[T],
    decoder: msgspec.json.Decoder[T],
    go_name: str,
    *,
    rules: GoRules = NO_RULES,
    objects: Mapping[str, str] = _NOTHING,
) -> T:
    """Do what `read_body` does without its fast path: same parameters, same answers."""
    try:
        value = _first_value(body)
        fitter = _BodyFitter(go_name, rules, objects)
        fitted = fitter.fit_whole({} if value is None else value, _plan_for(kind).shape)
        return decoder.decode(msgspec.json.encode(fitted))
    except RecursionError:
        raise Refusal(400, _TOO_DEEP) from None
    except msgspec.DecodeError as error:
        # A constraint that the plan does not know (a closed vocabulary, a custom type).
        raise Refusal(400, f"json: {error}") from None


def read_late(
    raw: Raw | UnsetType,
    decoder: msgspec.json.Decoder[T],
    empty: T,
    refusals: Mapping[str, str],
    status: int,
) -> T:
    """Decode a value that `read_body` kept raw, such as `options`.

    Absent and null give `empty`. Unknown keys are ignored, keys are case-sensitive (Ollama reads
    them from a map), and a key whose value is null is absent. A value of a wrong type is refused
    with `status` and the sentence that `refusals` holds for its path: "seed", or "stop[]" for an
    element of a list (a null element is of a wrong type, too); the list's own sentence serves where
    there is none for its elements.

    Raises `Refusal`. (ollama sheet §3.4)
    """
    if isinstance(raw, UnsetType) or bytes(raw).strip() in (b"", b"null"):
        return empty
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        value = _first_value(bytes(raw))
        if value is None:
            return empty
        fitted = _LateFitter(refusals, status).fit_whole(value, _plan_for(decoder.type).shape)
        return decoder.decode(msgspec.json.encode(fitted))
    except RecursionError:
        raise Refusal(status, _TOO_DEEP) from None
    except msgspec.DecodeError as error:
        raise Refusal(status, f"json: {error}") from None


def _is_utf8(body: bytes) -> bool:
    """The typed decode checks every string but those inside raw values."""
    if body.isascii():
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _are_objects(request: object, objects: Mapping[str, str], plan: "_Plan") -> bool:
    for name in objects:
        value = getattr(request, plan.attributes[name])
        if isinstance(value, Raw) and bytes(memoryview(value)[:1]) not in (b"{", b"n"):
            return False
    return True


# What the typed decode can't see of a decoded request.

_Inspector = Callable[[Any], bool]
_INSPECTORS: Final[dict[tuple[Any, GoRules], _Inspector]] = {}


def _inspector_for(kind: Any, rules: GoRules) -> _Inspector:
    known = _INSPECTORS.get((kind, rules))
    if known is None:
        known = _Inspectors(rules).of(types.type_info(kind), "") or _sees_nothing
        _INSPECTORS[kind, rules] = known
    return known


def _sees_nothing(_: object) -> bool:
    return True


class _Inspectors:
    """Builds functions that tell whether a decoded value is right by the checks and shapes."""

    def __init__(self, rules: GoRules) -> None:
        self._rules = rules
        self._structs: dict[type, list[tuple[str, _Inspector]]] = {}

    def of(self, info: types.Type, key: str) -> _Inspector | None:
        """The inspector of a type's values at a key; None when there is nothing to look at."""
        inspectors = list(self._parts(info, key))
        if not inspectors:
            return None

        def inspect(value: Any) -> bool:
            # Absence is nobody's fault; a null that matters is still raw here.
            return value is UNSET or value is None or all(one(value) for one in inspectors)

        return inspect

    def _parts(self, info: types.Type, key: str) -> Iterator[_Inspector]:
        check = self._rules.checks.get(key)
        if check is not None:
            yield _answers_nothing(check)
        shape = self._rules.shapes.get(key)
        if shape is not None:
            yield _fits_shape(shape)
        for member in info.types if isinstance(info, types.UnionType) else (info,):
            if isinstance(member, types.StructType):
                if steps := self._steps(member):
                    yield _fields(steps)
            elif isinstance(member, types.CollectionType):
                if look := self.of(member.item_type, f"{key}[]"):
                    yield _items(look)
            elif isinstance(member, types.DictType) and (
                look := self.of(member.value_type, f"{key}[]")
            ):
                yield _values(look)

    def _steps(self, info: types.StructType) -> list[tuple[str, _Inspector]]:
        steps = self._structs.get(info.cls)
        if steps is None:
            steps = self._structs[info.cls] = []
            for each in info.fields:
                look = self.of(each.type, f"{info.cls.__name__}.{each.encode_name}")
                if look is not None:
                    steps.append((each.name, look))
        return steps


def _answers_nothing(check: Check) -> _Inspector:
    return lambda value: check(value) is UNSET


def _fields(steps: list[tuple[str, _Inspector]]) -> _Inspector:
    return lambda value: all(look(getattr(value, name)) for name, look in steps)


def _items(look: _Inspector) -> _Inspector:
    return lambda value: all(map(look, value))


def _values(look: _Inspector) -> _Inspector:
    return lambda value: all(map(look, value.values()))


def _fits_shape(shape: type[msgspec.Struct]) -> _Inspector:
    decoder = msgspec.json.Decoder[Any](shape | None)
    names = {name for each in _structs_in(shape) for name in each.fields}
    spelled = re.compile(
        rb'"(' + b"|".join(re.escape(name.encode()) for name in names) + rb')"[ \t\r\n]*:',
        re.IGNORECASE,
    )
    known = {name.encode() for name in names}

    def fits(value: Any) -> bool:
        try:
            decoder.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        # A key in another letter case was passed over.
        return all(match[1] in known for match in spelled.finditer(value))

    return fits


def _structs_in(kind: Any) -> Iterator["_Shape"]:
    waiting, seen = [_plan_for(kind).shape], set[int]()
    while waiting:
        shape = waiting.pop()
        if id(shape.fields) not in seen:
            seen.add(id(shape.fields))
            if shape.struct is not None:
                yield shape
            waiting += shape.fields.values()
        if shape.item is not None:
            waiting.append(shape.item)


# The first JSON value of a body.


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


# Numbers keep their text: nothing is lost on the way into a raw field.
_JSON: Final = json.JSONDecoder(
    parse_int=Raw, parse_float=Raw, parse_constant=_refuse_constant, strict=True
)
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_UNDECODED: Final = re.compile("[\udc80-\udcff]")
_ESCAPE: Final = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a proper pair
    r"|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


def _mend_escape(match: re.Match[str]) -> str:
    return "\\ufffd" if match["lone"] else match[0]


def _first_value(body: bytes) -> Any:
    """The first JSON value: objects as dicts, numbers as `Raw`, never a lone surrogate inside.

    Every byte that is not UTF-8 and every lone surrogate becomes U+FFFD, what follows the value is
    not looked at, and of a key given twice the last value counts.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = _UNDECODED.sub("\ufffd", body.decode(errors="surrogateescape"))
    start = _end_of(_SPACE, text, 0)
    if start == len(text):
        raise Refusal(400, _MISSING_BODY)
    if "\\ud" in text or "\\uD" in text:
        text = _ESCAPE.sub(_mend_escape, text)
    # The standard parser takes a number's longest good beginning for the whole ("1." is 1).
    problem = None if text[start] in "{[" else _find_problem(body)
    if problem is None:
        try:
            return _JSON.raw_decode(text, start)[0]
        except ValueError:
            problem = _find_problem(body)
    raise Refusal(400, problem or _UNREADABLE)


# Where a JSON text breaks, in Go's words.

_GO_MAX_DEPTH: Final = 10_000
_B_SPACE: Final = re.compile(rb"[ \t\r\n]*")
_B_PLAIN: Final = re.compile(rb'[^"\\\x00-\x1f]*')
_B_DIGITS: Final = re.compile(rb"[0-9]*")
_LITERALS: Final = {b"t": b"true", b"f": b"false", b"n": b"null"}
_QUOTED: Final = {
    0x07: "\\a",
    0x08: "\\b",
    0x09: "\\t",
    0x0A: "\\n",
    0x0B: "\\v",
    0x0C: "\\f",
    0x0D: "\\r",
    0x27: "\\'",
    0x5C: "\\\\",
}


class _Broken(Exception):
    """The text breaks at a byte; the sentence says how."""


def _end_of(pattern: re.Pattern[AnyStr], text: AnyStr, at: int) -> int:
    """Where the pattern ends that matches (perhaps nothing) at a position."""
    match = pattern.match(text, at)
    return match.end() if match else at


def _find_problem(body: bytes) -> str | None:
    """Go's sentence for the first syntax error in the first JSON value, or None."""
    try:
        _skip_value(body)
    except _Broken as problem:
        return str(problem)
    return None


def _skip_value(body: bytes) -> None:
    """Walk over the first JSON value without recursion; raises `_Broken` where Go would."""
    open_brackets: list[bytes] = []
    expected = "value"
    at = 0
    while True:
        at = _end_of(_B_SPACE, body, at)
        char = body[at : at + 1]
        if not char:
            raise _Broken(_TRUNCATED)
        closes_empty = (expected, char) in (("value or end", b"]"), ("key or end", b"}"))
        if expected.startswith("value") and not closes_empty:
            if char in (b"{", b"["):
                open_brackets.append(char)
                if len(open_brackets) > _GO_MAX_DEPTH:
                    raise _broken_at(body, at, "exceeded max depth")
                expected = "key or end" if char == b"{" else "value or end"
                at += 1
                continue
            at = _skip_scalar(body, at)
            if not open_brackets:
                return
            expected = "separator"
        elif expected.startswith("key") and not closes_empty:
            if char != b'"':
                raise _broken_at(body, at, "looking for beginning of object key string")
            at = _end_of(_B_SPACE, body, _skip_string(body, at))
            if body[at : at + 1] != b":":
                raise _broken_at(body, at, "after object key")
            at += 1
            expected = "value"
        else:
            is_object = open_brackets[-1] == b"{"
            if char == b",":
                expected = "key" if is_object else "value"
            elif char == (b"}" if is_object else b"]"):
                open_brackets.pop()
                if not open_brackets:
                    return
                expected = "separator"
            else:
                where = "after object key:value pair" if is_object else "after array element"
                raise _broken_at(body, at, where)
            at += 1


def _skip_scalar(body: bytes, at: int) -> int:
    char = body[at : at + 1]
    if char == b'"':
        return _skip_string(body, at)
    if char in _LITERALS:
        literal = _LITERALS[char]
        for offset in range(1, len(literal)):
            if body[at + offset : at + offset + 1] != literal[offset : offset + 1]:
                name, wanted = literal.decode(), chr(literal[offset])
                raise _broken_at(body, at + offset, f"in literal {name} (expecting '{wanted}')")
        return at + len(literal)
    if char == b"-" or char.isdigit():
        return _skip_number(body, at)
    raise _broken_at(body, at, "looking for beginning of value")


def _skip_number(body: bytes, at: int) -> int:
    if body[at : at + 1] == b"-":
        at += 1
    if body[at : at + 1] == b"0":
        at += 1
    else:
        at = _skip_digits(body, at, "in numeric literal")
    if body[at : at + 1] == b".":
        at = _skip_digits(body, at + 1, "after decimal point in numeric literal")
    if body[at : at + 1] in (b"e", b"E"):
        at += 1
        if body[at : at + 1] in (b"+", b"-"):
            at += 1
        at = _skip_digits(body, at, "in exponent of numeric literal")
    return at


def _skip_digits(body: bytes, at: int, where: str) -> int:
    end = _end_of(_B_DIGITS, body, at)
    if end == at:
        raise _broken_at(body, at, where)
    return end


def _skip_string(body: bytes, at: int) -> int:
    at += 1
    while True:
        at = _end_of(_B_PLAIN, body, at)
        char = body[at : at + 1]
        if char == b'"':
            return at + 1
        if char != b"\\":
            raise _broken_at(body, at, "in string literal")
        at += 1
        char = body[at : at + 1]
        if char == b"u":
            for _ in range(4):
                at += 1
                if body[at : at + 1] not in b"0123456789abcdefABCDEF" or at >= len(body):
                    raise _broken_at(body, at, "in \\u hexadecimal character escape")
        elif char not in b'bfnrt\\/"' or not char:
            raise _broken_at(body, at, "in string escape code")
        at += 1


def _broken_at(body: bytes, at: int, where: str) -> _Broken:
    if at >= len(body):
        return _Broken(_TRUNCATED)
    return _Broken(f"invalid character '{_quote(body[at])}' {where}")


def _quote(byte: int) -> str:
    """One byte as Go quotes it: taken for a Latin-1 character, escaped unless printable."""
    if byte in _QUOTED:
        return _QUOTED[byte]
    if byte < 0x20 or byte == 0x7F:
        return f"\\x{byte:02x}"
    return chr(byte) if chr(byte).isprintable() else f"\\u{byte:04x}"


# Plans: what a type accepts, found out once per type.


@dataclass(slots=True, eq=False)
class _Shape:
    """What a type accepts. No kinds at all: anything, taken as it is."""

    kinds: frozenset[Kind] = frozenset()
    word: str = "interface {}"
    is_nullable: bool = False
    is_integer: bool = False
    item: "_Shape | None" = None
    struct: str | None = None
    fields: "dict[str, _Shape]" = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    """Folded name to the field's JSON name."""
    required: tuple[str, ...] = ()


class _Plan(NamedTuple):
    shape: _Shape
    attributes: dict[str, str]
    """JSON name to attribute, of the type's own fields."""
    holds_raw: bool
    is_closed: bool
    """Whether every struct in it forbids unknown fields."""


_SCALARS: Final[tuple[tuple[type[types.Type], Kind, str], ...]] = (
    (types.StrType, "string", "string"),
    (types.BoolType, "bool", "bool"),
    (types.IntType, "number", "int"),
    (types.FloatType, "number", "float64"),
)


class _Planner:
    """Derives shapes from msgspec's type information, recursive types included."""

    def __init__(self) -> None:
        self.holds_raw = False
        self.is_closed = True
        self._structs: dict[type, _Shape] = {}

    def shape_of(self, info: types.Type) -> _Shape:
        for scalar, kind, word in _SCALARS:
            if isinstance(info, scalar):
                is_integer = isinstance(info, types.IntType)
                return _Shape(frozenset({kind}), word, is_integer=is_integer)
        if isinstance(info, types.RawType):
            self.holds_raw = True
        elif isinstance(info, types.UnionType):
            return self._union(info)
        elif isinstance(info, types.CollectionType):
            item = self.shape_of(info.item_type)
            return _Shape(frozenset({"array"}), f"[]{item.word}", item=item)
        elif isinstance(info, types.DictType):
            item = self.shape_of(info.value_type)
            return _Shape(frozenset({"object"}), f"map[string]{item.word}", item=item)
        elif isinstance(info, types.StructType) and not info.array_like:
            return self._struct(info)
        elif isinstance(info, types.LiteralType | types.EnumType):
            return self._vocabulary(info)
        return _Shape(is_nullable=True)

    def _union(self, info: types.UnionType) -> _Shape:
        members = [kind for kind in info.types if not isinstance(kind, types.NoneType)]
        is_nullable = len(members) < len(info.types)
        shapes = [self.shape_of(member) for member in members]
        if len(shapes) == 1:
            # A struct's fields are filled in later when it refers to itself: they are shared.
            return replace(shapes[0], is_nullable=is_nullable or shapes[0].is_nullable)
        if not all(shape.kinds for shape in shapes):
            return _Shape(is_nullable=True)
        kinds = frozenset[Kind]().union(*(shape.kinds for shape in shapes))
        whole = _Shape(kinds, is_nullable=is_nullable)
        for shape in shapes:
            whole.item = whole.item or shape.item
            if shape.struct is not None:
                whole.struct, whole.fields, whole.names = shape.struct, shape.fields, shape.names
                whole.required = shape.required
        if kinds == {"number"}:
            whole.word = "float64"
        return whole

    def _struct(self, info: types.StructType) -> _Shape:
        known = self._structs.get(info.cls)
        if known is not None:
            return known
        self.is_closed = self.is_closed and info.forbid_unknown_fields
        name = info.cls.__name__
        shape = _Shape(
            frozenset({"object"}),
            f"api.{name}",
            struct=name,
            required=tuple(each.encode_name for each in info.fields if each.required),
        )
        self._structs[info.cls] = shape
        if info.tag_field is not None:
            shape.fields[info.tag_field] = _Shape(is_nullable=True)
        for each in info.fields:
            shape.fields[each.encode_name] = self.shape_of(each.type)
        shape.names.update((_fold(each), each) for each in shape.fields)
        return shape

    def _vocabulary(self, info: types.LiteralType | types.EnumType) -> _Shape:
        values = (
            info.values
            if isinstance(info, types.LiteralType)
            else tuple(member.value for member in info.cls)
        )
        are_texts = all(isinstance(value, str) for value in values)
        return _Shape(frozenset({"string"}), "string") if are_texts else _Shape(is_nullable=True)


_PLANS: Final[dict[Any, _Plan]] = {}


def _plan_for(kind: Any) -> _Plan:
    plan = _PLANS.get(kind)
    if plan is None:
        info = types.type_info(kind)
        planner = _Planner()
        shape = planner.shape_of(info)
        fields = info.fields if isinstance(info, types.StructType) else ()
        attributes = {each.encode_name: each.name for each in fields}
        plan = _PLANS[kind] = _Plan(shape, attributes, planner.holds_raw, planner.is_closed)
    return plan


def _fold(key: str) -> str:
    # Go folds the two non-ASCII letters whose other case is ASCII: long s and the Kelvin sign.
    return key.lower().replace("\u017f", "s")


# Fitting a value to a plan.

_KINDS: Final[Mapping[type, Kind]] = {
    str: "string",
    bool: "bool",
    Raw: "number",
    list: "array",
    dict: "object",
}
_ZEROS: Final[tuple[tuple[Kind, Callable[[], Any]], ...]] = (
    ("string", str),
    ("bool", bool),
    ("number", int),
    ("array", list),
    ("object", dict),
)


class _Place(NamedTuple):
    """Where a value stands: `path` with `[]` for elements, `label` without (Ollama's texts)."""

    path: str
    label: str
    owner: str
    is_pinned: bool
    """Whether `owner` stays: inside what Ollama parses by code of its own."""


class _Fitter:
    """Walks a value in document order: drops what a type does not know, complains about kinds."""

    folds_keys = False

    def fit(self, value: Any, shape: _Shape, place: _Place) -> Any:
        """The value as the type takes it; complaints go to `complain`."""
        if not shape.kinds:
            return value
        if value is None:
            return None if shape.is_nullable else self._zero(shape, place)
        kind = _KINDS[type(value)]
        if kind not in shape.kinds or (kind == "number" and not _fits_number(value, shape)):
            self.complain(value, shape, place)
            return self._zero(shape, place)
        if kind == "array" and shape.item is not None:
            inner = self.place_of_item(place)
            return [self.fit_item(item, shape.item, inner) for item in value]
        if kind == "object" and shape.struct is not None:
            return self._fit_struct(value, shape, place)
        if kind == "object" and shape.item is not None:
            inner = self.place_of_item(place)
            return {key: self.fit_item(item, shape.item, inner) for key, item in value.items()}
        return value

    def fit_item(self, value: Any, shape: _Shape, place: _Place) -> Any:
        """An element of a list or a map."""
        return self.fit(value, shape, place)

    def place_of_item(self, place: _Place) -> _Place:
        """The place of a list's or a map's elements."""
        return place._replace(path=f"{place.path}[]")

    def place_of_fields(self, shape: _Shape, place: _Place) -> _Place:
        """The place that the paths of a struct's fields start from."""
        return place

    def complain(self, value: Any, shape: _Shape, place: _Place) -> None:
        """Take note of a value whose kind the type does not accept, or raise."""
        raise NotImplementedError

    def _fit_struct(self, value: dict[str, Any], shape: _Shape, place: _Place) -> dict[str, Any]:
        outer = self.place_of_fields(shape, place)
        fitted: dict[str, Any] = {}
        for key, item in value.items():
            name = self._name_of(key, shape)
            if name is not None and (item is not None or shape.fields[name].is_nullable):
                inner = self.place_of_field(name, shape, outer)
                fitted[name] = self.fit(item, shape.fields[name], inner)
        for name in shape.required:
            if name not in fitted:
                fitted[name] = self._zero(shape.fields[name], outer)
        return fitted

    def place_of_field(self, name: str, shape: _Shape, outer: _Place) -> _Place:
        """The place of a field of the struct that `shape` is."""
        return outer._replace(path=f"{outer.path}.{name}" if outer.path else name)

    def _name_of(self, key: str, shape: _Shape) -> str | None:
        if key in shape.fields:
            return key
        return shape.names.get(_fold(key)) if self.folds_keys else None

    def _zero(self, shape: _Shape, place: _Place) -> Any:
        """Go's zero value: what stands for a null where the type has no null."""
        if shape.is_nullable:
            return None
        if shape.struct is not None:
            return self._fit_struct({}, shape, place)
        return next(make() for kind, make in _ZEROS if kind in shape.kinds)


class _BodyFitter(_Fitter):
    """Fits a body; reports the failure that Ollama reports."""

    folds_keys = True

    def __init__(self, go_name: str, rules: GoRules, objects: Mapping[str, str]) -> None:
        self._go_name = go_name
        self._rules = rules
        self._objects = objects
        self._first_complaint: str | None = None

    def fit_whole(self, value: Any, shape: _Shape) -> Any:
        fitted = self.fit(value, shape, _Place("", "", self._go_name, is_pinned=False))
        self._raise_first()
        return fitted

    def fit(self, value: Any, shape: _Shape, place: _Place) -> Any:
        if not shape.kinds and place.label in self._objects and not isinstance(value, dict | None):
            self.complain(value, shape, place)
            return None
        check = self._rules.checks.get(place.path)
        if check is not None and value is not None:
            if "string" in shape.kinds:
                problem = check(value) if isinstance(value, str) else UNSET
                if not isinstance(problem, UnsetType):
                    self._first_complaint = self._first_complaint or problem
            else:
                problem = check(Raw(msgspec.json.encode(value)))
                if not isinstance(problem, UnsetType):
                    raise Refusal(400, problem)
                place = place._replace(is_pinned=True)
        inner = self._rules.shapes.get(place.path)
        if inner is not None:
            # Only the complaints count: what is handed on is what was sent.
            super().fit(value, replace(_plan_for(inner).shape, is_nullable=True), place)
            return value
        return super().fit(value, shape, place)

    def fit_item(self, value: Any, shape: _Shape, place: _Place) -> Any:
        if not self._is_parsed_alone(place):
            return super().fit_item(value, shape, place)
        earlier, self._first_complaint = self._first_complaint, None
        fitted = super().fit_item(value, shape, place._replace(is_pinned=True))
        self._raise_first()
        self._first_complaint = earlier
        return fitted

    def place_of_fields(self, shape: _Shape, place: _Place) -> _Place:
        if place.is_pinned or not place.path:
            return place
        word = self._rules.types.get(place.path, shape.struct or "")
        return place._replace(owner=word.rpartition(".")[2])

    def place_of_field(self, name: str, shape: _Shape, outer: _Place) -> _Place:
        label = f"{outer.label}.{name}" if outer.label else name
        return outer._replace(path=f"{shape.struct}.{name}", label=label)

    def complain(self, value: Any, shape: _Shape, place: _Place) -> None:
        kind: str = _KINDS[type(value)]
        if kind == "number" and "number" in shape.kinds:
            kind = f"number {bytes(value).decode()}"
        if place.path:
            word = self._rules.types.get(place.path) or self._objects.get(place.label, shape.word)
            target = f"Go struct field {place.owner}.{place.label} of type {word}"
        else:
            target = f"Go value of type api.{self._go_name}"
        complaint = f"json: cannot unmarshal {kind} into {target}"
        self._first_complaint = self._first_complaint or complaint

    def _is_parsed_alone(self, place: _Place) -> bool:
        """Whether elements here are decoded one by one, so that the first bad one is told."""
        of_own = self._rules.types.get(place.path, "").endswith(".Alias")
        return of_own or place.path.removesuffix("[]") in self._rules.checks

    def _raise_first(self) -> None:
        if self._first_complaint is not None:
            raise Refusal(400, self._first_complaint)


class _LateFitter(_Fitter):
    """Fits a late value; every failure has a sentence of its own."""

    def __init__(self, refusals: Mapping[str, str], status: int) -> None:
        self._refusals = refusals
        self._status = status

    def fit_whole(self, value: Any, shape: _Shape) -> Any:
        return self.fit(value, shape, _Place("", "", "", is_pinned=False))

    def fit_item(self, value: Any, shape: _Shape, place: _Place) -> Any:
        if value is None and shape.kinds:
            self.complain(value, shape, place)
        return super().fit_item(value, shape, place)

    def complain(self, value: Any, shape: _Shape, place: _Place) -> NoReturn:
        for path in _path_and_parents(place.path):
            if path in self._refusals:
                raise Refusal(self._status, self._refusals[path])
        expected = " or ".join(sorted(shape.kinds))
        where = f'"{place.path}"' if place.path else "the value"
        raise Refusal(self._status, f"{where} must be of type {expected}")


def _path_and_parents(path: str) -> Iterator[str]:
    yield path
    while path.endswith("[]"):
        path = path.removesuffix("[]")
        yield path


def _fits_number(value: Raw, shape: _Shape) -> bool:
    text = bytes(value).decode()
    if shape.is_integer:
        return text.removeprefix("-").isdigit()
    return math.isfinite(float(text))
