"""
That the bench sees what there is: tokens, their times, and answers that are wrong.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from conformance.bench import (
    counts,
    fleet,
    floors,
    instructions,
    report,
    servers,
    stalls,
    wire,
)
from conformance.bench.dialect import STAMP, Task, request
from conformance.bench.fleet import FirstToken
from conformance.bench.generator import Yield
from conformance.bench.instructions import Counted
from conformance.bench.measures import Bench, costs
from conformance.bench.results import Cost, Paced, Results, Size, Spread, Wave
from conformance.bench.servers import Target
from conformance.bench.stalls import Stall
from conformance.bench.standin import Plan
from conformance.bench.yardsticks import vectors
from gateway.wire import float32


@pytest.fixture(scope="module")
def standin() -> Iterator[Target]:
    """Run the bench's stand-in."""
    with servers.started("direct", "openai", "-m", "conformance.bench.standin") as target:
        yield target


def test_counts_every_token_of_paced_streams(standin: Target) -> None:
    """Each token is seen with its time, and the first ones apart."""
    servers.set_plan(standin, Plan(tokens=5, interval_s=0.001))
    bench = Bench(standin, [standin], Size(), print)
    got, _ = bench._drive(standin, "stream", workers=2, cycles=3)
    assert (30, 6, 6) == (got.tokens, len(got.first_token), got.requests)
    assert min(got.token) > 0
    assert [] == bench.results.problems


def test_an_answer_without_tokens_counts_none(standin: Target) -> None:
    """A server that answers something else has not answered fast."""
    bench = Bench(standin, [standin], Size(), print)
    wrong = Target("direct", standin.url, "ollama", standin.pid)
    servers.set_plan(standin, Plan(tokens=1, interval_s=0.001))
    got, _ = bench._drive(wrong, "stream", workers=1, cycles=1)
    assert 0 == got.tokens


def paced(target: str, spread: Spread, cpu_us: float) -> Paced:
    """Return a row of 16 streams."""
    return Paced(
        target=target, streams=16, first_token=spread, token=spread, cpu_us_per_token=cpu_us
    )


def test_tells_what_a_server_adds() -> None:
    """Times are told against those of the stand-in itself, percentile by percentile."""
    direct = Spread(1e6, 2e6, 3e6)
    slow = Spread(2e6, 4e6, 7e6)
    results = Results(
        paced=[
            paced("direct", direct, 10.0),
            paced("bare pass-through", direct, 20.0),
            paced("olgate", slow, 30.0),
        ]
    )
    told = report.tables(results)
    assert "1.00 / 2.00 / 4.00" in told
    assert "30.0 (1.50x)" in told


def test_tells_each_floor_and_how_many_samples_a_figure_has() -> None:
    """A token is held against the pass-through, a request of the gateway's own the handler."""
    spread = Spread.of([1_000_000, 2_000_000, 3_000_000])
    results = Results(
        paced=[
            paced(name, spread, cpu_us)
            for name, cpu_us in (("direct", 1.0), (floors.PASSED, 20.0), ("olgate", 30.0))
        ],
        waves=[
            Wave(target=name, streams=256, first_token=Spread(0.0, 0.0, ns))
            for name, ns in ((floors.PASSED, 4e6), ("olgate", 3e6))
        ],
        requests=[
            Cost(target=name, task="tags", cpu_us=us, per_cpu_s=1.0, per_wall_s=1.0)
            for name, us in ((floors.HANDLER, 100.0), ("olgate", 125.0))
        ],
        instructions=[
            Counted(name, {"/api/tags": own, "embed 1 text": own})
            for name, own in (("olgate", 300.0), (floors.PASSED, 200.0), (floors.HANDLER, 100.0))
        ],
    )
    told = report.tables(results)
    found = {each.what: (each.name, each.ratio) for each in floors.floors(results)}
    assert {
        "paced token, 16 streams, µs": (floors.PASSED, 1.5),
        "wave of 256, first token p99, ms": (floors.PASSED, 0.75),
        "tags, µs": (floors.HANDLER, 1.25),
        "/api/tags, instructions": (floors.HANDLER, 3.0),
        "embed 1 text, instructions": (floors.PASSED, 1.5),
    } == found
    assert (
        "| tags, µs                         | bare handler      | 100         | 125      | 1.25x "
        in told
    )
    assert "| 3 / 3   |" in told


def test_a_disturbed_round_does_not_change_what_a_request_costs() -> None:
    """One round took ten times as long as the others, and in another one nothing came."""
    got = Yield(requests=100, wall_ns=10_000_000)
    rounds = [(got, 5_000_000), (got, 50_000_000), (got, 5_200_000), (Yield(), 7)]
    (cost,) = costs("tags", {"olgate": rounds}, 1)
    assert (cost.cpu_us, cost.per_cpu_s) == (52.0, 1e6 / 52.0)
    assert cost.rounds == [50.0, 500.0, 52.0]


def test_embeddings_are_also_held_against_bare_vectors() -> None:
    """Without the libraries, or in instructions of anything else, there is no such row."""
    rows: list[tuple[str, Task, float]] = [
        ("olgate", "embed1", 600.0),
        (floors.PASSED, "embed1", 200.0),
        (floors.VECTORS, "embed1", 300.0),
    ]
    results = Results(
        requests=[
            Cost(target=name, task=task, cpu_us=us, per_cpu_s=1.0, per_wall_s=1.0)
            for name, task, us in rows
        ],
        instructions=[
            Counted("olgate", {"embed 1 text": 300.0, "/v1/models": 100.0}),
            Counted(floors.VECTORS, {"embed 1 text": 250.0, "/v1/models": 50.0}),
        ],
    )

    assert [3.0, 2.0, 1.2] == [each.ratio for each in floors.floors(results)]
    results.requests.pop()
    results.instructions.pop()
    assert [3.0] == [each.ratio for each in floors.floors(results)]


@pytest.mark.skipif(bool(vectors.missing()), reason="the extra `vectors` is not installed")
def test_bare_vectors_are_written_as_ollama_writes_them() -> None:
    """The yardstick does the gateway's work: its numbers are those of the same vectors."""
    answer = wire.embeddings(3)
    lists = [json.dumps(item["embedding"]).encode() for item in json.loads(answer)["data"]]
    yardstick = vectors.Vectors("http://127.0.0.1:9")

    for _ in range(2):
        given = json.loads(yardstick.rewritten(answer))
        assert [*map(json.loads, float32.read(lists).texts())] == given["embeddings"]


@pytest.mark.skipif(bool(vectors.missing()), reason="the extra `vectors` is not installed")
def test_bare_vectors_answer_what_is_measured(standin: Target) -> None:
    """Both kinds of embeddings, and the list that every server answers."""
    arguments = servers.yardstick_arguments("vectors", standin.url)
    with servers.started("bare vectors", "vectors", *arguments) as target:
        bench = Bench(standin, [standin, target], Size(short_rounds=1, request_cycles=3), print)
        for task in ("embed1", "embed256", "models"):
            got, cpu_ns = bench._drive(target, task, workers=1, cycles=2)
            assert ([], 2) == (got.problems, got.requests)
            assert cpu_ns


def test_every_kind_of_large_body_is_answered_and_others_are_watched(standin: Target) -> None:
    """All kinds are of the size that is wished, and what others wait is told with its ratio."""
    assert all(len(body) > 900_000 for body in stalls.bodies(1).values())
    with (
        tempfile.TemporaryDirectory() as state,
        servers.started(
            "olgate", "ollama", *servers.gateway_arguments(standin.url), state=Path(state)
        ) as gateway,
    ):
        found = stalls.measure(gateway, 1)
    assert [*stalls.requests(1)] == [row.kind for row in found]
    assert {200, 400} == {row.status for row in found}
    assert all(0 < row.p99_ms <= row.most_ms for row in found)
    told = report.tables(Results(stalls=[Stall("olgate", "odd", 1.0, 200, 9.0, 2.0, 3.0, 8.0)]))
    assert "| odd  | olgate | 1.0 | 200    | 9    | 2.0      | 3.0 | 8.0  | 4" in told


def test_tells_the_instructions_of_each_request_and_of_a_token() -> None:
    """A token's are told of two streams; without valgrind there is nothing to tell, says a line."""
    each = {instructions.ONE: 1_000_000.0, instructions.MANY: 3_520_000.0}
    results = Results(instructions=[Counted("olgate", each), Counted("floor", {"a": 7.0})])
    told = report.tables(results)
    assert "| one more token of a stream | 40,000    |       |" in told
    assert "| a                          |           | 7     |" in told
    assert "that needs valgrind" in report.tables(Results())


def test_a_token_waits_until_the_one_before_it_is_read(standin: Target) -> None:
    """Of a stream in steps, so that a slow reader reads each of them for itself."""
    servers.set_plan(standin, Plan(tokens=3, interval_s=0.001, in_steps=True))
    sent = request("openai", "stream")
    assert sent is not None
    place = urlsplit(standin.url)
    with socket.create_connection((place.hostname or "", place.port or 80)) as line:
        line.sendall(sent)
        pieces: list[bytes] = []
        while not pieces or not pieces[-1].endswith(b"0\r\n\r\n"):
            # As long as several tokens would take, if they did not wait.
            assert select.select([line], [], [], 10)[0]
            time.sleep(0.05)
            pieces.append(line.recv(65536))
    assert [1, 1, 1, 0] == [len(STAMP.findall(piece)) for piece in pieces]


def test_a_figure_differs_if_it_moved_or_is_not_in_both() -> None:
    """Within a few hundredths it has not moved, whether it is greater or less."""
    committed = {"same": 1000, "more": 1000, "less": 1000, "gone": 1000}
    counted = Counted("olgate", {"same": 1029.0, "more": 1031.0, "less": 969.0, "new": 1.0})
    told, moved = counts.compared(committed, counted)
    assert ["more", "less", "gone", "new"] == moved
    assert "+2.90%" in told


def test_committed_figures_are_of_the_rows_that_are_counted() -> None:
    """Else a row that was renamed would be compared with nothing."""
    committed = counts.read()
    assert committed
    for figures in committed.values():
        assert set(instructions.ROWS) == set(figures)
        assert min(figures.values()) > 0


def test_tells_what_hosts_add_and_what_was_skipped() -> None:
    """Against one host, and not of the stand-in itself."""
    rows = [
        FirstToken(name, p50, 9.0)
        for name, p50 in ((fleet.DIRECT, 0.5), (fleet.ONE, 1.0), (fleet.SHARED, 2.5))
    ]
    told = report.tables(Results(fleet=rows, skipped=["x: no y"]))
    assert "| 4 hosts, Redis   | 2.50 | 9.00 | +1.50 " in told
    assert "| direct           | 0.50 | 9.00 |   " in told
    assert "Skipped: x: no y." in told
    assert "| added by 4 hosts and Redis, p50, ms | <= 1   | 1.50     | missed |" in told
    assert fleet.added_ms(rows, fleet.MANY) is None


def test_many_hosts_are_measured() -> None:
    """Each target answers; Redis is left out by name where there is none."""
    found, skipped = fleet.measure(20)
    assert [fleet.DIRECT, fleet.ONE, fleet.MANY] == [row.target for row in found][:3]
    assert len(found) + len(skipped) == 4
    assert all(0 < row.p50_ms <= row.p90_ms for row in found)


def test_time_of_processes_that_a_server_started_is_its_own() -> None:
    """Workers do what their supervisor is asked for."""
    code = "import sys; print('up', flush=True); sys.stdin.read()"
    child = "import time\nwhile time.process_time() < 0.5: pass\nprint('up', flush=True)\n"
    child += "import sys; sys.stdin.read()"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    for command, least in ((code, 0.0), (outer, 0.5e9)):
        with subprocess.Popen(
            [sys.executable, "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            process.stdout.readline()
            used = servers.Usage(process.pid).cpu_ns()
            process.stdin.close()
        assert least <= used
