"""
What several mappings share: streams that others start from.
"""

from __future__ import annotations

from dataclasses import replace

from codegen.descriptions.problem import Findings, did_you_mean
from codegen.rules.model import SHARED, MappingFile, Stream


def share_streams(files: list[MappingFile], findings: Findings) -> list[MappingFile]:
    """Fill every stream that says `like` with what it starts from; report what nothing names."""
    shared = next((file.streams for file in files if file.name == SHARED), {})
    used: set[int] = set()

    def filled(file: MappingFile, stream: Stream | None) -> Stream | None:
        if stream is None or stream.like is None:
            return stream
        known = {**shared, **file.streams}
        base = known.get(stream.like)
        if base is None:
            findings.add(
                "no-such-stream",
                stream.like_position,
                f"`{stream.like}` is no stream here",
                hint=did_you_mean(stream.like, known),
            )
            return None
        used.add(id(base))
        return replace(
            stream,
            source=base.source,
            source_position=base.source_position,
            ignored={**base.ignored, **stream.ignored},
            state={**base.state, **stream.state},
            complete=stream.complete or base.complete,
        )

    merged = [
        replace(
            file,
            calls={
                name: replace(call, stream=filled(file, call.stream))
                for name, call in file.calls.items()
            },
        )
        for file in files
    ]
    for file in files:
        for name, base in file.streams.items():
            if id(base) not in used:
                findings.add("unused-stream", base.position, f"no stream says `like: {name}`")
    return merged
