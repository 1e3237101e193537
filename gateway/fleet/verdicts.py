"""
The meaning of each upstream fault for a fleet: what it says against its host, and who may go on.

One table says both. Whether the host is ejected is decided in `ejection`, and whether the request
really moves in `failover`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from ..faults import FaultId, UpstreamFailure
from ..upstream.stated_errors import names_missing_route
from .ejection import Failure


class Verdict(NamedTuple):
    """What one failure means."""

    against_host: Failure | None
    """What it says against its host, None for nothing: what LM Studio states of a request is no
    fault of the host."""
    may_move: bool
    """Whether the host does not work on the request, so that another host may take it."""


_UNREACHED: Final = Verdict("connect", may_move=True)
_BAD: Final = Verdict("answer", may_move=False)
_REFUSED: Final = Verdict("answer", may_move=True)
_HARMLESS: Final = Verdict(None, may_move=False)
# An older LM Studio, or another server, lacks a route that another host may have.
_LACKING: Final = Verdict(None, may_move=True)

VERDICTS: Final[Mapping[FaultId, Verdict]] = {
    "connect": _UNREACHED,
    "dns": _UNREACHED,
    "tls": _UNREACHED,
    # All connections are in use: that is our own limit.
    "pool": _HARMLESS,
    # It can be a connection that was idle for too long, so it says nothing of the host.
    "write": Verdict(None, may_move=True),
    # The host may be working on the request: it must not run on two hosts at once.
    "first_byte_timeout": _BAD,
    "silence_timeout": _BAD,
    "closed_before_headers": _REFUSED,
    "closed_mid_stream": _BAD,
    "bad_http": _BAD,
    "not_json": _BAD,
    "not_sse": _BAD,
    "empty": _BAD,
    # The model or the request is at fault.
    "upstream_error_200": _HARMLESS,
    "unknown_endpoint": _LACKING,
    "wrong_model": _HARMLESS,
    "bad_tool_arguments": _HARMLESS,
    "wrong_server": _HARMLESS,
}
"""The verdict on each fault of the wire."""

_BUSY: Final = (429, 503)
_MISSING: Final = (404, 405)


def verdict_on(failure: UpstreamFailure) -> Verdict:
    """
    Return what a failure means: a fault by the table, a stated error by its status.

    >>> verdict_on(UpstreamFailure("no room", status=503))
    Verdict(against_host='answer', may_move=True)
    >>> verdict_on(UpstreamFailure("no such model", status=404))
    Verdict(against_host=None, may_move=False)
    """
    is_busy = failure.status in _BUSY
    if failure.fault is not None:
        verdict = VERDICTS[failure.fault]
        is_harmless = verdict.against_host is None
        return verdict._replace(against_host="answer") if is_busy and is_harmless else verdict
    if is_busy:
        return _REFUSED
    if failure.status in _MISSING and names_missing_route(failure.message):
        return _LACKING
    return _BAD if (failure.status or 0) >= 500 else _HARMLESS
