"""
Aliases: further names for LM Studio's models, with values for requests that leave them out.

Each derived model is an alias. This module stores aliases and makes their rows for the catalogue.
The mapping rules put their values into requests.

An alias hides a model of LM Studio with the same name until it is deleted. The source is stored as
LM Studio's key, so an alias may even hide its own source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from ..faults import StoreFailure
from ..names import grammar
from ..observability.journal import get_logger
from ..store.interface import Store
from ..types import internal


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """
    One alias. `request_key` is LM Studio's key of the source model or variant.

    `name` is in display form, `modified_at` is the time that listings show (RFC 3339), `made` holds
    the own values.
    """

    name: str
    request_key: str
    modified_at: str
    made: internal.MadeModel
    is_configured: bool = False


MAX_BYTES: Final = 1024 * 1024
"""Largest document of one alias: all of them are read, and held, by every gateway of a store."""
MAX_MODELS: Final = 1000
"""Most aliases in a store."""


class TooMuchToKeep(Exception):
    """An alias is larger than one may be, or one more than there may be; the text says which."""


class Aliases:
    """
    The aliases of all gateways that share the store, as of the last `refresh`.

    Configured aliases take precedence over stored ones, and clients cannot change them.
    """

    def __init__(self, store: Store, configured: Mapping[str, str]) -> None:
        """Set the configured aliases and their models; the store is read later."""
        self._store = store
        self._configured = dict(configured)
        self._kept: dict[str, Alias] = {}
        self._known = 0
        """The number of the newest change that the last `refresh` read."""
        self._own_changes = 0
        self._log = get_logger()

    @property
    def kept(self) -> Mapping[str, Alias]:
        """The stored aliases, by their folded name."""
        return self._kept

    @property
    def configured(self) -> Mapping[str, str]:
        """The configured aliases as written, and their models."""
        return self._configured

    def configured_names(self) -> Iterator[tuple[str, tuple[str, str]]]:
        """Yield each configured alias: its folded name, its display name, its model's name."""
        for name, stands_for in self._configured.items():
            parsed = grammar.parse(name)
            if parsed is not None:
                yield parsed.folded, (parsed.display, stands_for)

    def configure(self, configured: Mapping[str, str]) -> None:
        """Replace the configured aliases and their models."""
        self._configured = dict(configured)

    async def refresh(self) -> None:
        """Read what changed in the store; after a failure, the last known aliases stay."""
        try:
            while True:
                own_changes = self._own_changes
                changes = await self._store.changed_aliases(self._known)
                # What was read may be older than a change that was made here meanwhile.
                if own_changes == self._own_changes:
                    break
            if changes is None:
                return
            put = {name: _decode(document) for name, document in changes.documents.items()}
            left = {name: alias for name, alias in self._kept.items() if name in changes.names}
            self._kept = {**left, **put}
            self._known = changes.number
        except (StoreFailure, msgspec.MsgspecError) as error:
            self._log.warning("could not read the stored aliases", reason=str(error))

    async def keep(self, alias: Alias) -> None:
        """Remember a name, instead of what it stood for before. Raises StoreFailure."""
        name = _folded(alias.name)
        document = msgspec.json.encode(alias)
        if len(document) > MAX_BYTES:
            raise TooMuchToKeep(
                f"a model's own texts, parameters and messages have at most {MAX_BYTES} bytes in "
                f"all, and these have {len(document)}"
            )
        if name not in self._kept and len(self._kept) >= MAX_MODELS:
            raise TooMuchToKeep(
                f"at most {MAX_MODELS} models are kept here: delete one with `ollama rm`"
            )
        await self._store.put_alias(name, document)
        self._own_changes += 1
        self._kept = {**self._kept, name: alias}

    async def forget(self, name: str) -> None:
        """Remove a stored name; one that is not there is fine. Raises StoreFailure."""
        folded = _folded(name)
        await self._store.delete_alias(folded)
        self._own_changes += 1
        self._kept = {key: alias for key, alias in self._kept.items() if key != folded}


def alias_row(alias: Alias, base: internal.CatalogueRow) -> internal.CatalogueRow:
    """
    Return the catalogue's row of a name kept here: that of its model, with what is its own.

    A plain second name has the digest of its model, as Ollama's copies have
    (docs/facts/ollama.md#copy).
    """
    made = alias.made
    digest = base.digest
    if not is_plain(made):
        digest = hashlib.sha256(base.digest.encode() + msgspec.json.encode(made)).hexdigest()
    row = msgspec.structs.replace(
        base, name=alias.name, modified_at=alias.modified_at, digest=digest, made=made
    )
    return row if isinstance(made.info, UnsetType) else _with_info(row, made.info)


def _with_info(row: internal.CatalogueRow, info: internal.MadeInfo) -> internal.CatalogueRow:
    """Return a row with what a client says of its model (docs/facts/ollama.md#create-info)."""
    words = [] if isinstance(info.capabilities, UnsetType) else info.capabilities
    known = internal.Capabilities.__struct_fields__
    stated: dict[str, Literal["yes"]] = {word: "yes" for word in words if word in known}
    added = [word for word in dict.fromkeys(words) if word not in row.shown_capabilities]
    texts = {
        "family": info.model_family,
        "quantization": info.quantization_level,
        "parameter_size": info.parameter_size,
    }
    length = info.context_length
    return msgspec.structs.replace(
        row,
        listed_context_length=row.listed_context_length if length is UNSET else length or UNSET,
        capabilities=msgspec.structs.replace(row.capabilities, **stated),
        shown_capabilities=[*row.shown_capabilities, *added],
        **{name: text for name, text in texts.items() if not isinstance(text, UnsetType)},
    )


def is_plain(made: internal.MadeModel) -> bool:
    """Return whether a derived model has no own values."""
    return msgspec.structs.replace(made, parent="") == internal.MadeModel(
        parent="", license=[], parameters={}, messages=[]
    )


def _folded(name: str) -> str:
    parsed = grammar.parse(name)
    assert parsed is not None, "a name is checked before it is kept"
    return parsed.folded


_decode = msgspec.json.Decoder(Alias).decode
