"""`format`: whether a request asks for structured output, and the schema for "any object"."""

from __future__ import annotations

from msgspec import UNSET, Raw, UnsetType

from ..wire.go_text import quote
from ._raw import kind_of


def asks_for_format(format: Raw | UnsetType) -> bool:
    """
    Whether structured output is asked for: by "json", or by a schema.

    (docs/facts/ollama.md#format)

    >>> asks_for_format(Raw(b'"json"')), asks_for_format(Raw(b"{}")), asks_for_format(Raw(b'""'))
    (True, True, False)
    """
    if isinstance(format, UnsetType):
        return False
    return kind_of(format) == "object" or bytes(format) == b'"json"'


def format_problem(format: Raw | UnsetType) -> str | UnsetType:
    """
    Return Ollama's text for a `format` that is neither "json" nor a schema nor nothing.

    The JSON is quoted as it was sent. (docs/facts/ollama.md#format)

    >>> format_problem(Raw(b'"xml"'))
    'invalid format: "\\\\"xml\\\\""; expected "json" or a valid JSON Schema object'
    """
    if isinstance(format, UnsetType) or kind_of(format) in ("absent", "object"):
        return UNSET
    sent = bytes(format)
    if sent in (b'""', b'"json"'):
        return UNSET
    return f'invalid format: {quote(sent)}; expected "json" or a valid JSON Schema object'


def any_object_schema() -> Raw:
    """
    Return a JSON schema that any object fits; LM Studio refuses the format `json_object`.

    (docs/facts/lmstudio.md#response-format)

    >>> bytes(any_object_schema())
    b'{"type":"object"}'
    """
    return Raw(b'{"type":"object"}')
