"""
Names that were pulled, and the models that LM Studio made of them.

LM Studio names a downloaded model in its own way. A client that has pulled a name uses that very
name afterwards, as with Ollama.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ..faults import StoreFailure
from ..names import grammar
from ..observability.journal import get_logger
from ..store.interface import Store


class PulledName(msgspec.Struct, frozen=True, kw_only=True):
    """One name as it was pulled, and LM Studio's key of the model or variant that it became."""

    name: str
    request_key: str


class PulledNames:
    """The pulled names of all gateways that share the store, as of the last `refresh`."""

    def __init__(self, store: Store) -> None:
        """Know nothing until `refresh`."""
        self._store = store
        self._keys: dict[str, str] = {}
        self._log = get_logger()

    @property
    def keys(self) -> Mapping[str, str]:
        """LM Studio's keys, by the pulled names in the form that names compare in."""
        return self._keys

    async def refresh(self) -> None:
        """Read the store again; after a failure, the last known names stay."""
        try:
            documents = await self._store.pulled()
            known = {name: _decode(document) for name, document in documents.items()}
        except (StoreFailure, msgspec.MsgspecError) as error:
            self._log.warning("could not read the pulled names", reason=str(error))
            return
        self._keys = {name: pulled.request_key for name, pulled in known.items()}

    async def ensure_kept(self) -> None:
        """Raise StoreFailure if the store could not keep a name that is to be pulled now."""
        if trouble := await self._store.trouble():
            raise StoreFailure(trouble)

    async def keep(self, name: str, request_key: str) -> None:
        """Remember a name; one that the store does not take lasts as long as the process."""
        parsed = grammar.parse(name.strip())
        if parsed is None:
            return
        self._keys = {**self._keys, parsed.folded: request_key}
        self._log.info("pulled name remembered", name=parsed.display, model=request_key)
        document = PulledName(name=parsed.display, request_key=request_key)
        try:
            await self._store.put_pulled(parsed.folded, msgspec.json.encode(document))
        except StoreFailure as failure:
            self._log.warning("could not store a pulled name", reason=str(failure))


_decode = msgspec.json.Decoder(PulledName).decode
