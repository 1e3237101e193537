"""
The conversion of LM Studio's model keys to Ollama's names and back.

Many characters of a key are not allowed in an Ollama name, so `canonical` escapes them, reversibly:

    _x2e_     the UTF-8 bytes of one or more characters that a name cannot contain
    _x_       an empty part
    _xj_      as the whole namespace: host and model are two pieces of one text
    _xh..._   at the end of a part: a digest of a text too long for any name; not reversible
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Collection
from typing import Final

from .grammar import (
    DEFAULT_HOST,
    DEFAULT_NAMESPACE,
    DEFAULT_TAG,
    MAX_HOST,
    MAX_PART,
    parse,
)


class IrreversibleName(ValueError):
    """A name contains only a digest of its key; only the catalogue can find the key."""


_JOINED: Final = "_xj_"

_DIGEST_CHARS: Final = 40

_CONTENT: Final = rf"x(?:(?:[0-9a-f]{{2}})*|j|h[0-9a-f]{{{_DIGEST_CHARS}}})"

_ESCAPE: Final = re.compile(rf"_{_CONTENT}_", re.IGNORECASE)

# In a text whose escaped characters are masked by NUL: an underscore that would read as an escape
# when the character after it, an underscore or an escape itself, is written.
_AMBIGUOUS: Final = re.compile(rf"_(?={_CONTENT}[_\0])", re.IGNORECASE)

# A host may hold a colon, but a key's colon would look like a tag or a port.
_ILLEGAL: Final = re.compile(r"[^A-Za-z0-9_.-]")

_ILLEGAL_IN_NAMESPACE: Final = re.compile(r"[^A-Za-z0-9_-]")


def canonical(key: str, variant: str | None = None) -> str:
    """The one Ollama name, in display form, of an LM Studio key or of one of its variants.

    "qwen/qwen3-8b" is "qwen/qwen3-8b:latest", its variant "q4_k_m" is "qwen/qwen3-8b:q4_k_m".
    Keys with up to three segments keep their shape; further slashes, and everything else that an
    Ollama name forbids, are escaped. `key_of` is the inverse. Names of keys that differ in letter
    case only may be equal but for letter case; other keys have names that differ in more.

    A key that is too long even for the longest name (about 430 characters when escaped; a variant
    of 80) gets a digest, which `key_of` refuses with `IrreversibleName`.
    (docs/facts/lmstudio.md#keys, docs/facts/ollama.md#name-grammar)
    """
    return f"{_canonical_path(key)}:{_canonical_tag(variant)}"


def _canonical_path(key: str) -> str:
    *above, model = key.rsplit("/", 2)
    if all((*above, model)):
        parts = [_escape(model)]
        if above:
            namespace = above[-1]
            # The display form leaves the default namespace and host out: they get an escape.
            is_hidden = len(above) == 1 and namespace.lower() == DEFAULT_NAMESPACE
            forced = (0,) if is_hidden else ()
            parts.insert(0, _escape(namespace, forced, _ILLEGAL_IN_NAMESPACE))
        if len(above) == 2:
            forced = (0,) if above[0].lower() == DEFAULT_HOST else ()
            parts.insert(0, _escape(above[0], forced))
        limits = (MAX_HOST, MAX_PART, MAX_PART)[-len(parts) :]
        if all(len(part) <= limit for part, limit in zip(parts, limits, strict=True)):
            return "/".join(parts)
    return _pack(_escape(key), key)


def _pack(text: str, key: str) -> str:
    """Return an escaped text as one part or two, else a digest of the key."""
    if len(text) <= MAX_PART:
        return text
    # Preferably after an escaped character, not in the middle of a word.
    breaks = {match.end() for match in _ESCAPE.finditer(text)}
    cuts = range(len(text) - MAX_PART, min(len(text), MAX_HOST + 1))
    for cut in sorted(cuts, key=lambda at: (at not in breaks, at)):
        host, model = text[:cut], text[cut:]
        if model[0] not in ".-" and host.lower() != DEFAULT_HOST:
            return f"{host}/{_JOINED}/{model}"
    return _digest(text, key)


def _canonical_tag(variant: str | None) -> str:
    if variant is None:
        return DEFAULT_TAG
    # Tags that Ollama treats as the default, or removes as a place to run at
    # (docs/facts/ollama.md#name-places).
    forced: tuple[int, ...] = ()
    if variant.lower() in (DEFAULT_TAG, "cloud", "local"):
        forced = (0,)
    elif variant.lower().endswith("-cloud"):
        forced = (len(variant) - len("-cloud"),)
    tag = _escape(variant, forced)
    return tag if len(tag) <= MAX_PART else _digest(tag, variant)


def _escape(text: str, forced: Collection[int] = (), illegal: re.Pattern[str] = _ILLEGAL) -> str:
    if not text:
        return "_x_"
    escaped = {match.start() for match in illegal.finditer(text)}
    escaped.update(forced)
    if text[0] in ".-":
        escaped.add(0)
    masked = "".join("\0" if at in escaped else char for at, char in enumerate(text))
    escaped.update(match.start() for match in _AMBIGUOUS.finditer(masked))
    pieces: list[str] = []
    for is_escaped, run in itertools.groupby(enumerate(text), lambda each: each[0] in escaped):
        chars = "".join(char for _, char in run)
        pieces.append(_escape_run(chars) if is_escaped else chars)
    return "".join(pieces)


def _escape_run(run: str) -> str:
    return f"_x{run.encode(errors='surrogatepass').hex()}_"


def _digest(escaped: str, original: str) -> str:
    digest = hashlib.sha256(original.encode(errors="surrogatepass")).hexdigest()[:_DIGEST_CHARS]
    mark = f"_xh{digest}_"
    readable = re.sub(r"[^A-Za-z0-9]+", "-", escaped[-(MAX_PART - len(mark)) :]).strip("-")
    return f"{readable}{mark}"


def key_of(name: str) -> tuple[str, str | None]:
    """Return the LM Studio key and variant of a canonical name: the inverse of `canonical`.

    Every legal name has a result, whether or not such a model exists. The tag "latest", even if it
    is left out, means no variant. Raises `IrreversibleName` for a name that contains a digest, and
    `ValueError` for an illegal name.
    """
    parsed = parse(name)
    if parsed is None:
        raise ValueError(f"{name!r} is not a legal model name")
    tag = None if parsed.tag.lower() == DEFAULT_TAG else _unescape(parsed.tag)
    if parsed.namespace.lower() == _JOINED:
        return _unescape(parsed.host + parsed.model), tag
    path = parsed.display.removesuffix(f":{parsed.tag}")
    return "/".join(_unescape(part) for part in path.split("/")), tag


def _unescape(text: str) -> str:
    return _ESCAPE.sub(_unescape_match, text)


def _unescape_match(match: re.Match[str]) -> str:
    content = match[0][2:-1].lower()
    if content.startswith("h"):
        raise IrreversibleName(f"{match.string!r} holds a digest of a longer name")
    if content == "j":
        return match[0]
    try:
        return bytes.fromhex(content).decode()
    except UnicodeDecodeError:
        return match[0]


_VARIANT: Final = re.compile(r"(?P<key>.+)@(?P<variant>[^@/\\]+)", re.DOTALL)

NUMBERED: Final = re.compile(r"(?P<key>.+):(?P<number>[0-9]{1,4})", re.DOTALL)


def split_variant(key: str) -> tuple[str, str | None]:
    """Split "foo@q4_k_m" into "foo" and "q4_k_m"; None when no variant is named.

    (docs/facts/lmstudio.md#variants)
    """
    match = _VARIANT.fullmatch(key)
    return (match["key"], match["variant"]) if match else (key, None)


def split_instance(identifier: str) -> tuple[str, int | None]:
    """Split "foo:2" into "foo" and 2; None when it is not a second or later instance.

    LM Studio numbers the instances of one model from 2 on; the first has no number.
    (docs/facts/lmstudio.md#instances)
    """
    match = NUMBERED.fullmatch(identifier)
    if match is None or match["number"].startswith("0") or match["number"] == "1":
        return identifier, None
    return match["key"], int(match["number"])
