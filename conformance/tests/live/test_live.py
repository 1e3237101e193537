"""Recording from a live host, here the stand-in, and comparing one with the fixtures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conformance.live.against import differences, known_shapes
from conformance.live.asking import Asked, Got, ask_all, ask_one
from conformance.live.record import guess_version, scrub_chunks, write_all
from conformance.runner.control import open_standin
from conformance.standin import Options, StandIn
from conformance.suite.fixture import read_fixture


async def test_a_recorded_exchange_is_answered_again(tmp_path: Path) -> None:
    """A fixture gives the same status, bytes and chunks as the host that it was recorded from."""
    async with open_standin({}) as control:
        answers = await ask_all(control.url)
    paths = write_all(answers, tmp_path, "0.4.24")

    assert len(answers) > 10
    for got, path in zip(answers, paths, strict=True):
        fixture = read_fixture(path, path.stem)
        assert got.status == fixture.status
        assert got.chunks == fixture.chunks
        assert "0.4.24" == fixture.provenance["lmstudio"]
    async with StandIn(Options(fixtures=tmp_path)) as standin:
        for got in answers:
            again = await ask_one(standin.url, got.asked)
            assert (got.status, got.body) == (again.status, again.body), got.asked.name


async def test_chunks_are_kept_as_they_came() -> None:
    """Each event of a stream that is written by itself is a chunk of its own, with its time."""
    async with open_standin({}) as control:
        asked = Asked(
            "chat",
            "POST",
            "/v1/chat/completions",
            {
                "model": "tiny-plain-1b-instruct",
                "stream": True,
                "messages": [{"role": "user", "content": "Hi"}],
            },
        )
        got = await ask_one(control.url, asked)

    assert len(got.chunks) > 3
    assert [True] * len(got.chunks) == [data.endswith(b"\n\n") for _, data in got.chunks]
    times = [ms for ms, _ in got.chunks]
    assert sorted(times) == times


async def test_versions_are_told_apart() -> None:
    """Without a version stated, the newer list decides."""
    for version in ("0.4", "0.3"):
        async with open_standin({"version": version}) as control:
            assert version == guess_version(await ask_all(control.url))


def test_a_name_across_a_boundary_is_taken_out() -> None:
    """What only the whole shows is not left in because a chunk ended within it."""
    chunks = [(1, b"in /home/a"), (2, b"da/models")]

    assert [(1, b"in /home/user/models")] == scrub_chunks(chunks)
    assert [(1, b"one "), (2, b"two")] == scrub_chunks([(1, b"one "), (2, b"two")])


async def test_the_stand_in_answers_in_known_shapes() -> None:
    """What the stand-in says has the keys and types of the fixtures, and nothing else."""
    async with open_standin({}) as control:
        answers = await ask_all(control.url)
    known = known_shapes()

    assert [] == [line for got in answers for line in differences(got, known)]


def test_differences_are_found() -> None:
    """A new key, another type and an answer of an unknown kind are each told with their place."""
    known = known_shapes()

    def told(path: str, value: Any, status: int = 200) -> list[str]:
        headers = {"content-type": "application/json"}
        asked = Asked("odd", "POST", path)
        return list(
            differences(Got(asked, status, headers, ((0, json.dumps(value).encode()),)), known)
        )

    vectors = {"object": "list", "data": [], "model": 3, "odd": 1}
    assert ["`model` is number, in fixtures text", "`odd` stands in no fixture"] == [
        line.partition(": ")[2] for line in told("/v1/embeddings", vectors)
    ]
    assert ["no fixture is one body and a success on this path"] == [
        line.partition(": ")[2] for line in told("/v1/nothing", {})
    ]
