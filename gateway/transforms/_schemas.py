"""JSON schemas in requests, and the patterns in them that LM Studio refuses."""

from __future__ import annotations

from typing import Any, Final

_NAMED: Final = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")
"""Keywords whose value maps names, which are no keywords, to schemas."""
_DATA: Final = ("enum", "const", "default", "examples", "example", "required")
"""Keywords whose value holds no schema."""


def cleaned(schema: Any, *, drops_null: bool = False) -> Any:
    """
    Return a schema without the patterns that LM Studio refuses.

    (docs/facts/lmstudio.md#refused-content)
    With `drops_null`, without members that are null, and with an empty schema for one that is null.
    """
    if isinstance(schema, list):
        return [cleaned(item, drops_null=drops_null) for item in schema]
    if not isinstance(schema, dict):
        return {} if schema is None and drops_null else schema
    found = {}
    for key, value in schema.items():
        if (value is None and drops_null) or (key == "pattern" and _is_refused(value)):
            continue
        if key in _NAMED and isinstance(value, dict):
            value = {name: cleaned(item, drops_null=drops_null) for name, item in value.items()}
        elif key not in _DATA:
            value = cleaned(value, drops_null=drops_null)
        found[key] = value
    return found


def _is_refused(pattern: Any) -> bool:
    """Return whether LM Studio refuses a pattern, which must begin with ^ and end with $."""
    return isinstance(pattern, str) and not (pattern.startswith("^") and pattern.endswith("$"))
