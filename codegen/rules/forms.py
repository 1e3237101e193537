"""
What a key of the rule language may hold.

A form tells which YAML it takes, what it is called in a problem, what is read of it, and how a
JSON Schema and the documentation write it. Constructs are forms too: `one` names them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Generic, Protocol, TypeVar

from codegen.descriptions.problem import Findings
from codegen.descriptions.source import Key, Mapping, Plain, Scalar, Sequence, Value, plain

T = TypeVar("T")
U = TypeVar("U")

JsonSchema = dict[str, object]


class Reading(Protocol):
    """What reads constructs; forms come back to it for what they hold."""

    findings: Findings

    def value(self, form: Form[T], value: Value, key: Key, label: str) -> T | None:
        """Return what a form reads of a value; report a value of another form."""
        ...

    def construct(self, made: type[T], node: Mapping, key: Key) -> T:
        """Return the construct that a mapping holds."""
        ...


class Form(ABC, Generic[T]):
    """One form of value; `T` is what is read of it."""

    called: tuple[str, ...]
    """What it is called in a problem, a word for each of its alternatives."""

    @abstractmethod
    def takes(self, value: Value) -> bool:
        """Tell whether a value is of this form; its items are looked at when it is read."""

    @abstractmethod
    def read(self, value: Value, key: Key, reading: Reading) -> T:
        """Return what is read of a value of this form."""

    @abstractmethod
    def schema(self) -> JsonSchema:
        """Return the JSON Schema of the form."""

    @abstractmethod
    def notation(self) -> str:
        """Return how the documentation writes the form."""

    def empty(self) -> Any:
        """Return what stands in for a value that is left out."""
        return None

    def instead(self, value: Value) -> T | None:
        """Return what to go on with for a value of another form, which has been reported."""
        return None

    def within(self) -> Iterator[Form[Any]]:
        """Yield the forms that this one is made of."""
        yield from ()


class Simple(Form[T]):
    """A form of a single value, written out where it is made."""

    def __init__(
        self,
        called: str,
        test: Callable[[Value], bool],
        make: Callable[[Value], T],
        schema: JsonSchema,
        *,
        notation: str = "",
        empty: object = None,
    ) -> None:
        self.called = (called,)
        self._test, self._make, self._schema = test, make, schema
        self._notation, self._empty = notation or called, empty

    def takes(self, value: Value) -> bool:
        """Tell whether the test of this form holds."""
        return self._test(value)

    def read(self, value: Value, key: Key, reading: Reading) -> T:
        """Return the value as it is made here."""
        return self._make(value)

    def schema(self) -> JsonSchema:
        """Return the schema as stated."""
        return self._schema

    def notation(self) -> str:
        """Return the notation as stated."""
        return self._notation

    def empty(self) -> Any:
        """Return the stated value."""
        return self._empty


class Made(Form[U]):
    """Another form, of which something else is made."""

    def __init__(
        self,
        of: Form[T],
        make: Callable[[T, Value, Key], U],
        *,
        empty: object = None,
        instead: Callable[[Value], U] | None = None,
    ) -> None:
        self.called = of.called
        self._of: Form[Any] = of
        self._make: Callable[[Any, Value, Key], U] = make
        self._empty, self._instead = empty, instead

    def takes(self, value: Value) -> bool:
        """Tell whether the other form takes it."""
        return self._of.takes(value)

    def read(self, value: Value, key: Key, reading: Reading) -> U:
        """Return what is made of the other form's value."""
        return self._make(self._of.read(value, key, reading), value, key)

    def schema(self) -> JsonSchema:
        """Return the other form's schema."""
        return self._of.schema()

    def notation(self) -> str:
        """Return the other form's notation."""
        return self._of.notation()

    def instead(self, value: Value) -> U | None:
        """Return what was said to be made of a value of another form."""
        return self._instead(value) if self._instead is not None else None

    def within(self) -> Iterator[Form[Any]]:
        """Yield the other form."""
        yield self._of

    def empty(self) -> Any:
        """Return the stated value."""
        return self._empty


class Either(Form[T]):
    """The first of two forms that takes the value."""

    def __init__(self, first: Form[T], second: Form[T]) -> None:
        self._forms = (first, second)
        self.called = tuple(dict.fromkeys((*first.called, *second.called)))

    def takes(self, value: Value) -> bool:
        """Tell whether one of them takes it."""
        return any(form.takes(value) for form in self._forms)

    def read(self, value: Value, key: Key, reading: Reading) -> T:
        """Return what the form that takes it reads."""
        return next(form for form in self._forms if form.takes(value)).read(value, key, reading)

    def schema(self) -> JsonSchema:
        """Return both schemas."""
        return {"anyOf": [form.schema() for form in self._forms]}

    def notation(self) -> str:
        """Return both notations."""
        return " or ".join(form.notation() for form in self._forms)

    def empty(self) -> Any:
        """Return the second form's empty value."""
        return self._forms[1].empty()

    def within(self) -> Iterator[Form[Any]]:
        """Yield both."""
        yield from self._forms


class ListOf(Form[tuple[T, ...]]):
    """A list; what is no item of its form is reported and left out."""

    called = ("a list",)

    def __init__(self, item: Form[T]) -> None:
        self._item = item

    def takes(self, value: Value) -> bool:
        """Tell whether it is a list."""
        return isinstance(value, Sequence)

    def read(self, value: Value, key: Key, reading: Reading) -> tuple[T, ...]:
        """Return the items that are of their form."""
        assert isinstance(value, Sequence)
        label = f"an item of `{key.text}`"
        found = [reading.value(self._item, item, key, label) for item in value]
        return tuple(item for item in found if item is not None)

    def schema(self) -> JsonSchema:
        """Return the schema of the list."""
        return {"type": "array", "items": self._item.schema()}

    def notation(self) -> str:
        """Return the notation of the items, in brackets."""
        return f"[{self._item.notation()}, …]"

    def empty(self) -> Any:
        """Return no item."""
        return ()

    def within(self) -> Iterator[Form[Any]]:
        """Yield the items' form."""
        yield self._item


class MapOf(Form[dict[str, T]]):
    """Entries by name; what is no value of its form is reported and left out."""

    called = ("a mapping",)

    def __init__(self, item: Form[T]) -> None:
        self._item = item

    def takes(self, value: Value) -> bool:
        """Tell whether it is a mapping."""
        return isinstance(value, Mapping)

    def entries(self, value: Value) -> Iterator[tuple[Key, Value]]:
        """Yield the entries that are of their form."""
        for key, item in value.items() if isinstance(value, Mapping) else ():
            if self._item.takes(item):
                yield key, item

    def read(self, value: Value, key: Key, reading: Reading) -> dict[str, T]:
        """Return the entries that are of their form, by name."""
        assert isinstance(value, Mapping)
        found = {
            name.text: reading.value(self._item, item, name, f"`{name.text}`")
            for name, item in value.items()
        }
        return {name: item for name, item in found.items() if item is not None}

    def schema(self) -> JsonSchema:
        """Return the schema of a mapping with free keys."""
        return {"type": "object", "additionalProperties": self._item.schema()}

    def notation(self) -> str:
        """Return the notation of an entry, in braces."""
        return f"{{name: {self._item.notation()}, …}}"

    def empty(self) -> Any:
        """Return no entry."""
        return {}

    def within(self) -> Iterator[Form[Any]]:
        """Yield the entries' form."""
        yield self._item


class Operands(Form[T]):
    """`[path, constant, …]`: a fixed number of items, the first of them a path."""

    called = ("a list",)

    def __init__(self, *names: str, make: Callable[[tuple[Value, ...]], T]) -> None:
        self._names, self._make = names, make

    def takes(self, value: Value) -> bool:
        """Tell whether it is a list."""
        return isinstance(value, Sequence)

    def read(self, value: Value, key: Key, reading: Reading) -> Any:
        """Return the operands; None, and a problem, for another number of them."""
        assert isinstance(value, Sequence)
        if len(value.items) != len(self._names):
            reading.findings.add(
                "bad-value", value.position, f"`{key.text}` takes {len(self._names)} items"
            )
            return None
        return self._make(value.items)

    def schema(self) -> JsonSchema:
        """Return the schema of a list of so many items."""
        count = len(self._names)
        return {"type": "array", "items": {}, "minItems": count, "maxItems": count}

    def notation(self) -> str:
        """Return the names of the items, in brackets."""
        return f"[{', '.join(self._names)}]"


def is_word(value: Value) -> bool:
    """Tell whether a value is text."""
    return isinstance(value, Scalar) and isinstance(value.value, str)


def _is_status(value: Value) -> bool:
    number = value.value if isinstance(value, Scalar) else None
    return isinstance(number, int) and not isinstance(number, bool) and 100 <= number <= 599


def _text(value: Value) -> str:
    return str(value.value) if isinstance(value, Scalar) else ""


def _number(value: Value) -> int:
    number = value.value if isinstance(value, Scalar) else None
    assert isinstance(number, int)
    return number


WORD: Form[str] = Simple("a word", is_word, _text, {"type": "string"}, notation="word", empty="")
FLAG: Form[bool] = Simple(
    "`true`, or left out",
    lambda value: isinstance(value, Scalar) and value.value is True,
    lambda _: True,
    {"const": True},
    notation="`true`",
    empty=False,
)
STATUS: Form[int] = Simple(
    "a status from 100 to 599",
    _is_status,
    _number,
    {"type": "integer", "minimum": 100, "maximum": 599},
    notation="status",
    empty=0,
)
PLAIN: Form[Plain] = Simple("any value", lambda _: True, plain, {}, notation="any value")
