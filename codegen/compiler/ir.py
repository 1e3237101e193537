"""
What a generated module holds, decided; templates only print it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Function:
    """A function or method: its lines are final Python, indentation relative to the body."""

    name: str
    parameters: tuple[str, ...]
    returns: str
    doc: str
    lines: tuple[str, ...]
    origin: str
    is_async: bool = False
    is_property: bool = False

    @property
    def text(self) -> str:
        """Everything that may name an import."""
        return "\n".join([*self.parameters, self.returns, *self.lines])


@dataclass(frozen=True)
class Class:
    """A class with slots: a stream's state, or a fold."""

    name: str
    doc: str
    slots: tuple[str, ...]
    methods: tuple[Function, ...]
    origin: str

    @property
    def text(self) -> str:
        """Everything that may name an import."""
        return "\n".join(method.text for method in self.methods)


@dataclass(frozen=True)
class Constant:
    """A module constant: a value table, a decoder."""

    name: str
    annotation: str
    value: str
    origin: str

    @property
    def text(self) -> str:
        """Everything that may name an import."""
        return f"{self.annotation} {self.value}"


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

    @property
    def imports(self) -> list[str]:
        """The import lines that the module's text asks for."""
        texts = [constant.text for constant in self.constants]
        texts += [function.text for function in self.functions]
        texts += [item.text for item in self.classes]
        text = "\n".join(texts)
        return [line for word, line in IMPORTS if re.search(word, text)]


_STANDARD = [
    (r"\bMapping\[", "from collections.abc import Mapping"),
    (r"\bAny\b", "from typing import Any"),
    (r"\bFinal\b", "from typing import Final"),
    (r"\bLiteral\[", "from typing import Literal"),
    (r"\bmsgspec\.", "import msgspec"),
    (r"\bUNSET\b", "from msgspec import UNSET"),
    (r"\bUnsetType\b", "from msgspec import UnsetType"),
]
_GATEWAY = [
    (r"\btransforms\.", "from gateway import transforms"),
    (r"\bsteps\.", "from gateway.engine import steps"),
    (r"\bCall\b", "from gateway.runtime.context import Call"),
    (r"\bRun\b", "from gateway.engine.run import Run"),
    (r"\bRefusal\(|\bRefusal\b", "from gateway.faults import Refusal"),
    (r"\bUpstreamFailure\b", "from gateway.faults import UpstreamFailure"),
    (r"\bAnswer\(", "from gateway.runtime.outcome import Answer"),
    (r"\bReport\(", "from gateway.runtime.outcome import Report"),
    (r"\bStreamCall\(", "from gateway.runtime.outcome import StreamCall"),
    (r"\bFetchCall\b", "from gateway.runtime.outcome import FetchCall"),
    (r"\bOutcome\b", "from gateway.runtime.outcome import Outcome"),
    (r"\bread_late\(", "from gateway.wire.reading import read_late"),
    (r"\bdecode_each\(", "from gateway.runtime.values import decode_each"),
    (r"\bvalue_of\(", "from gateway.runtime.values import value_of"),
    (r"\bshown\(", "from gateway.runtime.values import shown"),
    (r"\bshared\.", "from gateway.calls import shared"),
]
_STRUCTS = [
    (rf"\b{name}\.[A-Z]", f"from gateway.types import {name}")
    for name in ("internal", "lmstudio", "ollama", "openai")
]
IMPORTS = [*_STANDARD, *_GATEWAY, *_STRUCTS]
