"""
Models that clients made of LM Studio's: second names, with values that requests may leave out.

May live here: what is kept of one, where it is kept, and the catalogue's row for it. Not here: what
its values do to a request (the rules for `/api`, `made_values` for `/v1`).

A name that is kept here hides a model of LM Studio that has the same one, until it is deleted. What
it was made from is remembered by LM Studio's own key, so a name may even hide its own source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from gateway.faults import StoreFailure
from gateway.names import grammar
from gateway.observability.journal import get_logger
from gateway.store.interface import Store
from gateway.types import internal


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """
    A name kept here. `request_key` is LM Studio's, of the model or variant behind it.

    `modified_at` is as listings show it.
    """

    name: str
    request_key: str
    modified_at: str
    made: internal.MadeModel
    is_configured: bool = False


class Aliases:
    """
    The names of this gateway and of all that share its store, as of the last `refresh`.

    Configured ones stand above stored ones and can't be changed by clients.
    """

    def __init__(self, store: Store, configured: Mapping[str, str]) -> None:
        """Take names and what each stands for from the configuration; the store is read later."""
        self._store = store
        self._configured = dict(configured)
        self._kept: dict[str, Alias] = {}
        self._log = get_logger()

    @property
    def kept(self) -> Mapping[str, Alias]:
        """The stored names, by their folded form."""
        return self._kept

    @property
    def configured(self) -> Mapping[str, str]:
        """The configured names as written, and what each stands for."""
        return self._configured

    async def refresh(self) -> None:
        """Read what other gateways changed; a failure keeps what is known."""
        try:
            documents = await self._store.aliases()
            self._kept = {name: _decode(document) for name, document in documents.items()}
        except (StoreFailure, msgspec.MsgspecError) as error:
            self._log.warning("could not read the stored aliases", reason=str(error))

    async def keep(self, alias: Alias) -> None:
        """Remember a name, instead of what it stood for before. Raises StoreFailure."""
        name = _folded(alias.name)
        document = msgspec.json.encode(alias)
        await self._store.put_alias(name, document)
        self._kept = {**self._kept, name: alias}

    async def forget(self, name: str) -> None:
        """Remove a stored name; one that is not there is fine. Raises StoreFailure."""
        folded = _folded(name)
        await self._store.delete_alias(folded)
        self._kept = {key: alias for key, alias in self._kept.items() if key != folded}


def row_of(alias: Alias, base: internal.CatalogueRow) -> internal.CatalogueRow:
    """
    Return the catalogue's row of a name kept here: that of its model, with what is its own.

    A plain second name has the digest of its model, as Ollama's copies have
    (docs/facts/ollama.md#copy).
    """
    made = alias.made
    digest = base.digest
    if not is_plain(made):
        digest = hashlib.sha256(base.digest.encode() + msgspec.json.encode(made)).hexdigest()
    return msgspec.structs.replace(
        base, name=alias.name, modified_at=alias.modified_at, digest=digest, made=made
    )


def is_plain(made: internal.MadeModel) -> bool:
    """Whether a made model changes nothing of the one it was made from."""
    return msgspec.structs.replace(made, parent="") == internal.MadeModel(
        parent="", license=[], parameters={}, messages=[]
    )


def _folded(name: str) -> str:
    parsed = grammar.parse(name)
    assert parsed is not None, "a name is checked before it is kept"
    return parsed.folded


_decode = msgspec.json.Decoder(Alias).decode
