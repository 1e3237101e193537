"""
Texts the way Go reads and writes them: what it trims as blank, and how its packages quote.
"""

from __future__ import annotations

from typing import Final

BLANKS: Final = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""The characters that Go trims as blank; Python's `strip` also takes U+001C to U+001F."""

_ESCAPES: Final = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
}


def quote(text: str | bytes) -> str:
    r"""
    Return a text in double quotes, as `%q` and `%#v` print it: what can't be printed is escaped.

    Bytes that are not UTF-8 are shown in hexadecimal.

    >>> print(quote('a "b"\n\x7f\u2028'), quote(b"\xff"))
    "a \"b\"\n\x7f\u2028" "\xff"
    """
    if isinstance(text, bytes):
        text = text.decode(errors="surrogateescape")
    return '"' + "".join(_escape(each, '"') for each in text) + '"'


def quote_byte(byte: int) -> str:
    r"""
    Return one byte in single quotes, as `encoding/json` names it: read as a Latin-1 character.

    >>> print(quote_byte(0x27), quote_byte(0x22), quote_byte(0x0b), quote_byte(0xe9))
    '\'' '"' '\v' 'é'
    """
    return "'" + _escape(chr(byte), "'") + "'"


def quote_ascii(text: str) -> str:
    r"""
    Return a text in double quotes, as the package `time` does: all but ASCII in hexadecimal.

    >>> print(quote_ascii('5"\n é'))
    "5\"\x0a \xc3\xa9"
    """
    pieces = []
    for character in text:
        if character in '"\\':
            pieces.append("\\" + character)
        elif " " <= character < "\x80":
            pieces.append(character)
        else:
            encoded = character.encode("utf-8", "replace")
            pieces.append("".join(f"\\x{byte:02x}" for byte in encoded))
    return f'"{"".join(pieces)}"'


def _escape(character: str, mark: str) -> str:
    code = ord(character)
    if character == mark:
        return "\\" + character
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def go_type(value: object) -> str:
    """
    Return the Go type of a JSON value in a field of any type.

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
