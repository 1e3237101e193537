"""
The outcomes of a plan: an answer, a report, or an upstream call with all values for it.

These are records only. The relay acts on them, and knows nothing else about an endpoint.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import msgspec

ChunkT_contra = TypeVar("ChunkT_contra", contravariant=True)
FrameT_co = TypeVar("FrameT_co", covariant=True)
ChunkT = TypeVar("ChunkT")
FrameT = TypeVar("FrameT")
SourceT = TypeVar("SourceT")
TargetT = TypeVar("TargetT")


class Translator(Protocol[ChunkT_contra, FrameT_co]):
    """A compiled stream: takes chunks, returns frames, and holds the state of one answer."""

    def chunk(self, chunk: ChunkT_contra, /) -> FrameT_co | None:
        """Process a chunk; return its frame, if it makes one."""

    @property
    def complete(self) -> bool:
        """Whether the chunks so far can be a complete answer."""

    def end(self) -> FrameT_co:
        """Return the last frame."""


class Fold(Protocol[FrameT]):
    """A compiled fold: the one-shot answer from the frames."""

    def add(self, frame: FrameT, /) -> None:
        """Add a frame."""

    def result(self, last: FrameT, /) -> FrameT:
        """Return the last frame, with the contents of all frames before it."""


class Answer(msgspec.Struct, frozen=True):
    """
    An answer without an upstream call: an object, plain text, or no body.

    A late one is sent as what Ollama answers from an inner handler; its content type shows it.
    A streamed one is the only line of a stream.
    """

    body: msgspec.Struct | str | None
    status: int = 200
    is_late: bool = False
    is_streamed: bool = False


class StreamCall(msgspec.Struct, Generic[ChunkT, FrameT], frozen=True):
    """
    An upstream call whose chunks become frames; `streamed` is the client's wish.

    `pieces` names the members of its chunks that hold a piece of a whole.
    """

    method: str
    path: str
    body: msgspec.Struct
    chunks: msgspec.json.Decoder[ChunkT]
    pieces: tuple[str, ...]
    translator: Callable[[], Translator[ChunkT, FrameT]]
    fold: Callable[[], Fold[FrameT]]
    streamed: bool


class FetchCall(msgspec.Struct, Generic[SourceT, TargetT], frozen=True):
    """An upstream call with one answer, and the translation of that answer."""

    method: str
    path: str
    body: msgspec.Struct | None
    decoder: msgspec.json.Decoder[SourceT]
    translate: Callable[[SourceT], TargetT]


class Report(msgspec.Struct, Generic[SourceT, TargetT], frozen=True):
    """
    Progress that is sent line by line; `streamed` is the client's wish.

    A client that wants one answer gets the last frame. An exception of `records` after the first
    record becomes an error line, like any late failure.
    """

    records: AsyncIterator[SourceT]
    translate: Callable[[SourceT], TargetT]
    streamed: bool


Outcome: TypeAlias = (
    Answer | StreamCall[Any, Any] | FetchCall[Any, msgspec.Struct] | Report[Any, msgspec.Struct]
)
