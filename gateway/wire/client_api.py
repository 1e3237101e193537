"""
The form of a client's API on the wire, as one record, and the record of Ollama's API.

The engine gets such a record and knows nothing else about the API that it serves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

from .writing import (
    JSON,
    JSON_OF_STREAMS,
    NO_TYPE,
    TEXT,
    encode,
    encode_error,
    encode_error_line,
    encode_in_parts,
    encode_line,
    encode_lines,
)


class CountName(NamedTuple):
    """
    The names of one count of tokens.

    `side` is `in` for the prompt and `out` for the answer; `answer` is its field in an answer of
    this API, `reported` the name under which LM Studio's own is kept.
    """

    side: str
    answer: str
    reported: str


@dataclass(frozen=True, slots=True)
class ClientApi:
    """How one API's answers, lines and errors are written. Content types are header values."""

    encode: Callable[[object], bytes]
    """A whole answer."""
    encode_in_parts: Callable[[msgspec.Struct], list[bytes | memoryview]]
    """A whole answer that may have many bytes."""
    encode_line: Callable[[object], bytes]
    """One frame of a streamed answer, its end of line included."""
    encode_lines: Callable[[list[Any]], bytes]
    """The frames of one read, likewise."""
    encode_error: Callable[[str], bytes]
    """The envelope of an error, as a whole answer."""
    encode_error_line: Callable[[str], bytes]
    """The envelope of an error, as the last line of a streamed answer."""
    answer_type: bytes
    text_type: bytes
    bodiless_type: bytes
    """For an answer without a body; empty where no type is named then."""
    late_error_type: bytes
    """For an error that is found once the stream is set up, but before its first line."""
    report_type: bytes
    """For a report whose client wants its end alone."""
    counts: tuple[CountName, ...]
    capabilities: tuple[tuple[str, str], ...]
    """A capability of the catalogue and this API's word for it, in the order of its lists."""


OLLAMA: Final = ClientApi(
    encode=encode,
    encode_in_parts=encode_in_parts,
    encode_line=encode_line,
    encode_lines=encode_lines,
    encode_error=encode_error,
    encode_error_line=encode_error_line,
    answer_type=JSON,
    text_type=TEXT,
    bodiless_type=NO_TYPE,
    late_error_type=JSON_OF_STREAMS,
    report_type=JSON_OF_STREAMS,
    counts=(
        CountName("in", "prompt_eval_count", "prompt_tokens"),
        CountName("out", "eval_count", "eval_tokens"),
    ),
    capabilities=(
        ("completion", "completion"),
        ("vision", "vision"),
        ("tools", "tools"),
        ("insert", "insert"),
        ("thinking", "thinking"),
        ("embedding", "embedding"),
        ("decision", "decision"),
    ),
)
