"""
Rendezvous hashing: which of several hosts a key prefers, without a table and without a memory.

Every host gets a score for a key, and the best score wins. A host that leaves moves only its own
keys. A host of twice the weight gets twice as many keys.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from math import log

_MASK = 2**64 - 1
_WHOLE = log(2.0**64)


@lru_cache(8192)
def token_of(text: str) -> int:
    """
    Return 64 bits for a name, the same in every process.

    >>> token_of("studio") == token_of("studio") != token_of("tower")
    True
    """
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    # Odd, so that no product loses bits.
    return int.from_bytes(digest, "big") | 1


def scores(key: int, tokens: tuple[int, ...], shares: tuple[float, ...] | None) -> list[float]:
    """
    Return a score for each token, the highest for the best; `shares` are 1 / weight, or None.

    A product with a random key is an even draw from 64 bits. With weights, scores are logarithms of
    draws in (0, 1], divided by the weights: the largest one is a token's with the probability of
    its weight.
    """
    # One comprehension without a call of its own: a decision needs it for some dozens of hosts.
    factor = key | 1
    if shares is None:
        return [token * factor & _MASK for token in tokens]
    return [
        (log((token * factor & _MASK) + 1) - _WHOLE) * share
        for token, share in zip(tokens, shares, strict=True)
    ]
