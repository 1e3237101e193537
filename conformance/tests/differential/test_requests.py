"""Generated requests: the same for a seed, many for many, and made small."""

from __future__ import annotations

import json
import random
from collections import Counter

from conformance.differential import document as doc
from conformance.differential.document import Object
from conformance.differential.fields import operations
from conformance.differential.minimise import minimise, shrink
from conformance.differential.requests import Drawn, draw
from conformance.differential.sequences import draw_sequence
from conformance.standin.prompted import MARK, find_script

COUNT = 3000


def drawn(seed: int, count: int = COUNT) -> list[Drawn]:
    """Draw requests."""
    dice = random.Random(seed)
    return [draw(dice) for _ in range(count)]


def test_a_seed_gives_the_same_requests() -> None:
    """A difference can be shown again by its seed alone."""
    dice = [random.Random(5), random.Random(5)]

    assert drawn(7, 300) == drawn(7, 300)
    assert drawn(7, 300) != drawn(8, 300)
    assert draw_sequence(dice[0]) == draw_sequence(dice[1])


def test_every_operation_and_every_field_is_drawn() -> None:
    """The description drives the generator: what is described there is sent."""
    found = drawn(1)
    routes = Counter(one.route for one in found)
    spelled = b"".join(one.request.body or b"" for one in found)
    names = {str(field.path[-1]) for one in operations() for field in one.fields}

    assert {one.route for one in operations()} <= routes.keys()
    assert set() == {name for name in names - {"0"} if f'"{name}"'.encode() not in spelled}


def test_speech_carries_scripts() -> None:
    """A good part of all requests is answered by a script that can be read."""
    bodies = [json.loads(one.request.body or b"") for one in drawn(2) if is_object(one)]
    texts = [json.dumps(body, ensure_ascii=False) for body in bodies]
    prompts = [body.get("prompt") or body.get("messages") for body in bodies]
    scripts = [
        find_script(prompt if isinstance(prompt, str) else prompt[-1]["content"])
        for prompt, text in zip(prompts, texts, strict=True)
        if MARK in text and prompt and (isinstance(prompt, str) or is_said(prompt))
    ]

    assert len(scripts) > COUNT / 10
    assert Counter(script is None for script in scripts)[True] < len(scripts) / 20


def is_object(one: Drawn) -> bool:
    """Say whether a body is an object as JSON has them."""
    try:
        return isinstance(json.loads(one.request.body or b""), dict)
    except ValueError:
        return False


def is_said(messages: object) -> bool:
    """Say whether these are messages of which the last has a text."""
    last = messages[-1] if isinstance(messages, list) else None
    return isinstance(last, dict) and isinstance(last.get("content"), str)


def test_a_tree_keeps_what_json_libraries_hide() -> None:
    """Doubled keys and any spelling of a number are sent as they are drawn."""
    node = Object((("a", doc.Text(b"1e400")), ("a", doc.of([None, "\u00e9"]))))

    assert '{"a":1e400,"a":[null,"\u00e9"]}'.encode() == doc.write(node)
    assert b'{"a":[{"b":1}]}' == doc.write(doc.put_at(Object(), ("a", 0, "b"), doc.of(1)))


def test_minimising_leaves_what_shows_the_difference() -> None:
    """Headers, members and items go as long as the difference stays."""
    body = doc.of({"model": "m", "messages": [{"role": "user"}, {"role": "odd"}], "stream": True})
    big = Drawn("POST /x", "POST", "/x", body, (("Origin", "null"),), host="localhost")

    small = minimise(big, lambda one: b"odd" in (one.request.body or b""))

    assert b'{"messages":[{"role":"odd"}]}' == small.request.body
    assert ((), None) == (small.headers, small.host)


def test_minimising_bytes_and_giving_up() -> None:
    """A body that is no JSON gets shorter, too; a difference that can't be shown again stays."""
    broken = Drawn("POST /x", "POST", "/x", b'{"model": "m", "stream": tru')

    assert b"tru" == minimise(broken, lambda one: b"tru" in (one.request.body or b"")).body
    assert broken == minimise(broken, lambda one: False)
    assert all(one != broken for one in shrink(broken))
