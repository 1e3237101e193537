"""
Timestamps as Ollama writes them.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import ClassVar

_SECOND_NS = 1_000_000_000


class _Second:
    """The last formatted second, in ns and as text: frames share it, because formatting is slow."""

    last: ClassVar[tuple[int, str]] = (0, "1970-01-01T00:00:00.")


def utc_text(epoch_ns: int) -> str:
    """
    Return a time as Ollama writes `created_at`: UTC, nanoseconds, trailing zeros dropped.

    >>> utc_text(1_700_000_000_120_000_000)
    '2023-11-14T22:13:20.12Z'
    """
    start_ns, second = _Second.last
    fraction = epoch_ns - start_ns
    if not 0 <= fraction < _SECOND_NS:
        seconds, fraction = divmod(epoch_ns, _SECOND_NS)
        second = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(seconds))
        _Second.last = (seconds * _SECOND_NS, second)
    text = second + str(fraction).zfill(9)
    # In nine of ten cases, the last digit is not zero.
    return (text if fraction % 10 else text.rstrip("0").rstrip(".")) + "Z"


def local_text(epoch_s: float) -> str:
    """
    Return a time as Ollama writes `modified_at` and `expires_at`: in the server's own zone.

    The fraction's trailing zeros are dropped, and UTC is `Z` (docs/facts/ollama.md#model-times).
    """
    moment = datetime.fromtimestamp(epoch_s, UTC).astimezone()
    fraction = f".{moment.microsecond:06d}".rstrip("0").rstrip(".")
    zone = moment.strftime("%z")
    offset = "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:5]}"
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + fraction + offset
