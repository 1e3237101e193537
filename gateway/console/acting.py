"""
What people have begun on the page: requests that the gateway sends to itself, and how far they are.

An action runs when its page is closed, too. A few run at a time, and a few are remembered.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from contextvars import Context
from secrets import token_hex
from typing import NamedTuple

import msgspec

from ..observability.journal import get_logger
from ..server.asgi import HOST, PORT, ASGIApp, Scope, header
from ..server.own_requests import NEAR, Sent, own_scope, send_own
from ..wire.writing import encode
from . import actions
from .actions import Action
from .answering import Refused
from .records import ActionShown

MOST_RUNNING = 8
"""How many actions may run at a time."""
KEPT = 12
"""How many are shown, those that run included."""
MOST_NAME, MOST_HOST = 512, 64
"""Characters that a model's and a host's name may have."""
MOST_LINE = 65536
"""Bytes of one line of an answer that are read."""

_AGENT = "olgate page"
_WORDS = {
    "load": "Load",
    "unload": "Unload",
    "pull": "Pull",
    "drain": "Drain",
    "undrain": "Take back",
}
_HOSTS_ONLY = ("drain", "undrain")
_DONE = {
    "load": "is loaded",
    "unload": "is unloaded",
    "pull": "is here",
    "drain": "is drained",
    "undrain": "gets requests again",
}
_FULL = f"{MOST_RUNNING} actions are running, which is the most. Wait until one has ended."


class Order(NamedTuple):
    """What a form asks for; "" is for nothing in particular."""

    verb: str
    model: str = ""
    host: str = ""
    id: str = ""

    @property
    def target(self) -> str:
        """What it is done to, in words."""
        if self.verb in _HOSTS_ONLY:
            return self.host
        return f"{self.model} on {self.host}" if self.host else self.model


class _Caller(NamedTuple):
    """Whose an action is; `port` is the port that stands for a key, if it came by one."""

    headers: dict[str, str]
    client: tuple[str, int]
    port: object


class _Said(msgspec.Struct):
    """What a line of an answer may say of an action."""

    status: str = ""
    error: str = ""
    total: float = 0
    completed: float = 0
    capabilities: list[str] = msgspec.field(default_factory=list)


_decode = msgspec.json.Decoder(_Said).decode


class _Running(Sent):
    """An action, and the answer that it is getting."""

    def __init__(self, identifier: str, order: Order) -> None:
        super().__init__()
        self.id = identifier
        self.order = order
        self.at = time.time()
        self.state = "running"
        self.text = ""
        self.said = _Said()
        self.leaving = asyncio.Event()

    def take(self, part: bytes) -> None:
        """Read the lines that are complete; no more than one line is kept."""
        *lines, self.body = (self.body + part).split(b"\n")
        for line in lines:
            self._read(line)
        if len(self.body) > MOST_LINE:
            self.body = b""

    def finish(self) -> None:
        """Read what stands behind the last newline."""
        self._read(self.body)
        self.body = b""

    def _read(self, line: bytes) -> None:
        if line.strip():
            try:
                self.said = _decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                self.said = _Said(error="the answer can't be read")

    def shown(self) -> ActionShown:
        """Return it as the page shows it."""
        is_running = self.state == "running"
        return ActionShown(
            id=self.id,
            what=f"{_WORDS[self.order.verb]} {self.order.target}",
            at=round(self.at),
            state=self.state,
            text=self.said.status if is_running else self.text,
            total=int(self.said.total) if is_running else 0,
            completed=int(self.said.completed) if is_running else 0,
        )


class Acting:
    """The actions of the pages of one process."""

    def __init__(self) -> None:
        self.app: ASGIApp | None = None
        """The whole application, which the requests are sent to."""
        # A page that outlives this process must not take its actions for those of the next one.
        self._name = token_hex(4)
        self._number = 0
        self._known: deque[_Running] = deque(maxlen=KEPT)
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = get_logger()

    def shown(self) -> tuple[ActionShown, ...]:
        """Return the actions, the last one first."""
        return tuple(one.shown() for one in reversed(self._known))

    def begin(self, order: Order, scope: Scope) -> str | Refused:
        """Begin an action for the sender of a request, and return a sentence on it, or why not."""
        if order.verb == "stop":
            return self.stop(order.id)
        if len(self._tasks) >= MOST_RUNNING:
            return Refused(429, "Too much at once", _FULL)
        self._number += 1
        running = _Running(f"{self._name}-{self._number}", order)
        if len(self._known) == KEPT:
            # One that runs is never forgotten.
            ended = next(one for one in self._known if one.state != "running")
            self._known.remove(ended)
        self._known.append(running)
        work = self._run(running, _caller_of(scope))
        # Without the record of the request that began it.
        task = asyncio.get_running_loop().create_task(work, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return f"Begun: {running.shown().what}."

    def close(self) -> None:
        """End all actions: the gateway is about to end."""
        for one in self._known:
            one.leaving.set()

    async def aclose(self) -> None:
        """End all actions, and wait for their ends."""
        self.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def stop(self, identifier: str) -> str | Refused:
        """End an action, and return a sentence on it, or why not."""
        for one in self._known:
            if one.id == identifier and one.state == "running":
                one.leaving.set()
                return f"Stopped: {one.shown().what}."
        return Refused(404, "It has ended", "This action does not run any more.")

    async def _run(self, running: _Running, caller: _Caller) -> None:
        order = running.order
        try:
            for_load: list[str] = []
            if order.verb == "load":
                asked = Action(actions.SHOW, {"model": order.model}, order.host)
                await self._send(running, asked, caller)
                for_load = running.said.capabilities
            if running.status in (0, 200) and not running.said.error:
                action = _action_of(order, for_load)
                await self._send(running, action, caller)
            is_done = running.status == 200 and running.is_over and not running.said.error
            if running.leaving.is_set() and not is_done:
                running.state, running.text = "failed", "it was stopped"
            elif is_done:
                running.state, running.text = "done", f"{order.target} {_DONE[order.verb]}"
            else:
                why = running.said.error or f"the gateway answered with {running.status}"
                running.state, running.text = "failed", why
        except Exception:
            running.state, running.text = "failed", "internal error; the gateway's log says more"
            self._log.exception("an action of the page has failed (internal error)")

    async def _send(self, running: _Running, action: Action, caller: _Caller) -> None:
        assert self.app is not None
        body = None if action.body is None else encode(action.body)
        headers = {**caller.headers, HOST.decode(): action.host} if action.host else caller.headers
        running.status, running.is_over, running.said = 0, False, _Said()
        scope = own_scope("POST", action.path, headers, body, client=caller.client)
        if caller.port is not None:
            scope[PORT] = caller.port
        await send_own(self.app, scope, body, running.leaving, running)
        running.finish()


def read_order(form: Mapping[str, str]) -> Order | Refused:
    """
    Return what a form asks for, or why that can't be.

    A button has the order as JSON in its value; fields that people fill in come beside it.
    """
    try:
        told = msgspec.json.decode(form.get("do", ""), type=dict[str, str])
    except (msgspec.DecodeError, UnicodeError):
        told = {}
    verb = told.get("do", "")
    model = (told.get("model") or form.get("model", "")).strip()
    host = (told.get("host") or form.get("host", "")).strip()
    if verb == "stop":
        return Order(verb, id=told.get("id", ""))
    if verb not in _WORDS:
        return Refused(400, "No such action", "This is not one of the page's forms.")
    if verb in _HOSTS_ONLY:
        model = ""
        if not host:
            return Refused(400, "No host", "Say which host.")
    elif not model:
        return Refused(400, "No name", "Say which model.")
    if len(model) > MOST_NAME or len(host) > MOST_HOST:
        return Refused(400, "Too long", "A name of a model or a host is shorter than that.")
    return Order(verb, model, host)


def _action_of(order: Order, abilities: list[str]) -> Action:
    match order.verb:
        case "load":
            return actions.load(order.model, abilities, order.host)
        case "unload":
            return actions.unload(order.model, order.host)
        case "pull":
            return actions.pull(order.model)
        case "drain":
            return actions.drain(order.host)
        case _:
            return actions.undrain(order.host)


def _caller_of(scope: Scope) -> _Caller:
    """Return who acts: the address, the key, or the port that stands for one."""
    headers = {"host": header(scope, b"host"), "user-agent": _AGENT}
    if key := header(scope, b"authorization"):
        headers["authorization"] = key
    return _Caller(headers, scope.get("client") or NEAR, scope.get(PORT))
