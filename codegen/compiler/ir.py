"""
What a generated module holds, decided; the printer and its templates only write it down.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from codegen.compiler.provenance import Origin, RowOrigin, StepOrigin
from codegen.compiler.tree import Expression, Global, Node, Statement, globals_in


@dataclass(frozen=True)
class Parameter:
    """A parameter of a function; `self` alone has no annotation."""

    name: str
    annotation: Expression | None = None


SELF = Parameter("self")


@dataclass(frozen=True)
class Function:
    """A function or method."""

    name: str
    parameters: tuple[Parameter, ...]
    returns: Expression
    doc: str
    body: tuple[Statement, ...]
    is_async: bool = False
    is_property: bool = False
    origins: tuple[Origin, ...] = ()
    """The rules that it is made of."""
    steps: tuple[StepOrigin, ...] = ()
    """The steps that it writes, if it is a plan or what happens first."""
    rows: tuple[RowOrigin, ...] = ()
    """The rows of errors that it chooses from, a return each."""

    @property
    def nodes(self) -> Iterator[Node]:
        """Every tree of the function."""
        for parameter in self.parameters:
            if parameter.annotation is not None:
                yield parameter.annotation
        yield self.returns
        yield from self.body


@dataclass(frozen=True)
class Class:
    """A class with slots: a stream's state, or a fold."""

    name: str
    doc: str
    slots: tuple[str, ...]
    methods: tuple[Function, ...]

    @property
    def nodes(self) -> Iterator[Node]:
        """Every tree of the class."""
        for method in self.methods:
            yield from method.nodes


@dataclass(frozen=True)
class Constant:
    """A module constant: a value table, a decoder."""

    name: str
    annotation: Expression
    value: Expression

    @property
    def nodes(self) -> Iterator[Node]:
        """Both trees of the constant."""
        yield self.annotation
        yield self.value


@dataclass(frozen=True)
class Needs:
    """How a request tells what it needs of a host; `gateway/runtime/needs.py` says what each is."""

    model: tuple[str, ...] = ()
    begins: tuple[str, ...] = ()
    until: tuple[str, str] | None = None
    filled: tuple[tuple[str, tuple[str, ...]], ...] = ()
    words: tuple[tuple[str, str, str, tuple[str, ...]], ...] = ()
    context: tuple[str, ...] = ()


@dataclass(frozen=True)
class Endpoint:
    """One row of the endpoint table."""

    method: str
    path: str
    module: str
    request: str | None
    objects: dict[str, str] = field(default_factory=dict)
    reads_body: bool = True
    streams: bool = False
    reads_bytes: bool = False
    reports: bool = False
    keeps: str = ""
    """
    What alone its answer depends on: `settings`, `models` (and settings), `request` (and both), or
    "" for more.
    """
    keeps_agent: bool = False
    """Whether it depends on the client's name for itself, too; only of `request`."""
    needs: Needs | None = None


@dataclass(frozen=True)
class Change:
    """One change of what is passed on: its verb, and the function that gives the values."""

    verb: str
    function: str
    when: str | None = None
    warning: str = ""


@dataclass(frozen=True)
class Rewrite:
    """One change of whole events: the function that makes its rewriter, and where it is due."""

    function: str
    when: str | None = None
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class PassedOn:
    """One row of the table of what is passed on; `method` is "" for all routes below a path."""

    method: str
    path: str
    module: str
    model: str
    answered_by: tuple[str, ...]
    changes_models: bool
    first: str | None
    request: tuple[Change, ...]
    answer: tuple[Change, ...]
    stream: tuple[Change, ...]
    instead: str | None
    reads: tuple[str, ...]
    """The lists of the context that its rules read."""
    path_model: str = ""
    looked_up: bool = False
    warning: str = ""
    missing: tuple[int, str] | None = None
    lacking: tuple[int, str] | None = None
    home: str = ""
    session: str = ""
    session_below: bool = False
    gives: tuple[tuple[str, ...], ...] = ()
    union: tuple[str, str, str] | None = None
    rewrites: tuple[Rewrite, ...] = ()
    needs: Needs | None = None


@dataclass
class Module:
    """One generated module."""

    name: str
    source: str
    doc: str
    package: str
    """`plans` when it serves an operation, `calls` when other modules call what it holds."""
    constants: list[Constant] = field(default_factory=list)
    functions: list[Function] = field(default_factory=list)
    classes: list[Class] = field(default_factory=list)
    endpoints: list[Endpoint] = field(default_factory=list)
    passed_on: list[PassedOn] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether it holds nothing: routes that are passed on may need no function."""
        return not (self.constants or self.functions or self.classes)

    @property
    def references(self) -> set[Global]:
        """Every name of another module that this one refers to."""
        nodes = [node for constant in self.constants for node in constant.nodes]
        nodes += [node for function in self.functions for node in function.nodes]
        nodes += [node for item in self.classes for node in item.nodes]
        return globals_in(nodes)
