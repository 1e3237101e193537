"""
The keys that are in force: whose a shown secret is, and what its owner may do.

Secrets are kept as digests, which have one length, and compared in constant time with all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from hashlib import sha256
from hmac import compare_digest

from ..settings.hosts import serves
from ..settings.schema import KeySettings, Settings
from .counting import Excess
from .shared import KeyCounts


class Grant:
    """What one request may do, for whom it is counted, and the end of its count."""

    __slots__ = ("_counts", "name", "settings")

    def __init__(self, name: str, settings: KeySettings, counts: KeyCounts) -> None:
        self.name = name
        self.settings = settings
        self._counts = counts

    def allows_path(self, path: str) -> bool:
        """Return whether the key may use a path."""
        return allows_path(self.settings, path)

    def allows_model(self, *names: str) -> bool:
        """Return whether the key may use a model, by any of its names."""
        patterns = self.settings.models
        return not patterns or serves(patterns, *names)

    @property
    def models(self) -> tuple[str, ...]:
        """The patterns of the models' names that the key may use; none for all models."""
        return self.settings.models

    @property
    def hides_models(self) -> bool:
        """Whether there may be models that do not exist for the key."""
        return bool(self.settings.models)

    @property
    def weight(self) -> float:
        """How much of a busy model the key gets where requests wait."""
        return self.settings.weight

    @property
    def priority(self) -> int:
        """Whose requests come first where requests wait: those of the key with more."""
        return self.settings.priority

    async def begin(self) -> Excess | None:
        """Count the request, unless it exceeds a limit."""
        return await self._counts.begin(self.name, self.settings)

    def end(self, tokens: int) -> None:
        """Count the end of the request and its tokens."""
        self._counts.end(self.name, tokens)


class Keyring:
    """All keys in force. `unnamed` ones may everything and are known by their places."""

    def __init__(self, settings: Settings) -> None:
        self._unnamed = digests_of(settings.listen.keys)
        self._named = {
            name: (bytes.fromhex(key.digest or ""), key) for name, key in settings.keys.items()
        }
        self.is_empty = not self._unnamed and not self._named
        self.has_names = bool(self._named)

    def owner_of(self, secret: str) -> int | str | None:
        """
        Return whose a secret is: a name, or a place from 1 of a key without one; None if nobody's.

        Compares with every key, so that the time taken does not reveal which one is similar.
        """
        digest = digest_of(secret)
        places = [compare_digest(digest, each) for each in self._unnamed]
        names = [name for name, (own, _) in self._named.items() if compare_digest(digest, own)]
        if any(places):
            return places.index(True) + 1
        return names[0] if names else None

    def named(self, name: str) -> KeySettings | None:
        """Return what a named key may do, None if there is none."""
        found = self._named.get(name)
        return None if found is None else found[1]

    def may_reload(self, secrets: Iterable[str]) -> bool:
        """Return whether one of some secrets may change the gateway: a key without a name may."""
        owners = [self.owner_of(secret) for secret in secrets]
        return any(
            isinstance(owner, int) or (owner is not None and self._named[owner][1].admin)
            for owner in owners
        )


def allows_path(settings: KeySettings, path: str) -> bool:
    """
    Return whether a key may use a path.

    >>> allows_path(KeySettings(routes=("/api/chat", "/v1/*")), "/v1/models")
    True
    >>> allows_path(KeySettings(routes=("/api/*", "!/api/delete")), "/api/delete")
    False
    """
    wanted = [each for each in settings.routes if not each.startswith("!")]
    unwanted = [each[1:] for each in settings.routes if each.startswith("!")]
    if any(fnmatchcase(path, each) for each in unwanted):
        return False
    return not wanted or any(fnmatchcase(path, each) for each in wanted)


def digests_of(secrets: Iterable[str]) -> list[bytes]:
    """Return the digest of each secret."""
    return [digest_of(secret) for secret in secrets]


def digest_of(secret: str) -> bytes:
    """Return the digest under which a secret is compared."""
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()
