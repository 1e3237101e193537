"""What is loaded: instances, how a name finds one, loads, unloads, time to live, memory.

The rules of names are those of docs/facts/lmstudio.md#unknown-model, of loading those of
docs/facts/lmstudio.md#jit. How an error looks on the wire is decided elsewhere: this module raises
`NoModel` and `LoadFailed`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from conformance.standin.catalogue import Model, Variant, fault_model
from conformance.standin.faults import FAULTS, fault_named
from conformance.standin.history import History
from conformance.standin.options import Options

Kind = Literal["llm", "embedding", "decision"]
Reason = Literal["unknown", "none_loaded", "wrong_kind", "unloaded"]

JIT_TTL_S = 3600
NO_MEMORY = "Model loading was stopped due to insufficient system resources."


class NoModel(Exception):
    """No instance answers to a name."""

    def __init__(self, name: str, reason: Reason, streamed: bool = False) -> None:
        super().__init__(name)
        self.name = name
        self.reason = reason
        self.streamed = streamed


class LoadFailed(Exception):
    """A model could not be loaded; the message is the engine's."""


@dataclass(eq=False)
class Instance:
    """One loaded copy of a model. `ttl_s` is set for those that a request loaded."""

    id: str
    model: Model
    variant: Variant
    context_length: int
    config: dict[str, Any] = field(default_factory=dict)
    ttl_s: int | None = None
    parallel: int = 0
    """How many requests it runs at once; 0 is no limit."""
    slots: asyncio.Semaphore | None = None
    last_used: float = field(default_factory=time.monotonic)
    busy: int = 0
    gone: bool = False

    @property
    def remaining_s(self) -> int | None:
        """Whole seconds until it is unloaded for being idle; None when it stays."""
        if self.ttl_s is None:
            return None
        idle = 0.0 if self.busy else time.monotonic() - self.last_used
        return max(0, int(self.ttl_s - idle))

    @asynccontextmanager
    async def hold_slot(self) -> AsyncIterator[None]:
        """
        Wait for one of the parallel slots, silently, and keep it (docs/facts/lmstudio.md#parallel).
        """
        self.busy += 1
        try:
            if self.slots is None:
                yield
            else:
                async with self.slots:
                    yield
        finally:
            self.busy -= 1
            self.last_used = time.monotonic()


@dataclass
class Window:
    """A time in which requests for a model are refused: `requests` more, or until a moment."""

    reason: Reason
    requests: int = 1
    until: float | None = None
    streamed: bool = False

    def is_open(self) -> bool:
        """Say whether the window still refuses, and count one refusal."""
        if self.until is not None:
            return time.monotonic() < self.until
        self.requests -= 1
        return self.requests >= 0


class Table:
    """All models and their instances. Everything happens in one event loop, without locks."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.history = History(options.history, options.name)
        self.instances: list[Instance] = []
        self.loading: dict[tuple[str, str], asyncio.Task[Instance]] = {}
        self.ordered: set[asyncio.Task[Instance]] = set()
        """The loads that the load call began."""
        self.reset()

    def stop(self) -> None:
        """End what is under way: loads, and the answers of all instances."""
        for task in (*self.loading.values(), *self.ordered):
            task.cancel()
        for instance in self.instances:
            instance.gone = True

    def reset(self) -> None:
        """Return to what the catalogue says."""
        self.stop()
        self.models: list[Model] = list(self.options.models)
        self.instances = []
        self.windows: dict[str, Window] = {}
        self.failures: list[str] = []
        self.loading = {}
        for model in self.models:
            for loaded in model.loaded:
                variant = model.find_variant(loaded.variant) if loaded.variant else None
                self.add(model, variant, loaded.id, loaded.context_length, loaded.ttl_s)
        if self.options.fault_models:
            for name, fault in FAULTS.items():
                if fault.way != "elsewhere":
                    self.models += [fault_model(name), fault_model(name, embedding=True)]

    def loaded(self, kind: Kind) -> list[Instance]:
        """Return the instances of one kind."""
        return [instance for instance in self.instances if instance.model.type == kind]

    def instances_of(self, model: Model) -> list[Instance]:
        """Return the instances of one model; the models of faults are always loaded."""
        if model.fault is not None:
            return [self.fault_instance(model)]
        return [instance for instance in self.instances if instance.model.key == model.key]

    def find_model(self, name: str) -> tuple[Model, Variant | None] | None:
        """Find a model by its key or ``key@variant``, in any letter case."""
        key, at, variant_name = name.casefold().partition("@")
        for model in self.models:
            if model.key.casefold() == name.casefold():
                return model, None
            variant = model.find_variant(variant_name) if at else None
            if model.key.casefold() == key and variant is not None:
                return model, variant
        return None

    def fault_instance(self, model: Model) -> Instance:
        """Return an instance for the model of a fault; it exists for one request."""
        return Instance(model.key, model, model.variants[0], model.default_context_length)

    def expire(self) -> None:
        """Unload what was idle for longer than its time to live."""
        for instance in list(self.instances):
            if instance.ttl_s is not None and not instance.busy and not instance.remaining_s:
                self.remove(instance)

    async def find(
        self, name: str, kind: Kind, ttl_s: int | None = None, *, strict: bool = False
    ) -> Instance:
        """Return the instance that answers to a name, loading it when that is what happens.

        `strict` is without the rule that a single loaded model answers to any name. Raises
        `NoModel` and `LoadFailed`.
        """
        fault = fault_named(name)
        if fault is not None:
            return self.fault_instance(fault_model(fault, embedding=kind == "embedding"))
        self.expire()
        named = next((one for one in self.instances if one.id == name), None)
        if named is None:
            named = await self.find_by_key(name, kind, ttl_s, strict)
        else:
            self.check_window(named.model)
        if named.model.type != kind:
            raise NoModel(name, "wrong_kind")
        return named

    async def find_by_key(self, name: str, kind: Kind, ttl_s: int | None, strict: bool) -> Instance:
        """Return an instance by key, or by the rule for unknown names."""
        found = self.find_model(name)
        if found is not None:
            model, variant = found
            self.check_window(model)
            if model.type != kind:
                raise NoModel(name, "wrong_kind")
            for instance in self.instances_of(model):
                if variant is None or instance.variant == variant:
                    return instance
            if self.options.jit:
                return await self.load_once(model, variant, ttl_s)
        loaded = self.loaded(kind)
        strict = strict or self.options.host_version == "openai"
        if kind == "llm" and len(loaded) == 1 and not strict:
            return loaded[0]
        raise NoModel(name, "unknown" if loaded else "none_loaded")

    def check_window(self, model: Model) -> None:
        """Raise `NoModel` while requests for the model are refused."""
        window = self.windows.get(model.key)
        if window is None:
            return
        if window.is_open():
            raise NoModel(model.key, window.reason, window.streamed)
        del self.windows[model.key]

    async def load_once(self, model: Model, variant: Variant | None, ttl_s: int | None) -> Instance:
        """Load for a request; requests that come meanwhile wait for the same load.

        A caller that leaves does not stop the load.
        """
        key = (model.key, variant.name if variant else "")
        task = self.loading.get(key)
        if task is None:
            ttl = JIT_TTL_S if ttl_s is None or ttl_s < 0 else ttl_s
            task = asyncio.create_task(self.load(model, variant, ttl_s=ttl))
            self.loading[key] = task
            task.add_done_callback(lambda done: self.forget_load(key, done))
        return await asyncio.shield(task)

    async def load_to_the_end(self, work: Coroutine[Any, Any, Instance]) -> Instance:
        """Load for the load call; a caller that leaves does not stop the load."""
        task = asyncio.create_task(work)
        self.ordered.add(task)
        task.add_done_callback(self.end_ordered)
        return await asyncio.shield(task)

    def end_ordered(self, done: asyncio.Task[Instance]) -> None:
        """Forget a load that ended; a failure that nobody waited for is no news."""
        self.ordered.discard(done)
        if not done.cancelled():
            done.exception()

    def forget_load(self, key: tuple[str, str], done: asyncio.Task[Instance]) -> None:
        """Forget a load that ended; a failure that nobody waited for is no news."""
        if self.loading.get(key) is done:
            del self.loading[key]
        if not done.cancelled():
            done.exception()

    async def load(
        self,
        model: Model,
        variant: Variant | None = None,
        *,
        instance_id: str | None = None,
        context_length: int | None = None,
        ttl_s: int | None = None,
        config: dict[str, Any] | None = None,
    ) -> Instance:
        """Load a model after the time that takes. Raises `LoadFailed`."""
        self.history.note("load begun", model=model.key)
        try:
            if self.options.load_ms:
                await asyncio.sleep(self.options.load_ms / 1000)
            return self.finish_load(model, variant, instance_id, context_length, ttl_s, config)
        except BaseException:
            self.history.note("load failed", model=model.key)
            raise

    def finish_load(
        self,
        model: Model,
        variant: Variant | None,
        instance_id: str | None,
        context_length: int | None,
        ttl_s: int | None,
        config: dict[str, Any] | None,
    ) -> Instance:
        """Add the instance of a load whose time is over. Raises `LoadFailed`."""
        if self.failures:
            raise LoadFailed(self.failures.pop(0))
        if ttl_s is not None and self.options.auto_evict:
            for other in [one for one in self.instances if one.ttl_s is not None]:
                self.remove(other)
        if 0 < self.options.max_instances <= len(self.instances):
            raise LoadFailed(NO_MEMORY)
        return self.add(model, variant, instance_id, context_length, ttl_s, config)

    def add(
        self,
        model: Model,
        variant: Variant | None,
        instance_id: str | None = None,
        context_length: int | None = None,
        ttl_s: int | None = None,
        config: dict[str, Any] | None = None,
    ) -> Instance:
        """Add an instance at once; its id gets a number when it is taken."""
        chosen = variant or model.variants[0]
        base = instance_id or (
            model.key if chosen == model.variants[0] else f"{model.key}@{chosen.name}"
        )
        taken = {instance.id for instance in self.instances}
        name, number = base, 1
        while name in taken:
            number += 1
            name = f"{base}:{number}"
        instance = Instance(
            id=name,
            model=model,
            variant=chosen,
            context_length=context_length or model.default_context_length,
            config=config or {},
            ttl_s=ttl_s,
            parallel=self.options.parallel,
            slots=asyncio.Semaphore(self.options.parallel) if self.options.parallel else None,
        )
        self.instances.append(instance)
        self.history.note("loaded", model=model.key, instance=instance.id)
        return instance

    def remove(self, instance: Instance) -> None:
        """Unload an instance at once, also while it answers."""
        instance.gone = True
        if instance in self.instances:
            self.instances.remove(instance)
            self.history.note("unloaded", model=instance.model.key, instance=instance.id)
