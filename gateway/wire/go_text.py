"""Texts the way Go reads and writes them."""

from __future__ import annotations

from typing import Final

_ESCAPES: Final = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    '"': '\\"',
    "\\": "\\\\",
}

BLANKS: Final = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""What Go trims as blank; Python's own `strip` takes the separators U+001C to U+001F as well."""


def quoted(text: str | bytes) -> str:
    """
    Return a text in double quotes as Go's `%q`, what can't be printed escaped.

    Bytes that are no UTF-8 are shown in hex.

    >>> quoted('a"b'), quoted(b"\xff")
    ('"a\\\\"b"', '"\\\\xff"')
    """
    if isinstance(text, bytes):
        text = text.decode(errors="surrogateescape")
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def go_type(value: object) -> str:
    """
    Return the Go type that a JSON value has where any may stand.

    >>> go_type(1), go_type([]), go_type(None)
    ('float64', '[]interface {}', '<nil>')
    """
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "float64"
    if isinstance(value, str):
        return "string"
    if isinstance(value, list):
        return "[]interface {}"
    return "<nil>" if value is None else "map[string]interface {}"
