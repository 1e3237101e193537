"""
The declared deviations, read from where docs/routes.md has them: `x-deviations` of the description.

An entry's `seen` says how it looks from outside. A difference that fits one is declared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from conformance.differential import document as doc
from conformance.differential.compare import ABSENT as NOT_THERE
from conformance.differential.compare import Difference
from conformance.differential.document import List, Node, Object, Text
from conformance.differential.fields import document
from conformance.differential.requests import Drawn
from conformance.differential.wire import Reply

EVERYWHERE = "every route"
PRESENT, ABSENT = "$present", "$absent"


@dataclass(frozen=True)
class Sight:
    """
    How a deviation looks from outside.

    `at` are places of differences as globs. `real` and `ours` are patterns of the two values there,
    `answers` and `answered` patterns of the two whole bodies, `statuses` the two statuses, and
    `sent` patterns of what the request has at a path. `near` is how much two numbers may differ,
    as a share; `stripped` says that two texts are equal but for blanks at their edges.
    """

    routes: tuple[str, ...]
    what: str
    at: tuple[str, ...]
    real: str | None = None
    ours: str | None = None
    real_status: str | None = None
    our_status: str | None = None
    our_body: str | None = None
    real_body: str | None = None
    sent: Mapping[str, str] | None = None
    near: str | None = None
    stripped: str | None = None

    def fits(self, drawn: Drawn, real: Reply, ours: Reply) -> bool:
        """Say whether this may be seen at all with this request and these replies."""
        routed = EVERYWHERE in self.routes or drawn.route in self.routes
        return (
            routed
            and _matches(self.real_status, str(real.status))
            and _matches(self.our_status, str(ours.status))
            and _matches(self.real_body, real.body.decode("utf-8", "replace"))
            and _matches(self.our_body, ours.body.decode("utf-8", "replace"))
            and all(has(drawn, path, want) for path, want in (self.sent or {}).items())
        )

    def covers(self, difference: Difference) -> bool:
        """Say whether this is the difference."""
        return (
            any(fnmatchcase(difference.at, glob) for glob in self.at)
            and _matches(self.real, difference.real)
            and _matches(self.ours, difference.ours)
            and (self.near is None or _are_near(difference, float(self.near)))
            and (self.stripped is None or _stripped(difference.real) == _stripped(difference.ours))
        )


def _matches(pattern: str | None, text: str) -> bool:
    return pattern is None or re.fullmatch(pattern, text, re.DOTALL) is not None


def _are_near(difference: Difference, share: float) -> bool:
    try:
        real, ours = float(difference.real), float(difference.ours)
    except ValueError:
        return False
    return abs(real - ours) <= share * max(abs(real), abs(ours))


def _stripped(text: str) -> str:
    return "" if text == NOT_THERE else str(json.loads(text)).strip()


@cache
def sights() -> tuple[Sight, ...]:
    """Return how all declared deviations look."""
    return tuple(read_sights(document()["x-deviations"]))


def read_sights(entries: Iterable[Mapping[str, Any]]) -> Iterable[Sight]:
    """Read entries of `x-deviations`."""
    for entry in entries:
        for seen in entry.get("seen", []):
            known: dict[str, Any] = {
                key: value if key == "sent" else str(value)
                for key, value in seen.items()
                if key not in ("at", "routes")
            }
            at = seen.get("at", "*")
            routes = seen.get("routes", entry["where"])
            yield Sight(
                (routes,) if isinstance(routes, str) else tuple(routes),
                entry["what"],
                (at,) if isinstance(at, str) else tuple(at),
                **known,
            )


def undeclared(
    drawn: Drawn,
    real: Reply,
    ours: Reply,
    differences: Iterable[Difference],
    known: Iterable[Sight] | None = None,
) -> tuple[list[Difference], set[str]]:
    """Return the differences that no entry declares, and what those are that declare others."""
    left: list[Difference] = []
    met: set[str] = set()
    fitting = [one for one in (sights() if known is None else known) if one.fits(drawn, real, ours)]
    for difference in differences:
        covering = next((one for one in fitting if one.covers(difference)), None)
        if covering is None:
            left.append(difference)
        else:
            met.add(covering.what)
    return left, met


def has(drawn: Drawn, path: str, want: str) -> bool:
    """Say whether a request has at a path what is wanted: a pattern, or that it is there or not."""
    if path in ("method", "target", "host", "version"):
        return _matches(want, str(getattr(drawn, path) or ""))
    if path == "raw":
        return _matches(want, (drawn.request.body or b"").decode("utf-8", "replace"))
    if path.startswith("header."):
        values = [value for key, value in drawn.headers if key.lower() == path[7:]]
        return _fits(want, [json.dumps(value) for value in values])
    body = _parse(drawn.body) if isinstance(drawn.body, bytes) else drawn.body
    found = [] if body is None else list(look_up(body, path.split(".")))
    return _fits(want, [doc.write(node).decode("utf-8", "replace") for node in found])


def _fits(want: str, texts: list[str]) -> bool:
    if want == PRESENT:
        return any(text != "null" for text in texts)
    if want == ABSENT:
        return all(text == "null" for text in texts)
    return any(_matches(want, text) for text in texts)


def look_up(node: Node, parts: list[str]) -> Iterable[Node]:
    """Yield what stands at a path; `*` is any item or member, keys match in any letter case."""
    if not parts:
        yield node
        return
    head, rest = parts[0], parts[1:]
    if isinstance(node, Object):
        for key, item in node.members:
            if head == "*" or key.lower() == head.lower():
                yield from look_up(item, rest)
    elif isinstance(node, List) and head == "*":
        for item in node.items:
            yield from look_up(item, rest)


def _parse(data: bytes) -> Node | None:
    try:
        return doc.of(json.loads(data))
    except ValueError:
        return Text(data)
