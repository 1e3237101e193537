"""The table of declared deviations: it can be read, and it covers what it says and no more."""

from __future__ import annotations

import re
from typing import Any

import pytest

from conformance.differential import document as doc
from conformance.differential.compare import Difference
from conformance.differential.deviations import EVERYWHERE, read_sights, sights, undeclared
from conformance.differential.fields import document, operations
from conformance.differential.requests import Drawn
from conformance.differential.wire import Reply

CHAT = Drawn("POST /api/chat", "POST", "/api/chat", doc.of({"Model": "m", "options": {"a": None}}))
FINE = Reply(200, (), b"{}")


def seen(**sight: Any) -> list[Any]:
    """Return the table of one entry."""
    entry = {"where": "POST /api/chat", "what": "it", "reason": "so", "seen": [sight]}
    return list(read_sights([entry]))


def is_declared(table: list[Any], difference: Difference, drawn: Drawn = CHAT) -> bool:
    """Say whether a table declares a difference."""
    left, met = undeclared(drawn, FINE, FINE, [difference], table)
    assert met == (set() if left else {"it"})
    return not left


@pytest.mark.parametrize(
    ("sight", "is_wanted"),
    [
        ({}, True),
        ({"at": "body.*"}, True),
        ({"at": ["status", "body.a"]}, True),
        ({"at": "status"}, False),
        ({"real": "1", "ours": "2"}, True),
        ({"real": "2"}, False),
        ({"ours": "[^2]"}, False),
        ({"real_status": 200}, True),
        ({"our_status": 501}, False),
        ({"our_body": "{.*"}, True),
        ({"routes": "POST /api/generate"}, False),
        ({"routes": EVERYWHERE}, True),
        ({"sent": {"model": '"m"'}}, True),
        ({"sent": {"model": "m"}}, False),
        ({"sent": {"options": "$present"}}, True),
        ({"sent": {"options.a": "$present"}}, False),
        ({"sent": {"options.a": "$absent", "stream": "$absent"}}, True),
        ({"sent": {"method": "POST", "target": "/api/.*", "raw": ".*Model.*"}}, True),
        ({"near": 1}, True),
        ({"near": 0.1}, False),
        ({"stripped": True}, False),
    ],
)
def test_a_sight_covers_what_it_says(sight: dict[str, Any], is_wanted: bool) -> None:
    """Each condition can hold and can fail."""
    assert is_wanted is is_declared(seen(**sight), Difference("body.a", "1", "2"))


def test_blanks_at_the_edges() -> None:
    """A text that is not there counts as one of blanks only."""
    table = seen(stripped=True)

    assert is_declared(table, Difference("line.0.message.thinking", '" a\\n"', '"a"'))
    assert is_declared(table, Difference("line.0.message.thinking", '"\\n"', "(absent)"))
    assert not is_declared(table, Difference("line.0.message.thinking", '"a b"', '"ab"'))


def test_the_table_can_be_read() -> None:
    """Every `seen` of the description has known keys, sound patterns and routes that exist."""
    routes = {one.route for one in operations()} | {EVERYWHERE}
    found = sights()

    assert len(found) > 10
    for one in found:
        assert set() == set(one.routes) - routes
        for pattern in (one.real, one.ours, one.real_status, one.our_status, one.our_body):
            re.compile(pattern or "")


def test_an_unknown_key_is_no_sight() -> None:
    """A misspelt condition must not make an entry cover everything."""
    with pytest.raises(TypeError):
        seen(our_statuz=501)


def test_every_entry_is_on_the_page() -> None:
    """The session knows nothing that docs/routes.md does not say."""
    told = {entry["what"] for entry in document()["x-deviations"]}

    assert {one.what for one in sights()} <= told
