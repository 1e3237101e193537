"""
Deriving models from others: inherited and own values
(docs/facts/ollama.md#create).

These are pure functions. `aliases` stores the result.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw, UnsetType

from ..names import grammar
from ..types import internal, ollama
from ..wire.times import local_text
from .aliases import Alias

_LENGTHS = ("context_length", "embedding_length")
NOTHING = internal.MadeModel(parent="", license=[], parameters={}, messages=[])


class Wanted(NamedTuple):
    """What a request states of the model that it makes; what is absent or empty is inherited."""

    system: str | UnsetType | None
    template: str | UnsetType | None
    license: str | list[str] | UnsetType | None
    parameters: Raw | UnsetType
    messages: list[ollama.Message] | UnsetType | None
    requires: str | UnsetType | None
    info: dict[str, Any] | UnsetType | None
    capabilities: list[str] | UnsetType | None


def copied(row: internal.CatalogueRow, destination: str) -> Alias:
    """Return a second name for a model, with the model's own values."""
    return _alias(row, destination, _own_values(row))


def derived(row: internal.CatalogueRow, name: str, wanted: Wanted) -> Alias:
    """
    Return a model that is derived from another one; stated values replace inherited ones.

    Licences are added to those of the source, and parameters replace inherited ones key by key.
    """
    source = _own_values(row)
    stated = wanted.license
    licences = [stated] if isinstance(stated, str) else stated or []
    made = internal.MadeModel(
        parent=row.name,
        system=wanted.system or source.system,
        template=wanted.template or source.template,
        requires=wanted.requires or source.requires,
        # Each once: a Modelfile that `show` made states those of the source again.
        license=[*dict.fromkeys([*source.license, *(text for text in licences if text)])],
        parameters={**source.parameters, **_given_options(wanted.parameters)},
        messages=[
            internal.MadeMessage(
                role=(message.role or "user").lower(), content=message.content or ""
            )
            for message in wanted.messages
        ]
        if wanted.messages
        else source.messages,
        info=_told(source.info, wanted.info, wanted.capabilities),
    )
    return _alias(row, name, made)


def _told(
    inherited: internal.MadeInfo | UnsetType,
    info: dict[str, Any] | UnsetType | None,
    capabilities: list[str] | UnsetType | None,
) -> internal.MadeInfo | UnsetType:
    """Return what is said of a model: what its source said, and over it what the client says."""
    stated = {**(info or {})}
    if capabilities:
        stated["capabilities"] = capabilities
    told = {name: stated[name] for name in internal.MadeInfo.__struct_fields__ if name in stated}
    if not told:
        return inherited
    old = internal.MadeInfo() if isinstance(inherited, UnsetType) else inherited
    # A length may be written as 2048.0, and the plan has checked that nothing is behind the point.
    whole = {name: int(told[name]) for name in _LENGTHS if name in told}
    return msgspec.structs.replace(old, **{**told, **whole})


def layers(made: internal.MadeModel) -> list[bytes]:
    """Return the own values of a derived model, one text for each layer that Ollama would write."""
    parts: list[Any] = [
        made.template,
        made.system,
        made.parameters,
        *made.license,
        made.messages,
    ]
    return [msgspec.json.encode(part) for part in parts if part]


def _own_values(row: internal.CatalogueRow) -> internal.MadeModel:
    return NOTHING if isinstance(row.made, UnsetType) else row.made


def _alias(row: internal.CatalogueRow, name: str, made: internal.MadeModel) -> Alias:
    parsed = grammar.parse(name.strip())
    assert parsed is not None, "a plan checks the name before it makes a model"
    return Alias(
        name=parsed.display,
        request_key=row.request_key,
        modified_at=local_text(time.time()),
        made=made,
    )


def _given_options(options: Raw | UnsetType) -> dict[str, Any]:
    """
    Return options as they were written; the plan has checked the types of known ones.

    A null is kept: it is shown, and takes the place of an inherited value.
    (docs/facts/ollama.md#show-parameters)
    """
    given = None if isinstance(options, UnsetType) else msgspec.json.decode(options)
    return dict(given or {})
