"""
What is left of a large request once it is sent: of each long text its length, for estimates.

LM Studio may take minutes to answer, and nothing but counts of tokens is read of the texts by then.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ..wire.splitting import Steps
from ..wire.writing import encode_in_steps

LONG: Final = 1024
"""Characters of a text that is shortened; no name that an answer is matched with is so long."""


class Shortened(str):
    """A text that is gone, except for its length."""

    length: int

    def __len__(self) -> int:
        """Return the number of characters that the text had."""
        return self.length


def encode_and_shorten(body: msgspec.Struct, request: msgspec.Struct) -> Steps[bytes]:
    """Return the JSON of a body, which is made of a request, and shorten both."""
    encoded = yield from encode_in_steps(body)
    yield from shorten(body, request)
    return encoded


def shorten(*requests: msgspec.Struct) -> Steps[None]:
    """Put what is left of them in place of the long texts of structs and of what they hold."""
    for request in requests:
        for name in request.__struct_fields__:
            held = getattr(request, name)
            if isinstance(held, str):
                if len(held) > LONG:
                    setattr(request, name, _left_of(held))
            elif isinstance(held, msgspec.Struct):
                yield from shorten(held)
            elif isinstance(held, list):
                yield from _shorten_items(held)


def _shorten_items(items: list[Any]) -> Steps[None]:
    for at, item in enumerate(items):
        if isinstance(item, str):
            if len(item) > LONG:
                items[at] = _left_of(item)
        elif isinstance(item, msgspec.Struct):
            yield from shorten(item)
        elif isinstance(item, list):
            yield from _shorten_items(item)
        yield


def _left_of(text: str) -> Shortened:
    left = Shortened()
    left.length = len(text)
    return left
