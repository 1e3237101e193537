"""
What a plan may end in: an answer, or an upstream call with everything needed to carry it out.

Records only; the relay acts on them and knows nothing else of an endpoint.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import msgspec

ChunkT_contra = TypeVar("ChunkT_contra", contravariant=True)
FrameT_co = TypeVar("FrameT_co", covariant=True)
ChunkT = TypeVar("ChunkT")
FrameT = TypeVar("FrameT")
SourceT = TypeVar("SourceT")
TargetT = TypeVar("TargetT")


class Translator(Protocol[ChunkT_contra, FrameT_co]):
    """A compiled stream: chunks in, frames out; its state is one answer's."""

    def chunk(self, chunk: ChunkT_contra, /) -> FrameT_co | None:
        """Take in a chunk; return the frame that it makes, if it makes one."""

    @property
    def complete(self) -> bool:
        """Whether what has come by now may be the whole answer."""

    def end(self) -> FrameT_co:
        """Return the last frame."""


class Fold(Protocol[FrameT]):
    """A compiled fold: the one-shot answer from the frames."""

    def add(self, frame: FrameT, /) -> None:
        """Take in a frame."""

    def result(self, last: FrameT, /) -> FrameT:
        """Return the last frame with everything that the frames before it held."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer made without an upstream call: an object, plain text, or no body at all."""

    body: msgspec.Struct | str | None
    status: int = 200


@dataclass(frozen=True, slots=True)
class StreamCall(Generic[ChunkT, FrameT]):
    """An upstream call whose chunks become frames; `streamed` is what the client asked for."""

    method: str
    path: str
    body: msgspec.Struct
    chunks: msgspec.json.Decoder[ChunkT]
    translator: Callable[[], Translator[ChunkT, FrameT]]
    fold: Callable[[], Fold[FrameT]]
    streamed: bool


@dataclass(frozen=True, slots=True)
class FetchCall(Generic[SourceT, TargetT]):
    """An upstream call with one answer, and what that answer becomes."""

    method: str
    path: str
    body: msgspec.Struct | None
    decoder: msgspec.json.Decoder[SourceT]
    translate: Callable[[SourceT], TargetT]


@dataclass(frozen=True, slots=True)
class Report(Generic[SourceT, TargetT]):
    """
    Progress told line by line; `streamed` is what the client asked for.

    A client that wants one answer gets the last frame. What the records raise after the first of
    them is told in a last line, as any late failure.
    """

    records: AsyncIterator[SourceT]
    translate: Callable[[SourceT], TargetT]
    streamed: bool


Outcome: TypeAlias = (
    Answer | StreamCall[Any, Any] | FetchCall[Any, msgspec.Struct] | Report[Any, msgspec.Struct]
)
