"""Read request bodies the way Ollama reads them.

A body's bytes become a request struct, or a refusal with Ollama's text. Nothing here depends on an
endpoint, a field's meaning or a default. Nothing here logs, because a log line could only quote the
client's text.

Two stages. The fast path is one typed decode; request structs forbid unknown fields, so any body
that is unusual (a key in another letter case, an unknown key, a lone surrogate, bytes after the
value) fails there. A key that comes twice does not: it is found by its quotes, which are not all
there when what was decoded is written again. The slow path reads the first JSON value leniently,
fits it to the struct's fields, and decodes the result with the same decoder, so both paths build
equal structs. The rules and the wordings are Ollama's (docs/facts/ollama.md#bodies-json,
docs/facts/ollama.md#type-errors).
"""

from collections.abc import Collection, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw, UnsetType

from ..faults import Refusal
from .fitting import NO_RULES, BodyFitter, GoRules, LateFitter
from .go_json import LONG_NUMBER, MISSING_BODY, MOST_DIGITS, TOO_DEEP, first_value
from .go_syntax import end_of_value
from .inspecting import inspector_for
from .lenient import UNREADABLE
from .shapes import Plan, fold, plan_for

__all__ = [
    "AT_ONCE",
    "IN_STEPS",
    "GoRules",
    "InSteps",
    "read_blank",
    "read_body",
    "read_late",
    "read_slowly",
]

T = TypeVar("T")


_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_MOST_COMPARED: Final = 32 * 1024
"""
The longest body, in bytes, that is looked through for repeated keys.

That costs as much as half a decode. No known client repeats a key, and only hand-written bodies,
which are short, could; in a longer one the last value counts.
"""
AT_ONCE: Final = 512 * 1024
"""The longest body, in bytes, that is decoded in one call: up to 15 ms for many small values."""
_SLOWLY_AT_ONCE: Final = 32 * 1024
"""The longest body, in bytes, that is read leniently in one call: up to 10 ms."""


class InSteps(Enum):
    """The kind of `IN_STEPS`."""

    IN_STEPS = 0


IN_STEPS: Final = InSteps.IN_STEPS
"""Stands for a request that has to be read in steps."""
_QUOTE: Final = b'"'
_encode: Final = msgspec.json.Encoder().encode
_members: Final = msgspec.json.Decoder(dict[str, Raw])
_object: Final = msgspec.json.Decoder(dict[str, Any] | None)


def read_blank(body: bytes) -> None:
    """Refuse a blank body, without parsing any other; raises `Refusal`."""
    if not body.strip():
        raise Refusal(400, MISSING_BODY)


def read_body(
    body: bytes,
    kind: type[T],
    decoder: msgspec.json.Decoder[T],
    go_name: str,
    *,
    rules: GoRules = NO_RULES,
    objects: Mapping[str, str] = _NOTHING,
) -> T | InSteps:
    """Decode a request body into `kind`, or refuse it with status 400 in Ollama's words.

    Returns `IN_STEPS` for a body that has to be read leniently and is too long for that:
    `large.read_in_steps` reads it.

    `go_name` is the request's name in Ollama's texts, such as "ChatRequest".

    `objects` lists raw fields at the top of the body (JSON name to Go type word) that must hold an
    object or null when they are present.

    `kind`, and every struct in it, must forbid unknown fields to have the fast path: otherwise a
    key in another letter case would be dropped without a word.

    Raises `Refusal`. (docs/facts/ollama.md#type-errors)
    """
    plan = plan_for(kind)
    if plan.is_closed:
        try:
            request = decoder.decode(body)
        except UNREADABLE:
            pass
        else:
            if (
                (not plan.holds_raw or _is_utf8(body))
                and _are_objects(request, objects, plan)
                and inspector_for(kind, rules)(request)
                and (
                    len(body) > _MOST_COMPARED
                    # Many clients write it as it is written here; counting takes longer.
                    or body == (again := _encode(request))
                    or body.count(_QUOTE) == again.count(_QUOTE)
                )
            ):
                return request
    if len(body) > _SLOWLY_AT_ONCE:
        return IN_STEPS
    return read_slowly(body, kind, decoder, go_name, rules=rules, objects=objects)


def read_slowly(
    body: bytes,
    kind: type[T],
    decoder: msgspec.json.Decoder[T],
    go_name: str,
    *,
    rules: GoRules = NO_RULES,
    objects: Mapping[str, str] = _NOTHING,
) -> T:
    """Do the same as `read_body` without its fast path, for a body of any size."""
    try:
        value = first_value(body)
        fitter = BodyFitter(go_name, rules, objects)
        fitted = fitter.fit_whole({} if value is None else value, plan_for(kind).shape)
        _restore(fitted, fitter.kept_as_sent, body)
        return decoder.decode(msgspec.json.encode(fitted))
    except RecursionError:
        raise Refusal(400, TOO_DEEP) from None
    except msgspec.DecodeError as error:
        # A constraint that the plan does not have (a closed vocabulary, a custom type).
        raise Refusal(400, f"json: {error}") from None


def _restore(fitted: dict[str, Any], names: Collection[str], body: bytes) -> None:
    """Put values that are kept as sent back in their own bytes; an object has to be JSON."""
    wanted = {fold(name): name for name in names if not isinstance(fitted[name], dict | None)}
    if not wanted:
        return
    try:
        members = _members.decode(body[: end_of_value(body)])
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Half a pair of surrogates: what was made of it is as good as what was sent.
        return
    for key, value in members.items():
        if (name := wanted.get(fold(key))) is not None:
            fitted[name] = value


def read_late(
    raw: Raw | UnsetType,
    decoder: msgspec.json.Decoder[T],
    empty: T,
    refusals: Mapping[str, str],
    status: int,
) -> T:
    """Decode a value that `read_body` kept raw, such as `options`.

    Absent and null give `empty`. Unknown keys are ignored, keys are case-sensitive (Ollama reads
    them from a map), and a key whose value is null is absent. A value of a wrong type is refused
    with `status` and the sentence that `refusals` holds for its path: "seed", or "stop[]" for an
    element of a list (a null element is of a wrong type, too); the list's own sentence serves where
    there is none for its elements.

    Raises `Refusal`. (docs/facts/ollama.md#option-errors)
    """
    if isinstance(raw, UnsetType) or bytes(raw).strip() in (b"", b"null"):
        return empty
    try:
        return decoder.decode(raw)
    except UNREADABLE:
        pass
    try:
        value = first_value(bytes(raw))
        if value is None:
            return empty
        fitted = LateFitter(refusals, status).fit_whole(value, plan_for(decoder.type).shape)
        return decoder.decode(msgspec.json.encode(fitted))
    except RecursionError:
        raise Refusal(status, TOO_DEEP) from None
    except msgspec.DecodeError as error:
        raise Refusal(status, f"json: {error}") from None


def _is_utf8(body: bytes) -> bool:
    """Return whether raw values are UTF-8; the typed decode checks all other strings."""
    if body.isascii():
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _are_objects(request: object, objects: Mapping[str, str], plan: "Plan") -> bool:
    """Whether raw values that must be objects are, with no number that Go could not read."""
    for name in objects:
        value = getattr(request, plan.attributes[name])
        if isinstance(value, Raw):
            try:
                _object.decode(value)
            except UNREADABLE:
                return False
            if memoryview(value).nbytes > MOST_DIGITS and LONG_NUMBER.search(value):
                return False
    return True
