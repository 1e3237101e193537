"""
Whether a host is there, what it is, and when that changes.

One object for each host. It asks with the catalogue, so it sees what every request sees. `look`
asks anew. Once it is started, a fetch that contradicts what is known makes it look again. A host
that is away is asked with growing pauses, and a host that is there is never polled.
"""

from __future__ import annotations

import asyncio
import random
from contextvars import Context

import msgspec

from ..faults import UpstreamFailure
from ..observability.journal import get_logger
from ..upstream.client import Upstream
from ..upstream.identity import Identity, Kind, identify
from .advice import GET_A_MODEL, RESTART_IT, advise
from .catalogue import Catalogue
from .view import Dialect

FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 30.0
"""Pauses in seconds between two looks for a host that is away; each is twice the one before."""
SOON_S = 0.25
"""Seconds before a look that a request caused, so that it does not compete with the request."""


class HostState(msgspec.Struct, frozen=True, kw_only=True):
    """
    One host as it was last seen.

    `reason` says why it cannot be used, or what is special about it; `advice` is the next step.
    Both are empty if all is well. `server` is None if it is not known.
    """

    url: str
    is_reachable: bool
    server: Kind | None = None
    dialect: Dialect | None = None
    models: int = 0
    loaded: int = 0
    reason: str = ""
    advice: str = ""

    @property
    def sentence(self) -> str:
        """The reason and the next step as one sentence."""
        return "; ".join(part for part in (self.reason, self.advice) if part)


class Presence:
    """The state of one host, and the log lines when it changes."""

    def __init__(self, upstream: Upstream, catalogue: Catalogue, name: str | None = None) -> None:
        """
        Look at the host of `upstream` with its `catalogue`; nothing is asked before `look`.

        `name` is the host's, for the log where there are several.
        """
        self.state: HostState | None = None
        self._upstream = upstream
        self._catalogue = catalogue
        self._identity: Identity | None = None
        self._is_started = False
        self._has_answered = False
        self._pause_s = FIRST_PAUSE_S
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.Task[None] | None = None
        self._log = get_logger() if name is None else get_logger(host=name)

    def start(self) -> None:
        """Look in the background, write what is found to the log, and again when it changes."""
        self._is_started = True
        unreachable = self._upstream.when_unreachable

        def doubt() -> None:
            if unreachable is not None:
                unreachable()
            self._doubt()

        self._upstream.when_unreachable = doubt
        self._catalogue.when_fetched = self._compare
        self._look_in(0.0)

    async def aclose(self) -> None:
        """Look no more."""
        self._is_started = False
        if self._timer is not None:
            self._timer.cancel()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    def is_up(self) -> bool | None:
        """Return whether the host answered when it was last asked, None if it was not yet."""
        return None if self.state is None else self.state.is_reachable

    async def look(self, limit_s: float | None = None) -> HostState:
        """Ask the host for its models now, within `limit_s` seconds; never raises its failures."""
        state = await self._ask(limit_s)
        self._note(state)
        return state

    async def _ask(self, limit_s: float | None) -> HostState:
        url = self._upstream.url
        try:
            async with asyncio.timeout(limit_s or None):
                rows = await self._catalogue.rows(fresh=True)
                known = self._identity
                if known is None:
                    known = await identify(self._upstream)
        except TimeoutError:
            reason = f"no answer within {limit_s:g} s"
            return HostState(url=url, is_reachable=False, reason=reason, advice=RESTART_IT)
        except UpstreamFailure as failure:
            advice = advise(failure, self._upstream.keys, has_token=self._upstream.has_token)
            return HostState(url=url, is_reachable=False, reason=failure.message, advice=advice)
        self._identity = known
        is_plain = known is None or known.kind == Kind.LMSTUDIO
        reason = "" if known is None or is_plain else known.sentence
        advice = ""
        if not rows and is_plain:
            reason, advice = f"LM Studio at {url} has no models", GET_A_MODEL
        return HostState(
            url=url,
            is_reachable=True,
            server=None if known is None else known.kind,
            dialect=self._catalogue.dialect,
            models=len(rows),
            loaded=len({instance.id for row in rows for instance in row.instances}),
            reason=reason,
            advice=advice,
        )

    def _note(self, state: HostState) -> None:
        before, self.state = self.state, state
        if not state.is_reachable:
            self._identity = None
        if not self._is_started:
            return
        if not state.is_reachable:
            # What it says may differ from look to look, as the numbers of a time limit do.
            if before is None or before.is_reachable or before.advice != state.advice:
                self._log.warning(
                    "LM Studio cannot be used", url=state.url, reason=state.reason, do=state.advice
                )
            self._look_in(self._pause_s * random.uniform(0.8, 1.2))
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
            return
        self._pause_s = FIRST_PAUSE_S
        if before is not None and before.is_reachable:
            return
        found = {
            "url": state.url,
            "server": state.server,
            "dialect": state.dialect,
            "models": state.models,
            "loaded": state.loaded,
        }
        if self._has_answered:
            self._log.info("LM Studio answers again", **found)
        else:
            self._log.info("LM Studio answers", **found)
        self._has_answered = True
        if state.advice:
            self._log.warning("LM Studio has no models", reason=state.reason, do=state.advice)
        elif state.reason:
            self._log.warning("the upstream is not LM Studio", reason=state.reason)

    def _compare(self, failure: BaseException | None) -> None:
        """Look again if a fetch had another end than what is known."""
        self._look_if(has_failed=failure is not None)

    def _look_if(self, *, has_failed: bool) -> None:
        if self.state is not None and self.state.is_reachable == has_failed:
            self._look_in(SOON_S)

    def _doubt(self) -> None:
        """Look again after a request for which no connection could be opened."""
        self._look_if(has_failed=True)

    def _look_in(self, seconds: float) -> None:
        """Look once in the background; an earlier plan to look is replaced."""
        if not self._is_started or (self._looking is not None and not self._looking.done()):
            return
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        # Without the record of the request that caused it.
        self._timer = loop.call_later(seconds, self._begin_look, context=Context())

    def _begin_look(self) -> None:
        self._timer = None
        self._looking = asyncio.create_task(self._look_in_background())

    async def _look_in_background(self) -> None:
        state = await self._ask(None)
        self._looking = None
        self._note(state)
