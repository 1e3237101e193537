"""What one operation made, the next ones use: create, show, chat, delete, and gone."""

from __future__ import annotations

from conformance.runner.runner import Bench
from conformance.schemas.links import copy_to_walk, walk
from conformance.schemas.ollama import read_document

WALKS = 20


def test_walks_from_operation_to_operation_are_as_declared(
    gateway_bench: Bench, names: dict[str, list[str]]
) -> None:
    """Each answer is one that the spec declares, whatever came before; derived models answer."""
    pair = gateway_bench.submit(gateway_bench.pair_for)
    control = pair.control
    gateway_bench.submit(control.reset)

    account = walk(pair.gateway_url, copy_to_walk(read_document(), names), WALKS)
    asked = [one.path for one in gateway_bench.submit(control.seen)]

    assert not account.report(), f"\n{account.report()}"
    assert account.statuses[200] >= 3 * WALKS
    # After a model is deleted, a look at it finds nothing.
    assert account.statuses[404] > 0
    # Not every walk gets as far as a chat that LM Studio is asked for: `num_predict: 0` needs none.
    assert asked.count("/v1/chat/completions") >= WALKS // 3
