"""Pictures in formats that LM Studio refuses: where they are, and PNG in their place."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Raw, UnsetType

from ..types import ollama
from ._media import refused_format
from ._raw import SEARCHED_BYTES, found_in

_IN_URL: Final = (
    re.compile(rb'UklGR(?<=[,"]UklGR)'),
    re.compile(rb'AAAA(?<=[,"]AAAA)....eXB[a-z]'),
)
"""
How WebP, and a file with a box `ftyp` in front, begin in a data URL and as a whole text.

Each begins with its own bytes, for which compiled code searches ten times as fast.
"""


def has_refused_image(images: list[str | None] | UnsetType | None) -> bool:
    """
    Whether a format that LM Studio refuses is among pictures in base64.

    (docs/facts/lmstudio.md#refused-content)

    >>> has_refused_image(["iVBORw0KGgo=", None]), has_refused_image(["UklGRhoAAABXRUJQ"])
    (False, True)
    """
    return any(refused_format(image) for image in images or () if image)


def have_refused_image(messages: list[ollama.Message] | UnsetType | None) -> bool:
    """
    Whether a picture of some message is in a format that LM Studio refuses.

    (docs/facts/lmstudio.md#refused-content)

    >>> have_refused_image([ollama.Message(images=["UklGRhoAAABXRUJQ"])])
    True
    """
    for message in messages or ():  # noqa: SIM110 - a generator costs more than its steps
        if message.images and has_refused_image(message.images):
            return True
    return False


def may_have_refused_url(raw: Raw | UnsetType) -> bool:
    """
    Whether raw JSON has a data URL in a format that LM Studio refuses, or what looks like one.

    (docs/facts/lmstudio.md#refused-content)

    >>> may_have_refused_url(Raw(b'"data:image/webp;base64,UklGRhoAAABXRUJQ"'))
    True
    """
    if isinstance(raw, UnsetType):
        return False
    view = memoryview(raw)
    if len(view) <= SEARCHED_BYTES:
        return any(begin.search(view) is not None for begin in _IN_URL)
    return any(found_in(raw, begin) for begin in _IN_URL)
