"""
The rows of the generated endpoint table.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.engine.run import Run
from gateway.runtime.outcome import Outcome
from gateway.wire.fitting import GoRules
from gateway.wire.reading import read_blank, read_body


@dataclass(frozen=True, slots=True)
class BodyReader:
    """How an operation's body becomes its request struct."""

    kind: type[msgspec.Struct]
    decoder: msgspec.json.Decoder[Any]
    go_name: str
    rules: GoRules
    objects: Mapping[str, str]

    def read(self, body: bytes) -> Any:
        """Decode a body; raise `Refusal` with Ollama's words when it can't be."""
        return read_body(
            body,
            self.kind,
            self.decoder,
            self.go_name,
            rules=self.rules,
            objects=self.objects,
        )


class UnreadBody:
    """A body that must be there, whatever it holds: for an operation that answers without it."""

    def read(self, body: bytes) -> None:
        """Raise `Refusal` with Ollama's words when there is none."""
        read_blank(body)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """
    One served operation; `reader` is None where no body is read.

    `wants_stream` tells from a request whether its answer is frames; None where it never is.
    """

    method: str
    path: str
    plan: Callable[[Any, Run], Awaitable[Outcome]]
    reader: BodyReader | UnreadBody | None
    wants_stream: Callable[[Any], bool] | None = None
    reads_bytes: bool = False
    """Whether its body is a file, which a step of its plan reads as it comes."""
    reports: bool = False
    """Whether it tells progress: then even one answer is sent as streams' errors are."""

    def is_late_streamed(self, request: Any) -> bool:
        """Whether Ollama has set a stream up for a request when it finds what it finds late."""
        return self.reports or (self.wants_stream is not None and self.wants_stream(request))
