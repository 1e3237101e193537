"""
Errors that LM Studio states in a body, read from any shape it uses.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec

from ..faults import shorten
from ..wire.lenient import BOM, UNREADABLE, parse_lenient

_MAX_DEPTH = 8

_TITLE = re.compile(rb"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)

_UNKNOWN_ENDPOINT = "Unexpected endpoint or method."


class StatedError(NamedTuple):
    """An error in LM Studio's own words; `message` is empty when it gave none."""

    message: str
    code: str | None


class _Envelope(msgspec.Struct):
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_envelope = msgspec.json.Decoder(_Envelope)


def read_error(body: bytes) -> StatedError | None:
    """
    Read any form of LM Studio's errors; None when the body has none of these forms
    (docs/facts/lmstudio.md#error-envelopes).

    Meant for bodies that are known to be errors (by status, or by `event: error`): any member that
    holds words counts, and a code where there are none. Never raises; the message is at most
    MAX_MESSAGE_CHARS long.

    >>> read_error(b'{"error":"no model"}')
    StatedError(message='no model', code=None)
    >>> read_error(b'{"error":{"message":"gone","type":"invalid_request","code":null}}')
    StatedError(message='gone', code='invalid_request')
    """
    document = parse_lenient(body)
    return None if document is None else _read_envelope(document)


def read_hidden_error(body: bytes) -> StatedError | None:
    """
    Read the error that a body under status 200 holds; None when the body is a success.

    Only a filled `error` key counts: `null` and `""` are how some successes say "no error", and
    a success may well have a `message` of its own. The rest of the body is skipped, not built.

    Raises ValueError when the body is not JSON.
    """
    try:
        error = _envelope.decode(body)
    except msgspec.ValidationError:
        return None
    except UNREADABLE:
        document = parse_lenient(body)
        if document is None:
            raise ValueError("not JSON") from None
        if not isinstance(document, dict) or not document.get("error"):
            return None
        return _read_envelope(document)
    if error.error is msgspec.UNSET or bytes(error.error) in _NO_ERROR:
        return None
    return read_error(body) or StatedError("", None)


_NO_ERROR = frozenset((b"null", b'""', b"false"))


def read_event_error(name: str, data: bytes) -> StatedError | None:
    """
    Read the error that an event holds; None when it holds none.

    It may stand under `error`, `error_message` or, where an object says that it is an error or has
    nothing of a chunk, under another member that holds words; it may be plain text after
    `event: error`, or after the word "error" (docs/facts/lmstudio.md#stream-errors). Anything that
    can be read as a chunk with choices is none, whatever else it holds beside them.

    >>> read_event_error("", b"error: out of memory")
    StatedError(message='out of memory', code=None)
    >>> read_event_error("", b'{"choices": [], "error": ""}') is None
    True
    """
    document = parse_lenient(data)
    if isinstance(document, dict):
        if document.get("error"):
            return _read_envelope(document)
        return _read_unmarked(document, is_marked=name == "error")
    if isinstance(document, str):
        text = document
    elif document is None:
        text = data.decode("utf-8", "replace")
    else:
        text = _find_message(document) if name == "error" else ""
    if name == "error":
        return StatedError(shorten(_PREFIX.sub("", text)), None)
    found = _PREFIX.match(text)
    return StatedError(shorten(text[found.end() :]), None) if found else None


_PREFIX = re.compile(r"\s*error\s*:\s*", re.IGNORECASE)


def _read_unmarked(document: dict[str, Any], *, is_marked: bool) -> StatedError | None:
    """Read an error that has no filled `error` key."""
    if isinstance(words := document.get("error_message"), str) and words.strip():
        return StatedError(shorten(words), _find_code(document))
    kinds = (document.get("object"), document.get("type"))
    is_bare = bool(_WORDS_ALONE & document.keys()) and not _OF_A_CHUNK & document.keys()
    if is_marked or "error" in kinds or (is_bare and _find_message(document)):
        return _stated(document)
    return None


_WORDS_ALONE = frozenset(("message", "msg", "detail", "errors", "error_description"))
"""Members that say of an object with nothing of a chunk that it is an error."""
_OF_A_CHUNK = frozenset(("choices", "usage", "object", "id", "delta", "type"))


def is_unknown_endpoint(message: str) -> bool:
    """
    Whether these are LM Studio's words for a route it lacks (docs/facts/lmstudio.md#unknown-path).
    """
    return message.startswith(_UNKNOWN_ENDPOINT)


def names_missing_route(message: str) -> bool:
    """
    Whether these are a server's words for a route that it lacks, with the status 404 or 405.

    They name nothing else: words about a model or an answer name it
    (docs/facts/lmstudio.md#other-missing-routes).

    >>> names_missing_route("File Not Found"), names_missing_route("model 'a' not found")
    (True, False)
    """
    return is_unknown_endpoint(message) or _MISSING_ROUTE.fullmatch(message.strip()) is not None


_MISSING_ROUTE = re.compile(
    r"(?:404 )?(?:(?:file|page|path|route|endpoint|resource) )?not found\.?(?:: [A-Z]{3,7} /.*)?"
    r"|method not allowed\.?|(?:unknown|invalid) (?:endpoint|route|path)\b.*"
    r"|cannot [A-Z]{3,7} /.*",
    re.IGNORECASE,
)


def describe_body(body: bytes) -> str:
    """
    Describe in a few words a body that is neither JSON nor events: its text, or an HTML title.

    >>> describe_body(b"<html><head><title>502 Bad Gateway</title>")
    'an HTML page titled "502 Bad Gateway"'
    """
    start = body[:65536].removeprefix(BOM).strip()
    if not start:
        return "an empty body"
    if start.startswith(b"<"):
        title = _TITLE.search(start)
        text = shorten(b" ".join(title[1].split()).decode("utf-8", "replace"), 200) if title else ""
        return f'an HTML page titled "{text}"' if text else "an HTML page"
    if start.startswith((b"{", b"[")):
        return "broken JSON"  # not quoted: it may be what a model said
    return f'"{shorten(start.decode("utf-8", "replace"), 200)}"'


def _read_envelope(document: object) -> StatedError | None:
    if isinstance(document, dict):
        is_one = any(document.get(key) is not None for key in _WORDS_UNDER)
        return _stated(document) if is_one else None
    message = _find_message(document) if isinstance(document, list) else ""
    return StatedError(shorten(message), None) if message else None


def _stated(document: object) -> StatedError:
    code = _find_code(document)
    message = ""
    if isinstance(document, dict):
        # Beside a description, `error` is no more than a code.
        for key in ("error_description", "error"):
            message = message or _find_message(document.get(key))
    message = message or _find_message(document)
    if not message and code and not code.isdigit():
        # A code that is a word says more than nothing.
        message = code
    return StatedError(shorten(message), code)


_WORDS_UNDER = (
    "message",
    "error",
    "error_message",
    "error_description",
    "detail",
    "details",
    "msg",
    "errors",
    "title",
    "reason",
    "text",
)
"""Where servers put the words of an error; the first that has some counts."""


def _find_message(value: object, depth: int = 0) -> str:
    """Find the first text that says something, in the places where servers put it."""
    if depth > _MAX_DEPTH:
        return ""
    if isinstance(value, str):
        text = value.strip()
        if text.startswith("{") and (inner := parse_lenient(text.encode("utf-8", "replace"))):
            return _find_message(inner, depth + 1) or text
        return text
    if isinstance(value, list):
        return next(filter(None, (_find_message(item, depth + 1) for item in value)), "")
    if isinstance(value, dict):
        for key in _WORDS_UNDER:
            if found := _find_message(value.get(key), depth + 1):
                return found
    return ""


def _find_code(value: Any, depth: int = 0) -> str | None:
    if not isinstance(value, dict) or depth > _MAX_DEPTH:
        return None
    for key in ("code", "type"):
        found = value.get(key)
        if isinstance(found, str) and found:
            return shorten(found, 200)
        if isinstance(found, int) and not isinstance(found, bool):
            return str(found)
    return _find_code(value.get("error"), depth + 1)
