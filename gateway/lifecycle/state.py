"""
The known state of each model: its loaded instances, the requests that use it, and its keep-alive.

Nothing here acts: calls to LM Studio are in `changes` and `loader`, timers in `keep_alive`.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from msgspec import UNSET, UnsetType

from ..queueing.order import Home
from ..types import internal
from .context_length import Wish
from .ownership import OwnInstance

Change: TypeAlias = Literal["loading", "reloading", "unloading"]
State: TypeAlias = Literal["absent", "idle", "busy", "stopping", "growing"] | Change
"""The states of docs/lifecycle.md, which has a row for each."""

_next_place = itertools.count().__next__

Warn: TypeAlias = Callable[[str], None]


@dataclass(eq=False, slots=True)
class ModelRequest:
    """
    One request that uses a model, from before the load until its answer has ended.

    `keep_alive` is in seconds: None is forever, UNSET if the request does not say. `wish` is the
    context length that the request wants, None if it leaves the choice to LM Studio. `warn` takes a
    sentence for the client. `state` is the model that the request uses now, None before and after.
    """

    row: internal.CatalogueRow
    keep_alive: float | UnsetType | None
    wish: Wish | None
    warn: Warn
    state: ModelState | None = None
    is_running: bool = False
    place: int = field(default_factory=_next_place)
    """Its place in the order in which requests came: a later one has a higher number."""

    @property
    def takes_any_variant(self) -> bool:
        """Whether LM Studio chooses the variant, because the request names only the model's key."""
        return self.row.request_key == self.row.key


@dataclass(eq=False)
class ModelState:
    """
    The state of one variant of one model: its instances, its requests, and its keep-alive.

    `name` is a row's `instances_of`, `key` is LM Studio's key of the model. `keep_alive_s` is in
    seconds, None is forever. `last_used` is monotonic; `stop_asked_at` and `expires_at` are seconds
    since the epoch.
    """

    name: str
    key: str
    keep_alive_s: float | None
    instances: dict[str, internal.HostInstance] = field(default_factory=dict)
    """The loaded instances by their identifiers, as of the last list or change."""
    owned: dict[str, OwnInstance] = field(default_factory=dict)
    """Those of them that this gateway loaded."""
    pending: OwnInstance | None = None
    """A load by this gateway whose end is not known yet."""
    lost_until: float | None = None
    """
    When the search for a lost load ends, in seconds since the epoch; None if no load is lost. A
    load is lost when its call ended without an answer from LM Studio.
    """
    has_lost_one: bool = False
    """Whether an earlier lost load may still come, after its search has ended."""
    left_to_others: str = ""
    """Why another gateway is to load it, while that is waited for and the store is away."""
    requests: list[ModelRequest] = field(default_factory=list)
    """The requests that use the model or wait for it, in the order in which they came."""
    task: asyncio.Task[None] | None = None
    """The change that is under way; `change` says which one."""
    change: Change | None = None
    growing_for: ModelRequest | None = None
    """The request that waits to reload the idle model with more context; later requests wait."""
    requested_context: int | None = None
    """The context length that the last load asked for, until a list confirms or refutes it."""
    given_contexts: dict[int, int] = field(default_factory=dict)
    """The context lengths that LM Studio gave when another one, the key, was asked for."""
    loaded_as: str = ""
    """The Ollama name for which the last load was made."""
    stop_asked_at: float | None = None
    """When a client asked to unload the model, until that is done."""
    is_due: bool = False
    """Whether the keep-alive is over, or the memory is needed for another model."""
    must_retry: bool = False
    """Whether the last unload failed."""
    retry_at: float | None = None
    """When an unload is tried again that another gateway's use has stopped; since the epoch."""
    is_used_elsewhere: bool = False
    """Whether another gateway used the model when this one was to unload it."""
    takes_room: bool = False
    """Whether a load has begun that counts towards the largest number of loaded models."""
    waits_for_room: bool = False
    """Whether the load waits until another model can be unloaded."""
    room_place: int | None = None
    """
    The place of the request for which a load that lacked memory was made, until that load ends.
    """
    home: Home = field(default_factory=Home)
    """The slots of the model, and the requests that wait for them; those do not run yet."""
    timer: asyncio.TimerHandle | None = None
    expires_at: float | None = None
    last_used: float = 0.0
    _waiting: list[asyncio.Future[None]] = field(default_factory=list)

    @property
    def is_running(self) -> bool:
        """Whether a request runs on the model, and does not only wait for it."""
        return any(request.is_running for request in self.requests)

    @property
    def is_own(self) -> bool:
        """Whether the model is loaded, and this gateway loaded every instance."""
        return bool(self.instances) and self.instances.keys() <= self.owned.keys()

    @property
    def context_length(self) -> int | None:
        """
        The smallest context length of the instances in tokens, None if it is unknown.

        LM Studio chooses the instance that answers, so only the smallest can be relied on.
        """
        known = [
            int(instance.context_length)
            for instance in self.instances.values()
            if isinstance(instance.context_length, int | float)
        ]
        return min(known) if known else None

    @property
    def state(self) -> State:
        """The state as docs/lifecycle.md names it."""
        if self.change is not None:
            return self.change
        if self.growing_for is not None:
            return "growing"
        if self.is_running:
            return "busy" if self.stop_asked_at is None else "stopping"
        return "idle" if self.instances else "absent"

    def add(self, request: ModelRequest) -> None:
        """Have a request use this model; a keep-alive that it states applies from now on."""
        request.state = self
        self.requests.append(request)
        self.is_due = False
        self.retry_at = self.expires_at = None
        if self.timer is not None:
            self.halt_timer()
        if request.keep_alive is not UNSET:
            self.apply_keep_alive(request)

    def apply_keep_alive(self, request: ModelRequest) -> None:
        """Take over the keep-alive that a request states; 0 asks to unload the model."""
        if not isinstance(request.keep_alive, UnsetType):
            self.keep_alive_s = request.keep_alive
            self.stop_asked_at = time.time() if request.keep_alive == 0 else None

    async def wait(self) -> None:
        """Wait for the next change of any kind."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            await future
        finally:
            if future in self._waiting:
                self._waiting.remove(future)

    def wake(self) -> None:
        """Wake all that wait, so that they look at the state again."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def halt_timer(self) -> None:
        """Stop the timer, but remember when it was to end."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def stop_timer(self) -> None:
        """Stop the timer, and forget when it was to end."""
        self.halt_timer()
        self.expires_at = None

    def reset(self, keep_alive_s: float | None) -> None:
        """
        Forget everything that was said about the instances that are gone now.

        `keep_alive_s` is the default; a client's keep-alive ends with the load that it was for
        (docs/facts/ollama.md#keep-alive). Requests that still wait state theirs again.
        """
        self.keep_alive_s = keep_alive_s
        self.stop_asked_at = self.requested_context = None
        self.is_due = self.must_retry = self.is_used_elsewhere = False
        self.retry_at = None
        self.given_contexts.clear()
        self.stop_timer()
        for request in self.requests:
            self.apply_keep_alive(request)


class ModelStates:
    """The states of all models of one host, which the parts of the lifecycle share."""

    def __init__(
        self, default_keep_alive_s: float | None, make_home: Callable[[], Home] = Home
    ) -> None:
        """
        Start with no model; `default_keep_alive_s` is the setting, None is forever.

        `make_home` makes the slots of a model that has not been loaded yet.
        """
        self._make_home = make_home
        self.default_keep_alive_s = default_keep_alive_s
        self.lacking_room: list[ModelState] = []
        """The models whose load lacked memory and has not ended yet: those with a `room_place`."""
        self._states: dict[str, ModelState] = {}
        self._variants: dict[str, list[ModelState]] = {}
        """The same by the keys of their models. No state is ever dropped."""

    def __iter__(self) -> Iterator[ModelState]:
        return iter(self._states.values())

    def get(self, name: str) -> ModelState | None:
        """Return the state of a name, None if there is none yet."""
        return self._states.get(name)

    def named(self, name: str, key: str) -> ModelState:
        """Return the state of a name, a new one if there is none yet."""
        state = self._states.get(name)
        if state is None:
            state = ModelState(name, key, self.default_keep_alive_s, home=self._make_home())
            self._states[name] = state
            self._variants.setdefault(key, []).append(state)
        return state

    def state_for(self, row: internal.CatalogueRow) -> ModelState:
        """Return the state that a row's requests use: a loaded variant's, if any will do."""
        state = self._states.get(row.instances_of) or self.named(row.instances_of, row.key)
        if row.request_key == row.key and not state.instances and state.task is None:
            return next((other for other in self.variants_of(state) if other.instances), state)
        return state

    def variants_of(self, state: ModelState) -> list[ModelState]:
        """
        Return the states of all variants of a state's model, itself included, for reading only.
        """
        return self._variants[state.key]

    def load_ahead_of(self, request: ModelRequest) -> ModelState | None:
        """
        Return a model whose load lacked memory and came before a request, None if there is none.

        A request for an instance that others loaded has none: it takes no memory from that load.
        """
        state = self.state_for(request.row)
        if state.instances and not state.owned:
            return None
        return next(
            (
                other
                for other in self.lacking_room
                if other is not state
                and other.room_place is not None
                and other.room_place < request.place
            ),
            None,
        )

    def is_in_use(self, state: ModelState) -> bool:
        """
        Whether a request may run on an instance of this state.

        That includes requests for the bare key of the model, for which LM Studio chooses a variant.
        """
        # A loop, since most models have one state, and every request that ends asks.
        for other in self._variants[state.key]:
            for request in other.requests:
                if request.is_running and (other is state or request.takes_any_variant):
                    return True
        return False

    def is_free(self, state: ModelState) -> bool:
        """Whether no request uses the model or waits for it, and no change is under way."""
        return state.task is None and not state.requests and not self.is_in_use(state)
