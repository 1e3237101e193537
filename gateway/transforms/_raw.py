"""The kind of a raw JSON value, by its first byte."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Raw, UnsetType

Kind = Literal["absent", "string", "number", "bool", "array", "object"]

_KINDS: Final[dict[bytes, Kind]] = {
    b"": "absent",
    b"n": "absent",
    b'"': "string",
    b"t": "bool",
    b"f": "bool",
    b"[": "array",
    b"{": "object",
}


def kind_of(raw: Raw | UnsetType) -> Kind:
    """Return the kind of a value; null counts as absent."""
    if isinstance(raw, UnsetType):
        return "absent"
    return _KINDS.get(bytes(memoryview(raw)[:1]), "number")
