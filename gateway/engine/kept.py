"""
Answers that are kept as bytes until something changes that they depend on.

The generated table says of an endpoint what that is (`Endpoint.keeps`): the settings, the list of
models too, or the request too. A list is told from another one by being another object.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

from ..catalogue.catalogue import Catalogue
from ..catalogue.view import View
from ..observability.record import Grant
from ..types import internal
from .endpoint import Endpoint, Keeps
from .run import Services

MOST_KEPT: Final = 256
"""How many answers are kept on a shelf."""
MOST_BYTES: Final = 4 * 1024 * 1024
"""How many bytes they may have, with those of their requests."""
MOST_ASKED: Final = 4 * 1024
"""The longest request whose answer is kept: bytes of its body and characters of its user agent."""

_Asked: TypeAlias = tuple[Callable[..., Awaitable[Any]], tuple[str, ...], bytes, str]
"""A plan, a key's patterns of models, and of a request the body and the user agent."""


class KeptAnswer(NamedTuple):
    """The body of an answer with status 200, its content type, and the model that it is of."""

    content_type: bytes
    body: bytes
    model: internal.CatalogueRow | None = None


class Shelf:
    """
    Answers that hold as long as one thing is the same object, and are dropped with it.

    So one such thing is in memory, and not one for each answer.
    """

    def __init__(self) -> None:
        """Keep nothing yet."""
        self.of: object = None
        """What the answers hold for."""
        self.answers: dict[Hashable, KeptAnswer] = {}
        """By what was asked for; to be looked at only, and only if `of` is still there."""
        self._bytes = 0

    def clear(self) -> None:
        """Drop all answers."""
        self.of = None
        self.answers.clear()
        self._bytes = 0

    def keep(self, asked: Hashable, of: object, kept: KeptAnswer, asked_bytes: int = 0) -> None:
        """
        Keep an answer that holds for a thing, None for nothing.

        What was asked for counts as `asked_bytes`. All others make room for it if need be.
        """
        size = asked_bytes + len(kept.body)
        if of is None or size > MOST_BYTES:
            return
        if of is not self.of:
            self.clear()
        elif asked in self.answers:
            return
        elif len(self.answers) >= MOST_KEPT or self._bytes + size > MOST_BYTES:
            self.clear()
        self.of = of
        self.answers[asked] = kept
        self._bytes += size


class KeptAnswers:
    """The kept answers of all endpoints."""

    def __init__(self, services: Services) -> None:
        """Keep nothing yet; the lists of models are those of `services`."""
        self._services = services
        self._shelves: dict[Keeps, Shelf] = {
            "settings": Shelf(),
            "models": Shelf(),
            "request": Shelf(),
        }

    def clear(self) -> None:
        """Forget all answers: the settings are other ones."""
        for shelf in self._shelves.values():
            shelf.clear()

    def find(
        self, endpoint: Endpoint, grant: Grant | None = None, body: bytes = b"", agent: str = ""
    ) -> KeptAnswer | None:
        """
        Return the answer to a request with this key, None if there is none that still holds.

        A body that the answer does not depend on wants the plan.
        """
        keeps = endpoint.keeps
        if keeps == "request":
            if not endpoint.keeps_agent:
                agent = ""
            if len(body) + len(agent) > MOST_ASKED:
                return None
        elif body:
            return None
        else:
            agent = ""
        shelf = self._shelves[keeps]
        models = () if grant is None else grant.models
        kept = shelf.answers.get((endpoint.plan, models, body, agent))
        if kept is None:
            return None
        # Lists are asked for most: a function less.
        now = self._services.catalogue.listed_now() if keeps == "models" else self._now(keeps)
        return kept if shelf.of is now else None

    def keeper(
        self, endpoint: Endpoint, grant: Grant | None, body: bytes, agent: str
    ) -> Callable[[KeptAnswer], None] | None:
        """
        Return what keeps the answer to a request that is begun, None if it can't be kept.

        It is to be called in the step of the event loop in which the answer is made. One that
        depends on the request is kept only if the models are those of its beginning.
        """
        keeps, since = endpoint.keeps, None
        if keeps == "request":
            if not endpoint.keeps_agent:
                agent = ""
            since = self._now(keeps)
            if since is None or len(body) + len(agent) > MOST_ASKED:
                return None
        else:
            agent = ""
        asked = (endpoint.plan, () if grant is None else grant.models, body, agent)
        return partial(self._keep, keeps, asked, since)

    def _keep(self, keeps: Keeps, asked: _Asked, since: object, kept: KeptAnswer) -> None:
        of = self._now(keeps)
        if since is None or since is of:
            *_, body, agent = asked
            self._shelves[keeps].keep(asked, of, kept, len(body) + len(agent))

    def _now(self, keeps: Keeps) -> object:
        """Return what an answer holds for that is made now, None for nothing."""
        services = self._services
        if keeps == "models":
            return services.catalogue.listed_now()
        if keeps == "request":
            # Of several hosts, each has a list of its own.
            return _view_now(services.fleet.first.catalogue) if services.fleet.is_one else None
        return self


def _view_now(catalogue: Catalogue) -> View | None:
    """
    Return the last list with its names if it still holds, and is not to be asked for soon.

    It is another object after each change of a model or a name.
    """
    view = catalogue.view
    if view is None or time.monotonic() - view.taken_at > catalogue.max_age_s / 2:
        return None
    return view
