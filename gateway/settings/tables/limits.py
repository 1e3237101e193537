"""
Limits on one request and on the shutdown.
"""

from __future__ import annotations

import msgspec

from .kinds import Bytes, Seconds


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on one request and on the shutdown."""

    body_bytes: Bytes = 256 * 1024 * 1024
    """The largest request body in bytes."""
    bodies_total: Bytes = 512 * 1024 * 1024
    """
    Bytes of all request bodies that may be in memory at a time, unpacked ones as they are unpacked.
    A body beyond that waits. One body alone is never refused. A translation holds a large body
    twice, for which there are 64 MiB more.
    """
    bodies_wait_s: Seconds = 30.0
    """Seconds that a body waits for room before it is refused; 0 is no limit."""
    text_bytes: Bytes = 32 * 1024 * 1024
    """The largest text of a body that is translated, such as an image in base64."""
    json_bytes: Bytes = 2 * 1024 * 1024
    """The largest value that is read as a whole, such as options, or a call's arguments."""
    header_bytes: Bytes = 1024 * 1024
    """
    The largest request line and headers together, in bytes; the default is Go's limit, and so
    Ollama's.
    """
    headers: Bytes = 256
    """The largest number of headers."""
    header_s: Seconds = 60.0
    """Seconds in which the head of a request must arrive; 0 is no limit."""
    body_s: Seconds = 60.0
    """Seconds in which at least each further KiB of a body must arrive; 0 is no limit."""
    write_s: Seconds = 300.0
    """
    Seconds for which a client may take nothing of an answer that waits for it; then its connection
    is closed. 0 is no limit.
    """
    json_depth: Bytes = 200
    """The number of levels to which the values of a body may nest."""
    messages: Bytes = 10_000
    """The largest number of messages in a body."""
    images: Bytes = 200
    """The largest number of images in a body."""
    tool_calls: Bytes = 1000
    """The largest number of tool calls in an answer of LM Studio, and of pieces in one event."""
    list_s: Seconds = 10.0
    """
    Seconds that LM Studio's model list may take; after them, clients get the list as it was last
    seen, or an error. 0 is no limit. A load waits for a slow list as long as a load may take.
    """
    health_s: Seconds = 5.0
    """Seconds that `/health` waits for LM Studio; 0 is no limit."""
    drain_s: Seconds = 30.0
    """Seconds that running answers may take to finish at shutdown; 0 cuts them at once."""
