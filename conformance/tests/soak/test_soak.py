"""The soak can fail: what it judges by is held against answers and measures that are wrong."""

import json
import random
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from conformance.bench.waits import Sleeper, Waits
from conformance.soak.asking import (
    FAULT_IDS,
    FILLER,
    Asking,
    Manner,
    Outcome,
    draw,
    is_wrong,
    judge,
)
from conformance.soak.gateway import Measure
from conformance.soak.patience import Patience
from conformance.soak.run import Left, Report, Soak, Wish
from conformance.standin.seen import Log

STREAM = {"stream": True}
CHAT = Asking("1", "/api/chat", STREAM, Manner.READS)
ONE_SHOT = Asking("1", "/api/chat", {}, Manner.READS)
EMBED = Asking("1", "/api/embed", {}, Manner.READS)
PASSED = Asking("1", "/v1/chat/completions", STREAM, Manner.READS)

ANSWERS: dict[str, tuple[Asking, int, bytes, Outcome]] = {
    "a whole stream": (CHAT, 200, b'{"done":false}\n{"done":true}\n', Outcome.WHOLE),
    "no end": (CHAT, 200, b'{"done":false}\n', Outcome.UNCLEAR),
    "no line": (CHAT, 200, b"", Outcome.UNCLEAR),
    "half a line": (CHAT, 200, b'{"done":false}\n{"do', Outcome.UNCLEAR),
    "an error line": (CHAT, 200, b'{"done":false}\n{"error":"x"}\n', Outcome.ERROR),
    "a status": (CHAT, 502, b'{"error":"x"}', Outcome.ERROR),
    "a status without words": (CHAT, 502, b"", Outcome.UNCLEAR),
    "a time limit": (CHAT, 504, b'{"error":"LM Studio did not answer in time"}', Outcome.LATE),
    "one answer": (ONE_SHOT, 200, b'{"done":true}', Outcome.WHOLE),
    "one that is not done": (ONE_SHOT, 200, b'{"done":false}', Outcome.UNCLEAR),
    "vectors": (EMBED, 200, b'{"embeddings":[[0.1]]}', Outcome.WHOLE),
    "events": (PASSED, 200, b'data: {"a":1}\n\ndata: [DONE]\n\n', Outcome.WHOLE),
    "an error event": (PASSED, 200, b'data: {"a":1}\n\ndata: {"error":{}}\n\n', Outcome.ERROR),
    "events without an end": (PASSED, 200, b'data: {"a":1}\n\n', Outcome.UNCLEAR),
}


@pytest.mark.parametrize(
    ("asking", "status", "end", "outcome"), ANSWERS.values(), ids=ANSWERS.keys()
)
def test_an_answer_is_taken_for_what_it_says(
    asking: Asking, status: int, end: bytes, outcome: Outcome
) -> None:
    """An end that could pass for a good one is not one."""
    assert outcome == judge(asking, status, end)


@pytest.mark.parametrize("outcome", Outcome)
def test_what_a_request_may_end_in(outcome: Outcome) -> None:
    """A fault is told, a healthy answer is whole, a slow reader's, too; nobody hangs."""
    faulty = Asking("1", "/api/chat", STREAM, Manner.READS, FAULT_IDS[0])
    slow = Asking("1", "/api/chat", STREAM, Manner.READS_SLOWLY)
    leaver = Asking("1", "/api/chat", STREAM, Manner.LEAVES_MIDWAY)

    good = (
        (faulty, {Outcome.ERROR, Outcome.LATE}),
        (CHAT, {Outcome.WHOLE, Outcome.LATE}),
        (slow, {Outcome.WHOLE, Outcome.LATE}),
        (leaver, {Outcome.LEFT, Outcome.WHOLE, Outcome.LATE}),
    )
    for asking, fine in good:
        assert (outcome in fine) == (not is_wrong(asking, outcome))


def test_many_late_answers_are_a_problem() -> None:
    """A few are the machine's."""
    soak = make_soak()
    soak.gateway = cast("Any", SimpleNamespace(peak_mib=1.0))
    soak.healthy, soak.late = 100, 1
    soak.tell()
    assert [] == soak.report.problems
    soak.late = 2
    soak.tell()
    assert 1 == len(soak.report.problems)


def test_the_dice_give_every_kind() -> None:
    """Every fault, every manner, every route, streamed and not."""
    dice = random.Random(1)
    drawn = [draw(dice, str(number)) for number in range(2000)]

    assert {*FAULT_IDS, None} == {one.fault for one in drawn}
    assert set(Manner) == {one.manner for one in drawn}
    assert {"/api/chat", "/api/generate", "/api/embed", "/v1/chat/completions"} == {
        one.path for one in drawn
    }
    assert {True, False} == {one.is_stream for one in drawn}


def make_soak() -> Soak:
    """Return a soak that runs nothing."""
    standin = SimpleNamespace(log=Log(), seen=[])
    none = cast("Any", None)
    return Soak(Wish(1, 1, 1, 1), cast("Any", standin), none, none, Patience(1, lambda: 0.0))


@pytest.mark.parametrize(
    ("after", "grown"),
    [
        (Measure(7, 20, 2, 100.0), None),
        (Measure(8, 20, 2, 100.0), "tasks"),
        (Measure(7, 30, 2, 100.0), "files"),
        (Measure(7, 20, 3, 100.0), "sockets"),
        (Measure(7, 20, 2, 150.0), "memory"),
    ],
)
def test_growth_is_a_problem(after: Measure, grown: str | None) -> None:
    """Told by name."""
    soak = make_soak()
    soak.compare(Measure(7, 20, 2, 100.0), after)

    assert [grown] * bool(grown) == [problem.split()[0] for problem in soak.report.problems]


def test_a_cancel_that_does_not_come_is_a_problem() -> None:
    """The client left, and LM Studio goes on."""
    soak = make_soak()
    log = Log()
    exchange = log.open("POST", "/v1/chat/completions", {}, {})
    soak.exchanges["1"] = exchange
    soak.lefts.append(Left(CHAT, 0.0))
    soak.judge_cancels()
    assert 2 == len(soak.report.problems)

    exchange.note_left()
    soak.report = Report()
    soak.judge_cancels()
    assert [] == soak.report.problems


def test_some_requests_are_large_if_that_is_wished() -> None:
    """The part of them is about the one that is wished, and they have megabytes."""

    def sizes(large: float) -> list[int]:
        dice = random.Random(7)
        return [draw(dice, "1", large).encoded()[1] for _ in range(40)]

    assert max(sizes(0.0)) < 10_000
    large = [size for size in sizes(0.25) if size >= 1_000_000]
    assert 4 <= len(large) <= 16
    assert max(large) < 21_000_000


def test_a_large_body_is_whole() -> None:
    """Its pieces are JSON together, of the size that is told, with all that fills it."""
    asking = Asking("1", "/api/chat", {"a": f"tag=1; {FILLER}", "b": 1}, Manner.READS, None, 10**6)
    pieces, size = asking.encoded()
    body = b"".join(pieces)

    assert size == len(body)
    assert {"a": "tag=1; " + "x" * 10**6, "b": 1} == json.loads(body)


@pytest.mark.parametrize(
    ("own_ms", "bare_ms", "slept_ms", "is_wrong_then"),
    [(150, 0, 0, False), (151, 0, 0, True), (250, 100, 0, False), (355, 1, 205, False)],
)
def test_a_held_request_is_a_problem(
    own_ms: float, bare_ms: float, slept_ms: float, is_wrong_then: bool
) -> None:
    """Unless the machine holds who does nothing for as long."""
    soak = make_soak()
    waits = [Waits("server"), Waits("bare"), Waits("sleep")]
    for each, wait_ms in zip(waits, (own_ms, bare_ms, slept_ms), strict=True):
        each.worst_held_ms = wait_ms
    soak.judge_waits(waits)

    assert is_wrong_then == bool(soak.report.problems)


def test_a_sleeper_notes_its_sleeps() -> None:
    """What it notes is what passed beyond its sleep."""
    sleeper = Sleeper()
    sleeper.start()
    while not sleeper.waits.probes:
        time.sleep(0.001)
    waits = sleeper.end()

    assert waits.worst_ms >= waits.worst_held_ms >= 0
    assert not sleeper.is_alive()
