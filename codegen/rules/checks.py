"""
Mistakes that the rules alone show, looked for once a file is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass

from codegen.descriptions.problem import Findings
from codegen.rules.model import MappingFile, Reason

THIN_REASONS = (
    "",
    "n/a",
    "na",
    "none",
    "no",
    "todo",
    "unsupported",
    "not supported",
    "unused",
    "ignored",
    "-",
)


def check_file(file: MappingFile, findings: Findings) -> None:
    """Report what is wrong in a file whatever the specs say."""
    if file.stated is not None and file.stated != file.name:
        findings.add(
            "bad-value", file.stated_position, f"`mapping` must be `{file.name}`, as the file"
        )
    for part, name in parts_of(file):
        if isinstance(part, Reason) and part.text.strip().lower() in THIN_REASONS:
            findings.add(
                "thin-reason",
                part.stated,
                f"`{name}` is left out without a reason",
                hint="say why a client or LM Studio loses nothing by it",
            )


def parts_of(part: object, name: str = "") -> Iterator[tuple[object, str]]:
    """Yield a construct and all that stand in it, each with the key under which it stands."""
    if isinstance(part, dict):
        for key, inner in part.items():
            yield from parts_of(inner, str(key))
    elif isinstance(part, tuple):
        for inner in part:
            yield from parts_of(inner, name)
    elif is_dataclass(part):
        yield part, name
        for item in fields(part):
            if "entry" in item.metadata:
                yield from parts_of(getattr(part, item.name), name)
