"""
LM Studio, played in virtual time: its list, its loads and its unloads, and who runs on what.

It notes what must never happen (`broken`): a second load beside a load of the same model, an unload
under an answer, and an unload of what nobody but a user loaded.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar

from gateway.faults import UpstreamFailure
from gateway.names import keys
from gateway.runtime.outcome import FetchCall
from gateway.upstream.answers import read_answer
from gateway.wire.hops import new_name
from gateway.wire.writing import encode

T = TypeVar("T")

End: TypeAlias = Literal["well", "failed", "cut", "proxy", "slow"]
"""
How a load ends: well, with LM Studio's error, with its connection cut while it goes on, with a
proxy's 504 while it goes on, or later than its caller waits.
"""
LOAD_S, SLOW_S, UNLOAD_S = 2.0, 45.0, 0.5
VARIANTS = ("q4", "q8")
KEYS = ("p/a", "p/b", "p/c")
MEMORY = "Model loading was stopped due to insufficient system resources."


@dataclass
class Instance:
    """A loaded model. `by` is the gateway that loaded it, None for a user."""

    id: str
    base: str
    context_length: int
    by: str | None
    answers: list[asyncio.Task[Any]] = field(default_factory=list)


class PlayedHost:
    """One LM Studio with three models, of which the first has two variants."""

    def __init__(self, room: int) -> None:
        """Let `room` instances fit into its memory, 0 is no limit."""
        self.room = room
        self.now: Callable[[], float] = lambda: 0.0
        """The time of the loop in which it is played."""
        self.instances: dict[str, Instance] = {}
        self.loading: dict[asyncio.Task[str], tuple[str, str]] = {}
        """What is being loaded, and for which gateway."""
        self.ends: list[End] = []
        """How the next loads end; when there is none left, well."""
        self.failing_unloads = 0
        """How many of the next unloads fail."""
        self.is_away = False
        self.asked: set[str] = set()
        """The keys of models that a client asked to unload, so that a user's may go, too."""
        self.lost_at: dict[str, float] = {}
        """When a load of a model was lost last: a user's copy might be taken for it."""
        self.agree_from = -1.0
        """Before this time, the gateways could not tell each other what they do."""
        self.broken: list[str] = []
        self.story: list[str] = []

    def tell(self, text: str) -> None:
        """Note what happens, with its time."""
        self.story.append(f"{self.now():9.3f} {text}")

    def break_rule(self, text: str) -> None:
        """Note what must not happen."""
        self.tell(f"BROKEN: {text}")
        self.broken.append(text)

    # -- what users and fate do ---------------------------------------------------------------

    def load_by_hand(self, base: str) -> None:
        """Have a user load a model."""
        now = self.now()
        is_free = base not in {one.base for one in self.instances.values()}
        was_lost = now - self.lost_at.get(base, -1e9) < 700 or any(
            base == of for of, _ in self.loading.values()
        )
        # A user's copy can't be told from a lost load, nor from an own instance that a user
        # unloaded a moment ago; it then has a name that its user chose.
        name = f"mine-{len(self.story)}" if was_lost or is_free else self._free_id(base)
        self.instances[name] = Instance(name, base, 4096, None)
        self.tell(f"a user loads {name} of {base}")

    def unload_by_hand(self, base: str) -> None:
        """Have a user unload all instances of a model, on which nothing runs."""
        for one in [each for each in self.instances.values() if each.base == base]:
            if not one.answers:
                del self.instances[one.id]
                self.tell(f"a user unloads {one.id}")

    def restart(self) -> None:
        """End: loads and answers are cut, and nothing is loaded or answers until `come_back`."""
        self.tell("the host ends")
        self.is_away = True
        for task in self.loading:
            task.cancel()
        self.loading.clear()
        for one in self.instances.values():
            for answer in one.answers:
                answer.cancel()
        self.instances.clear()

    def come_back(self) -> None:
        """Answer again."""
        self.tell("the host is back")
        self.is_away = False

    def can_agree(self) -> bool:
        """Return whether the gateways could tell each other what they do, of late."""
        return self.now() >= self.agree_from

    # -- what gateways ask --------------------------------------------------------------------

    async def serve(self, gateway: str, path: str, body: dict[str, Any]) -> Any:
        """Answer one call of a gateway. Raises UpstreamFailure."""
        if self.is_away:
            raise UpstreamFailure("refused", fault="connect", repeatable=True)
        if path == "/api/v1/models":
            answer = self._list()
            await self._pass(0.01)
            return answer
        if path == "/api/v1/models/load":
            return await self._load(gateway, body)
        if path == "/api/v1/models/unload":
            return await self._unload(gateway, body["instance_id"])
        raise AssertionError(path)

    @contextmanager
    def running_on(self, request_key: str) -> Iterator[Instance | None]:
        """Run an answer on an instance for a name in a request; None if there is none."""
        key, variant = keys.split_variant(request_key)
        # A name of its user's choice tells no gateway which variant an instance is.
        of_key = [one for one in self.instances.values() if one.base.split("@")[0] == key]
        exact = [one for one in of_key if keys.split_instance(one.id)[0] == _base(request_key)]
        fitting = exact if variant or exact else of_key
        if self.is_away or not fitting:
            yield None
            return
        one = fitting[len(self.story) % len(fitting)]
        task = asyncio.current_task()
        assert task is not None
        one.answers.append(task)
        try:
            yield one
        finally:
            one.answers.remove(task)

    # -- inside -------------------------------------------------------------------------------

    async def _pass(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        if self.is_away:
            raise UpstreamFailure("closed", fault="closed_before_headers")

    def _list(self) -> dict[str, Any]:
        models = []
        for key in KEYS:
            variants = VARIANTS if key == KEYS[0] else VARIANTS[:1]
            loaded = [
                {"id": one.id, "config": {"context_length": one.context_length}}
                for one in self.instances.values()
                if one.base.split("@")[0] == key
            ]
            models.append(
                {
                    "type": "llm",
                    "key": key,
                    "display_name": key,
                    "publisher": "p",
                    "size_bytes": 1000,
                    "max_context_length": 32768,
                    "variants": [f"{key}@{name}" for name in variants],
                    "selected_variant": f"{key}@{variants[0]}",
                    "loaded_instances": loaded,
                }
            )
        return {"models": models}

    async def _load(self, gateway: str, body: dict[str, Any]) -> dict[str, Any]:
        base = _base(body["model"])
        end = self.ends.pop(0) if self.ends else "well"
        self.tell(f"{gateway} loads {base}, which ends {end}")
        beside = [other for of, other in self.loading.values() if of == base]
        beside += [one.by for one in self.instances.values() if one.base == base and one.by]
        if beside and (gateway in beside or self.can_agree()):
            self.break_rule(f"{base} is loaded beside a load by {beside}")
        if end == "failed":
            await self._pass(LOAD_S)
            raise UpstreamFailure("no runtime", status=500, code="model_load_failed")
        if end != "well":
            self.lost_at[base] = self.now()
        task = asyncio.create_task(
            self._finish_load(gateway, base, body.get("context_length"), end)
        )
        self.loading[task] = (base, gateway)
        task.add_done_callback(self._forget)
        if end == "cut":
            await self._pass(LOAD_S / 2)
            raise UpstreamFailure("closed", fault="closed_before_headers")
        if end == "proxy":
            await self._pass(LOAD_S / 2)
            raise UpstreamFailure("gateway timeout", status=504)
        try:
            identifier = await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise UpstreamFailure("closed", fault="closed_before_headers") from None
            self.lost_at[base] = self.now()
            raise
        return {"type": "llm", "instance_id": identifier, "status": "loaded"}

    def _forget(self, task: asyncio.Task[str]) -> None:
        self.loading.pop(task, None)
        if not task.cancelled():
            task.exception()

    async def _finish_load(
        self, gateway: str, base: str, context_length: int | None, end: End
    ) -> str:
        await asyncio.sleep(SLOW_S if end == "slow" else LOAD_S)
        if self.room and len(self.instances) >= self.room:
            raise UpstreamFailure(MEMORY, status=500, code="model_load_failed")
        name = self._free_id(base)
        self.instances[name] = Instance(name, base, context_length or 4096, gateway)
        self.tell(f"{name} is loaded for {gateway}")
        return name

    async def _unload(self, gateway: str, identifier: str) -> dict[str, Any]:
        self.tell(f"{gateway} unloads {identifier}")
        one = self.instances.get(identifier)
        if one is None:
            raise UpstreamFailure("not loaded", status=404, code="model_not_found")
        if one.answers and self.can_agree():
            self.break_rule(f"{gateway} unloads {identifier} under an answer")
        if one.by is None and one.base.split("@")[0] not in self.asked:
            self.break_rule(f"{gateway} unloads a user's {identifier}")
        if self.failing_unloads:
            self.failing_unloads -= 1
            await self._pass(UNLOAD_S)
            raise UpstreamFailure("it clings to life", status=500)
        await self._pass(UNLOAD_S / 2)
        if one.answers and self.can_agree():
            self.break_rule(f"an answer began on {identifier} while {gateway} unloads it")
        if self.instances.get(identifier) is one:
            del self.instances[identifier]
        await self._pass(UNLOAD_S / 2)
        return {"instance_id": identifier}

    def _free_id(self, base: str) -> str:
        name, number = base, 1
        while name in self.instances:
            number += 1
            name = f"{base}:{number}"
        return name


class PlayedUpstream:
    """One gateway's way to the host."""

    def __init__(self, host: PlayedHost, gateway: str) -> None:
        self.url = "http://played.test"
        self.name = new_name()
        self.is_dead = False
        """Whether the gateway's process has been killed: nothing that it awaits comes any more."""
        self._host = host
        self._gateway = gateway

    async def ask(self, call: FetchCall[Any, T], *, timeout_s: float | None = None) -> T:
        """Make a call as `Upstream.ask` does."""
        if self.is_dead:
            await asyncio.Future()
        body = json.loads(encode(call.body)) if call.body is not None else {}
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._host.serve(self._gateway, call.path, body)
        except TimeoutError:
            raise UpstreamFailure("too late", fault="first_byte_timeout") from None
        finally:
            if self.is_dead:
                await asyncio.Future()
        return call.translate(read_answer(call, [json.dumps(answer).encode()]))


def _base(request_key: str) -> str:
    """Return what an instance of a name in a load call is called; the first variant has the key."""
    key, variant = keys.split_variant(request_key)
    return key if variant in (None, VARIANTS[0]) else request_key
