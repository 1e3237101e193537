"""
Which components the rules and the functions that they call name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from codegen.descriptions.signatures import Signature
from codegen.rules.checks import parts_of
from codegen.rules.model import (
    AnswerRule,
    Block,
    Instead,
    MappingFile,
    Passthrough,
    ReportRule,
    Shape,
    Stream,
    StreamBase,
    Table,
)

TYPED = (AnswerRule, Block, ReportRule, Shape, Stream, StreamBase, Table, Passthrough, Instead)


def named_components(files: Iterable[MappingFile], signatures: Iterable[Signature]) -> set[str]:
    """Return every component that is named, as `api:Component`."""
    named = {name for file in files for name in _of_rules(file)}
    for signature in signatures:
        annotations = (signature.returns, *(item.annotation for item in signature.parameters))
        for text in annotations:
            named |= {f"{api}:{name}" for api, name in re.findall(r"\b(\w+)\.(\w+)\b", text)}
    return named


def _of_rules(file: MappingFile) -> Iterator[str]:
    for part, _ in parts_of(file):
        if isinstance(part, TYPED):
            for text in (getattr(part, "source", None), getattr(part, "target", None)):
                # A table names a field of a component: `api:Component.path`.
                yield (text or "").partition(".")[0]
