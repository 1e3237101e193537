"""The server that is acted: its state, and what several routes need of it.

Finding the instance for a request with the error texts of the route
(docs/facts/lmstudio.md#unknown-model), and letting an instance speak at its pace. The routes
themselves live in their own modules.
"""

import asyncio
import random
import string
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

from conformance.standin import words
from conformance.standin.options import Options
from conformance.standin.plan import Ask, Call, Plan, Turn, make_plan
from conformance.standin.stated import NONE_LOADED, keep_first
from conformance.standin.table import Instance, Kind, LoadFailed, NoModel, Table
from conformance.standin.wire import Refused, Request, StreamFailed, number, refusal

Stage = tuple[str, int]
"""A download's status and how many hundredths of it are there."""
LETTERS = string.ascii_lowercase + string.digits


@dataclass(frozen=True)
class Piece:
    """A token of an answer. A call announces itself, its arguments follow."""

    kind: Literal["reasoning", "content", "call", "arguments"]
    text: str
    index: int = 0
    call: Call | None = None


@dataclass
class Run:
    """One answer being spoken by one instance, with its times (monotonic seconds)."""

    instance: Instance
    plan: Plan
    name: str
    options: Options
    created: int = field(default_factory=lambda: int(time.time()))
    began: float = field(default_factory=time.monotonic)
    first: float | None = None
    uid: str = field(default_factory=lambda: "".join(random.choices("0123456789abcdef", k=48)))

    @property
    def response_id(self) -> str:
        """The id under which the answer may be gone on from; both families share them."""
        return f"resp_{self.uid}"

    @property
    def seconds_to_first(self) -> float:
        """Seconds from the start to the first token."""
        return round((self.first or time.monotonic()) - self.began, 3)

    @property
    def seconds_of_tokens(self) -> float:
        """Seconds since the first token, never zero."""
        return max(0.001, round(time.monotonic() - (self.first or self.began), 3))

    @property
    def tokens_per_second(self) -> float:
        """Tokens per second so far."""
        return self.plan.completion_tokens / self.seconds_of_tokens

    def planned(self) -> list[Piece]:
        """Return the pieces in the order they are spoken: thinking, text, calls one by one."""
        pieces = [Piece("reasoning", text) for text in self.plan.reasoning]
        pieces += [Piece("content", text) for text in self.plan.content]
        by_token = self.instance.model.fragments == "tokens" or self.options.host_version == "0.3"
        for index, call in enumerate(self.plan.calls):
            pieces.append(Piece("call", "", index, call))
            fragments = words.cut(call.arguments) if by_token else [call.arguments]
            pieces += [Piece("arguments", text, index, call) for text in fragments]
        return pieces

    async def speak(self) -> AsyncIterator[Piece]:
        """Speak the pieces at the pace of the options.

        Raises `StreamFailed` when the instance is unloaded meanwhile.
        """
        if self.options.first_token_ms:
            await asyncio.sleep(self.options.first_token_ms / 1000)
        self.first = time.monotonic()
        for place, piece in enumerate(self.planned()):
            if self.instance.gone:
                raise StreamFailed("Model unloaded.", bare=False)
            yield piece
            await self.keep_pace(place + 1)
        if self.plan.failure is not None:
            raise StreamFailed(self.plan.failure, 500)

    async def keep_pace(self, spoken: int) -> None:
        """Wait until the next piece is due; without a rate only let others run."""
        due = 0.0
        if self.options.rate > 0 and self.first is not None:
            due = self.first + spoken / self.options.rate - time.monotonic()
        await asyncio.sleep(max(0.0, due))


@dataclass
class Job:
    """A download: which key it brings, since when, and what the next askings will tell."""

    key: str
    started_at: str
    stages: list[Stage]


class Host:
    """Everything that a stand-in knows while it runs."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.table = Table(options)
        self.stored: dict[str, list[Turn]] = {}
        self.jobs: dict[str, Job] = {}

    @property
    def is_old(self) -> bool:
        """Whether LM Studio 0.3 is acted."""
        return self.options.host_version == "0.3"

    @property
    def is_other(self) -> bool:
        """Whether some other OpenAI-compatible server is acted."""
        return self.options.host_version == "openai"

    def reset(self) -> None:
        """Return to the start."""
        self.table.reset()
        self.stored.clear()
        self.jobs.clear()

    async def find(self, request: Request, kind: Kind = "llm") -> Instance:
        """Return the instance that answers a request; raises the route's own error."""
        ttl = None if request.path == "/v1/responses" else number(request.body, "ttl")
        native = request.path.startswith("/api/v1/")
        try:
            ttl_s = None if ttl is None or ttl < 1 else int(ttl)
            return await self.table.find(request.model, kind, ttl_s, strict=native)
        except NoModel as error:
            raise self.explain(request, kind, error) from error
        except LoadFailed as error:
            message = f'Failed to load model "{request.model}". Error: {error}'
            raise refusal(request, message, param="model", code="model_not_found") from error

    def explain(self, request: Request, kind: Kind, error: NoModel) -> Exception:
        """
        Return the route's words for a name that nothing answers to
        (docs/facts/lmstudio.md#unknown-model).
        """
        name = error.name
        if error.reason == "unloaded":
            if error.streamed and request.wants_stream:
                return StreamFailed("Model is unloaded.", bare=False)
            return refusal(request, "Model unloaded.")
        if self.is_other:
            message = f"The model '{name}' does not exist"
            return refusal(request, message, 404, param="model", code="model_not_found")
        if request.path.startswith("/api/v1/"):
            message = f'Invalid model identifier "{name}".{self.hint()}'
            return refusal(request, message, 404, param="model", code="model_not_found")
        if kind == "embedding":
            return self.explain_embedding(request, error)
        if error.reason == "none_loaded":
            status = 404 if self.is_old else 400
            text = NONE_LOADED.replace("'", "`") if self.is_old else NONE_LOADED
            return refusal(request, text, status, param="model")
        if self.is_old:
            keys = "\n".join(model.key for model in self.table.models)
            known = f"Please specify a valid model.\n\nYour models:\n\n{keys}"
            message = f'Model "{name}" not found. {known}'
            return refusal(request, message, 404, param="model", code="model_not_found")
        message = f'Invalid model identifier "{name}".{self.hint()}'
        return refusal(request, message, param="model", code="model_not_found")

    def explain_embedding(self, request: Request, error: NoModel) -> Refused:
        """Return the words of the embeddings route."""
        if error.reason == "wrong_kind" and self.is_old:
            message = f'Failed to load model "{error.name}". Error: Model is not embedding.'
            return refusal(request, message, 404, param="model", code="model_not_found")
        if error.reason == "unknown":
            message = f'Invalid model identifier "{error.name}".{self.hint()}'
            return refusal(request, message, 404, param="model", code="model_not_found")
        return refusal(request, NONE_LOADED, bare=True)

    def hint(self) -> str:
        """Return the list of examples that an error about a name ends with."""
        names = [one for m in self.table.models if m.type == "llm" for one in m.identifiers]
        if not names:
            return " There are no downloaded llm models."
        return f" Please specify a valid downloaded model (e.g., {', '.join(names[:3])})."

    def name_of(self, instance: Instance, request: Request) -> str:
        """Return the `model` of an answer: the instance's id, another model's with that fault."""
        if request.fault != "wrong_model":
            return instance.id
        real = [model for model in self.table.models if model.fault is None]
        real.sort(key=lambda model: model.type != instance.model.type)
        others = (model.key for model in real if model.key != instance.model.key)
        return next(others, "another-model")

    @asynccontextmanager
    async def run(self, request: Request, instance: Instance, ask: Ask) -> AsyncIterator[Run]:
        """Take a slot of the instance and plan the answer.

        Raises `StreamFailed` or `Refused` when the question does not fit into the context or has
        images that the model cannot see.
        """
        ask = replace(ask, fault=request.fault, says=self.options.says)
        if ask.has_images and not instance.model.vision:
            raise StreamFailed("Model does not support images. Please use a model that does.")
        async with instance.hold_slot():
            plan = make_plan(instance.model, ask)
            room = instance.context_length - plan.prompt_tokens
            if room < 0:
                raise self.overflow(request, plan.prompt_tokens, instance.context_length)
            if plan.status is not None:
                raise refusal(request, plan.failure or "refused", plan.status)
            if ask.max_tokens is None or ask.max_tokens > room:
                plan = make_plan(instance.model, replace(ask, max_tokens=room))
            async with self.table.history.generation(instance.id, request.raw):
                yield Run(instance, plan, self.name_of(instance, request), self.options)

    def overflow(self, request: Request, tokens: int, context_length: int) -> Exception:
        """
        Return the error for a question longer than the context
        (docs/facts/lmstudio.md#context-overflow).
        """
        if self.is_old:
            return refusal(request, keep_first(tokens, context_length))
        return StreamFailed(
            f"Input does not fit in context length. The input has {tokens} tokens, but the "
            f"context length only supports {context_length} tokens."
        )


def new_id(prefix: str, length: int = 21) -> str:
    """Return an id as LM Studio makes them: a prefix and small letters and digits."""
    return prefix + "".join(random.choices(LETTERS, k=length))
