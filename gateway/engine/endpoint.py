"""
The rows of the generated endpoint table.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec

from ..runtime.needs import Needs
from ..runtime.outcome import Outcome
from ..settings.schema import LimitSettings
from ..wire import large
from ..wire.fitting import GoRules
from ..wire.large import Sizes
from ..wire.reading import AT_ONCE, read_blank, read_body
from ..wire.splitting import Steps
from .limits import check_depth_in_steps
from .run import Run

Keeps: TypeAlias = Literal["", "settings", "models", "request"]
"""
What alone an answer depends on: `models` includes the settings, and `request` both. "" is more.
"""


@dataclass(frozen=True, slots=True)
class BodyReader:
    """Decodes the body of an operation to its request struct."""

    kind: type[msgspec.Struct]
    decoder: msgspec.json.Decoder[Any]
    go_name: str
    rules: GoRules
    objects: Mapping[str, str]

    def read(self, body: bytes) -> Any:
        """
        Decode a body; raise `Refusal` with Ollama's text if that is not possible.

        Returns `IN_STEPS` for a body that `read_in_steps` has to read.
        """
        return read_body(
            body,
            self.kind,
            self.decoder,
            self.go_name,
            rules=self.rules,
            objects=self.objects,
        )

    def read_in_steps(self, body: bytes, sizes: Sizes) -> Steps[Any]:
        """Do the same in steps of a bounded time, for a body of any size."""
        return large.read_in_steps(
            body,
            self.kind,
            self.go_name,
            rules=self.rules,
            objects=self.objects,
            sizes=sizes,
        )


class UnreadBody:
    """A body that must be present but is not decoded: the operation does not use it."""

    def read(self, body: bytes) -> None:
        """Raise `Refusal` with Ollama's text if there is no body."""
        read_blank(body)

    def read_in_steps(self, body: bytes, _sizes: Sizes) -> Steps[None]:
        """Do the same in steps of a bounded time, for a body of any size."""
        for at in range(0, len(body), AT_ONCE):
            if body[at : at + AT_ONCE].strip():
                return
            yield
        read_blank(b"")


def read_in_steps(
    reader: BodyReader | UnreadBody, body: bytes, limits: LimitSettings
) -> Steps[Any]:
    """Read a body of any size in steps of a bounded time; raises `Refusal`, also for its depth."""
    yield from check_depth_in_steps(body, limits)
    return (yield from reader.read_in_steps(body, Sizes(limits.text_bytes, limits.json_bytes)))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """
    One served operation; `reader` is None if no body is read.

    `wants_stream` returns whether a request's answer is frames; it is None if that is never so.
    """

    method: str
    path: str
    plan: Callable[[Any, Run], Awaitable[Outcome]]
    reader: BodyReader | UnreadBody | None
    wants_stream: Callable[[Any], bool] | None = None
    reads_bytes: bool = False
    """Whether its body is a file, which a step of its plan reads as it arrives."""
    reports: bool = False
    """Whether it reports progress; its late errors then have a stream's form, streamed or not."""
    keeps: Keeps = ""
    """What alone its answer depends on, if it can be kept."""
    keeps_agent: bool = False
    """Whether an answer that depends on the `request` depends on its user agent, too."""
    needs: Needs | None = None
    """What tells which hosts could serve its requests; None if they name no model."""

    def is_late_streamed(self, request: Any) -> bool:
        """Whether Ollama has already set up a stream for a request when it finds a late error."""
        return self.reports or (self.wants_stream is not None and self.wants_stream(request))
