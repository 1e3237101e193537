"""
Files that clients upload: they are hashed, and only their digests are remembered.

LM Studio takes no files, so nothing is stored and nothing can be made of them; a client that
uploads before it creates gets Ollama's answers to the upload all the same
(docs/facts/ollama.md#blobs).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator

from ..faults import Refusal

MAX_DIGESTS = 4096
"""Number of digests that are remembered, the latest ones."""


class Blobs:
    """The digests of the files that were uploaded to this process."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, None] = OrderedDict()

    def knows(self, digest: str) -> bool:
        """Return whether a file with this digest (`sha256:` or `sha256-`) is known."""
        return _normal(digest) in self._known

    async def take(self, digest: str, pieces: AsyncIterator[bytes]) -> None:
        """Read a file to its end and remember its digest. Raises Refusal (400) for another one."""
        hashed = hashlib.sha256()
        async for piece in pieces:
            # Hashing releases the interpreter lock, so a thread keeps it off the event loop.
            if len(piece) > 64 * 1024:
                await asyncio.to_thread(hashed.update, piece)
            else:
                hashed.update(piece)
        actual = f"sha256:{hashed.hexdigest()}"
        # Ollama, too, stores a file under its true digest if the path has another one.
        self._known[actual] = None
        self._known.move_to_end(actual)
        if len(self._known) > MAX_DIGESTS:
            self._known.popitem(last=False)
        if actual != _normal(digest):
            raise Refusal(400, f'digest mismatch, expected "{digest}", got "{actual}"')


def _normal(digest: str) -> str:
    return "sha256:" + digest[7:]
