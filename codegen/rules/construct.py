"""
How a construct of the rule language is declared: a dataclass whose fields are its keys.

`key` and `maybe` declare a key, with its form and its meaning; the other declarations keep where
something is written. `construct` puts the class into `GRAMMAR`, with what its keys exclude and
need. The reader, the JSON Schema and the tables of docs/rules.md are all made of that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal, TypeVar, cast

from codegen.descriptions.problem import Position
from codegen.descriptions.source import Key, Scalar, Value
from codegen.descriptions.source import Mapping as Node
from codegen.rules.forms import Form, JsonSchema, MapOf, Reading, is_word

T = TypeVar("T")
D = TypeVar("D")


@dataclass(frozen=True)
class Entry:
    """One key of a construct, and the attribute that holds what is read of it."""

    attribute: str
    name: str
    form: Form[Any]
    meaning: str
    required: bool
    absent: Callable[[], Any]


@dataclass(frozen=True)
class Needs:
    """A construct needs one of some keys; `words` is what it lacks, `{name}` its own key."""

    keys: tuple[str, ...]
    words: str
    check: Literal["unknown-key", "unknown-step", "bad-value"] = "unknown-key"
    at_key: bool = False
    """Whether the problem is reported at the construct's key and not at its body."""
    unless_misspelt: bool = False
    """Whether an unknown key, which may be a misspelt one of `keys`, is reported alone."""


@dataclass(frozen=True)
class Construct:
    """One construct: its class, and what its keys exclude and need."""

    name: str
    made: type[Any]
    shorthand: str
    exclusive: tuple[tuple[str, ...], ...]
    companions: Mapping[str, tuple[str, ...]]
    lonely: Mapping[str, str]
    needs: tuple[Needs, ...]
    includes: str | None

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """Its keys, in the order of its class."""
        declared = (
            Entry(item.name, found["name"] or item.name, *found["entry"])
            for item in fields(self.made)
            if "entry" in (found := item.metadata)
        )
        return {entry.name: entry for entry in declared}

    @property
    def title(self) -> str:
        """What it is called in a problem."""
        return self.name.replace("_", " ")

    @property
    def meaning(self) -> str:
        """The first sentence of its class's docstring."""
        return (self.made.__doc__ or "").strip().split("\n")[0]

    def holds(self) -> list[Construct]:
        """Return the constructs that its keys may hold."""
        found = []
        waiting = [entry.form for entry in self.entries.values()]
        while waiting:
            form = waiting.pop(0)
            waiting = [*form.within(), *waiting]
            if isinstance(form, One):
                found.append(form.declared)
        return found

    def attributes(self, node: Node, key: Key, reading: Reading) -> Iterator[tuple[str, Any]]:
        """Yield what each field of the class gets of a mapping."""
        by_attribute = {entry.attribute: entry for entry in self.entries.values()}
        for item in fields(self.made):
            entry = by_attribute.get(item.name)
            if entry is None:
                if (take := item.metadata.get("take")) is not None:
                    yield item.name, take(self, node, key)
                continue
            value = node.get(entry.name)
            read = None
            if value is not None:
                place = node.key(entry.name)
                read = reading.value(entry.form, value, place, f"`{entry.name}`")
            yield item.name, entry.absent() if read is None else read


GRAMMAR: dict[str, Construct] = {}
"""Every construct of the language by its name, in the order in which they are declared."""

_BY_CLASS: dict[type[Any], Construct] = {}


def construct_of(made: type[Any]) -> Construct:
    """Return the construct that a class declares."""
    return _BY_CLASS[made]


def construct(
    name: str,
    *,
    shorthand: str = "",
    exclusive: tuple[tuple[str, ...], ...] = (),
    companions: Mapping[str, tuple[str, ...]] | None = None,
    lonely: Mapping[str, str] | None = None,
    needs: tuple[Needs, ...] = (),
    includes: str | None = None,
) -> Callable[[type[T]], type[T]]:
    """
    Declare a class as a construct of the language.

    `shorthand` is the key whose value may stand for the whole construct; keys of one tuple of
    `exclusive` can't stand together; a key of `companions` means something only with one of
    others, and `lonely` may say so in words of its own. `includes` is the part of a group of which
    the construct takes the entries, "" for one that takes whole parts, None for one that takes no
    group.
    """

    def declare(made: type[T]) -> type[T]:
        declared = Construct(
            name, made, shorthand, exclusive, companions or {}, lonely or {}, needs, includes
        )
        GRAMMAR[name] = _BY_CLASS[made] = declared
        return made

    return declare


def key(
    form: Form[T], meaning: str, *, name: str = "", required: bool = False, default: object = None
) -> T:
    """Declare a key; when it is left out, it is `default`, or its form's empty value."""
    absent = form.empty if default is None else lambda: default
    return cast(T, _declared(form, meaning, name, required, absent))


def maybe(form: Form[T], meaning: str, *, name: str = "", required: bool = False) -> T | None:
    """Declare a key that is None when it is left out."""
    return cast("T | None", _declared(form, meaning, name, required, lambda: None))


def _declared(
    form: Form[Any], meaning: str, name: str, required: bool, absent: Callable[[], Any]
) -> Any:
    metadata = {"entry": (form, meaning, required, absent), "name": name}
    return field(default_factory=absent, metadata=metadata)


def place(*names: str) -> Position:
    """Declare where the value of the first of these keys stands; without it, the mapping."""

    def take(_: Construct, node: Node, key: Key) -> Position:
        found = (node.get(name) for name in names)
        return next((value.position for value in found if value is not None), node.position)

    return _kept(take)


def place_of_key() -> Position:
    """Declare where the key stands under which the construct is written."""
    return _kept(lambda _, node, key: key.position)


def text_of_key() -> str:
    """Declare the text of the key under which the construct is written."""
    return _kept(lambda _, node, key: key.text)


def first_of(*names: str) -> str:
    """Declare which of these keys is there, the first of several; "" for none."""
    return _kept(lambda _, node, key: next((name for name in names if name in node), ""))


def keys_of(name: str) -> dict[str, Key]:
    """Declare the keys of a mapping that is read under a key, each with its position."""

    def take(construct: Construct, node: Node, key: Key) -> dict[str, Key]:
        value, form = node.get(name), construct.entries[name].form
        if value is None or not isinstance(form, MapOf):
            return {}
        return {inner.text: inner for inner, _ in form.entries(value)}

    return _kept(take, dict)


def _kept(
    take: Callable[[Construct, Node, Key], T], absent: Callable[[], object] | None = None
) -> T:
    metadata = {"take": take}
    made = (
        field(metadata=metadata)
        if absent is None
        else field(default_factory=absent, metadata=metadata)
    )
    return cast(T, made)


class One(Form[T]):
    """One construct, or what its shorthand is."""

    def __init__(self, made: Callable[[], type[T]]) -> None:
        self._made = made

    @property
    def declared(self) -> Construct:
        """The construct."""
        return construct_of(self._made())

    @property
    def _short(self) -> Form[Any] | None:
        found = self.declared
        return found.entries[found.shorthand].form if found.shorthand else None

    @property
    def called(self) -> tuple[str, ...]:  # type: ignore[override]  # known only when asked
        """What it is called in a problem: a mapping, and what its shorthand is called."""
        return (*(self._short.called if self._short is not None else ()), "a mapping")

    def takes(self, value: Value) -> bool:
        """Tell whether it is a mapping, or the shorthand's form."""
        return isinstance(value, Node) or (self._short is not None and is_word(value))

    def read(self, value: Value, key: Key, reading: Reading) -> T:
        """Return the construct."""
        if isinstance(value, Scalar):
            short = Key(self.declared.shorthand, value.position)
            value = Node({short.text: (short, value)}, value.position)
        assert isinstance(value, Node)
        return reading.construct(self._made(), value, key)

    def schema(self) -> JsonSchema:
        """Return a reference to the construct's own schema."""
        return {"$ref": f"#/$defs/{self.declared.name}"}

    def notation(self) -> str:
        """Return a link to the construct's table."""
        return f"[{self.declared.title}](#{self.declared.title.replace(' ', '-')})"


def one(made: Callable[[], type[T]]) -> Form[T]:
    """Return the form of a construct; its class is asked for late, so that they may nest."""
    return One(made)
