"""A batch of 500 delays no chat by more than one slot's time, and is done all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.simulation import report
from conformance.simulation.batch import BATCH, ORDERS, SCENES, Scene, run_batches, simulate_batch

SEEDS = range(1, 9)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: f"{scene.slots} slots")
@pytest.mark.parametrize("seed", SEEDS)
def test_no_chat_waits_longer_than_one_slots_time(scene: Scene, seed: int) -> None:
    """Whoever chats needs no key for that."""
    outcome = simulate_batch(scene, "olgate", seed)
    assert len(outcome.waits) > 5
    assert max(outcome.waits) <= outcome.slot_s


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: f"{scene.slots} slots")
def test_by_arrival_chats_wait_far_longer(scene: Scene) -> None:
    """The bound is not met by itself: who comes behind the batch waits for all of it."""
    outcome = simulate_batch(scene, "arrival", 1)
    assert max(outcome.waits) > 20 * outcome.slot_s


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: f"{scene.slots} slots")
@pytest.mark.parametrize("order", ORDERS)
def test_the_batch_is_done(scene: Scene, order: str) -> None:
    """All of it, and a seed gives one result."""
    outcome, again = (simulate_batch(scene, order, 3) for _ in range(2))
    assert BATCH == outcome.served
    assert (outcome.waits, outcome.ended_at) == (again.waits, again.ended_at)


def test_the_page_has_these_numbers() -> None:
    """They were written by a run of today's order."""
    page = report.QUEUE_PAGE.read_text("utf-8")
    inside = page.partition(report.QUEUE_BEGIN)[2].partition(report.QUEUE_END)[0]
    assert report.queue_table(run_batches(1)) == inside.strip()


def test_writing_keeps_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is between the marks is replaced."""
    page = tmp_path / "queue.md"
    page.write_text(f"before\n{report.QUEUE_BEGIN}\nold\n{report.QUEUE_END}\nafter\n", "utf-8")
    monkeypatch.setattr(report, "QUEUE_PAGE", page)
    report.write_queue(run_batches(1)[:1])
    text = page.read_text("utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
