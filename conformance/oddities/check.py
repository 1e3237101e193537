"""
Asks a gateway, whose LM Studio answers oddly, and says what went wrong.

Whatever the answer: the client gets an end within the limit, never an internal error, and what its
call's judge demands. Nothing of the gateway may raise into the event loop or the server.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import random
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec

from conformance.oddities.calls import CALLS, Call, Got
from conformance.oddities.mutate import Mutation, mutations
from conformance.runner.runner import make_gateway, serve_app
from conformance.standin import StandIn
from conformance.standin.options import Options
from conformance.standin.script import Rule

LIMIT_S = 20.0
"""How long a client waits; an answer that is there takes milliseconds."""
INTERNAL = "internal error"


@dataclass(frozen=True)
class Try:
    """One odd answer: a call, the number of the value that is mutated, and its mutation."""

    call: Call
    at: int
    mutation: Mutation

    @property
    def name(self) -> str:
        """What is odd, for people."""
        return f"{self.call.name}: value {self.at}: {self.mutation.name}"


def all_tries(only: str = "") -> Iterator[Try]:
    """Yield every odd answer of the calls whose name contains a text."""
    for call in CALLS:
        if only in call.name:
            for at, value in enumerate(call.answers):
                for mutation in mutations(value):
                    yield Try(call, at, mutation)


def some_tries(count: int, seed: int) -> list[Try]:
    """Return a part of them, drawn by a seed."""
    tries = list(all_tries())
    return random.Random(seed).sample(tries, min(count, len(tries)))


@dataclass
class Checker:
    """
    Gateways in front of stand-ins whose answers are scripted, one pair for each dialect.

    A gateway looks at its host in the background too, so no host may answer in two dialects.
    """

    standins: dict[str, StandIn]
    clients: dict[str, httpx.AsyncClient]
    told: list[str] = field(default_factory=list)
    """What was raised where no client sees it, since the last look."""

    async def problem(self, one: Try) -> str:
        """Return what is wrong with the gateway's answer, "" when nothing is."""
        got = await self.ask(one.call, one.call.bytes_with(one.at, one.mutation))
        if self.told:
            told, self.told[:] = self.told[-1], []
            return f"an exception: {told}"
        if isinstance(got, str):
            return got
        if INTERNAL in got.text:
            return f"an internal error: {got.text[-200:]}"
        return one.call.judge(one.call, one.at, one.mutation, got)

    async def ask(self, call: Call, answer: bytes) -> Got | str:
        """Return what a client gets for these bytes of LM Studio; a text when it gets none."""
        kind = "text/event-stream" if call.is_stream else "application/json"
        standin, client = self.standins[call.dialect], self.clients[call.dialect]
        script = standin.app.script
        script.clear()
        standin.app.host.reset()
        others = {path: (text.encode(), "application/json") for path, text in call.instead.items()}
        script.add(_rules(others))
        try:
            # A list that was asked for before this may be the odd one of the last call; this waits
            # for its end, and no request that comes later gets it.
            await client.get("/api/tags")
            script.clear()
            standin.log.clear()
            script.add(_rules({**others, call.host_path: (answer, kind)}))
            body = None if call.body is None else json.dumps(call.body)
            found = await client.request(call.method, call.path, content=body)
        except httpx.TimeoutException:
            return "no answer in time"
        except httpx.HTTPError as error:
            return f"no whole answer: {error!r}"
        if call.path == call.host_path and found.content == answer:
            return Got(found.status_code, "", found.text, {})  # passed on as it came
        return _understood(found)


def _rules(answers: Mapping[str, tuple[bytes, str]]) -> list[Rule]:
    """Return rules that answer paths with bytes of a content type."""
    return [
        msgspec.convert(
            {
                "match": {"path": path},
                "answer": {
                    "headers": {"content-type": kind},
                    "chunks": [[0, {"base64": base64.b64encode(data).decode()}]],
                },
            },
            Rule,
        )
        for path, (data, kind) in answers.items()
    ]


def _understood(answer: httpx.Response) -> Got | str:
    text = answer.text
    kind = answer.headers.get("content-type", "")
    said, last = "", dict[str, Any]()
    whole = [text] if kind.startswith("application/json") else []
    for part in text.splitlines() if "ndjson" in kind else whole:
        try:
            value = json.loads(part)
        except ValueError:
            return f"not JSON: {part[-200:]!r}"
        last = value if isinstance(value, dict) else {}
        message = last.get("message")
        said += str(last.get("response", ""))
        said += str(message.get("content", "")) if isinstance(message, dict) else ""
    return Got(answer.status_code, said, text, last)


class _Told(logging.Handler):
    def __init__(self, told: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._told = told

    def emit(self, record: logging.LogRecord) -> None:
        self._told.append(record.getMessage()[:300])


@asynccontextmanager
async def checker() -> AsyncIterator[Checker]:
    """Run the gateways and their stand-ins."""
    limits: dict[str, Any] = {"first_byte_timeout_s": 5, "silence_timeout_s": 5}
    # A download that never says that it is over is one that LM Studio does not finish.
    downloads = {"poll_interval_s": 0.01, "stall_timeout_s": 0.05, "away_timeout_s": 0.05}
    # After an answer that cannot be read, a load's end is unknown, and the next request waits.
    models = {"load_timeout_s": 0.1}
    settings = {"upstream": limits, "downloads": downloads, "models": models}
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        standins: dict[str, StandIn] = {}
        clients: dict[str, httpx.AsyncClient] = {}
        for dialect in sorted({call.dialect for call in CALLS}):
            standins[dialect] = await stack.enter_async_context(StandIn(Options()))
            app = make_gateway(standins[dialect].url, settings)
            url = await stack.enter_async_context(serve_app(app))
            client = httpx.AsyncClient(base_url=url, timeout=LIMIT_S, trust_env=False)
            clients[dialect] = await stack.enter_async_context(client)
        found = Checker(standins, clients)
        handler = _Told(found.told)
        before = loop.get_exception_handler()
        loop.set_exception_handler(lambda _, context: found.told.append(str(context)[:300]))
        loggers = [logging.getLogger(), logging.getLogger("uvicorn.error")]
        for logger in loggers:
            logger.addHandler(handler)
        try:
            yield found
        finally:
            for logger in loggers:
                logger.removeHandler(handler)
            loop.set_exception_handler(before)
