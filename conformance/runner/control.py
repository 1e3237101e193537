"""
The stand-in as the runner needs it: started, reset, scripted, and asked what it saw.

Only the control interface `/__standin/` is used; nothing of the stand-in's inside is known here.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from conformance.runner.client import ask
from conformance.standin import Options, StandIn
from conformance.suite.judge import Seen


class ControlRefused(Exception):
    """The stand-in did not take a control request; says which and why."""


@dataclass(frozen=True)
class Control:
    """The control interface at a stand-in's address."""

    url: str

    async def reset(self) -> None:
        """Forget rules and requests, and put the models back to where they started."""
        await self._post("reset", None)

    async def script(self, rules: Sequence[Mapping[str, Any]]) -> None:
        """Set the rules for the requests to come."""
        if rules:
            await self._post("script", list(rules))

    async def change_models(self, change: Mapping[str, Any]) -> None:
        """Load, unload or otherwise change a model without the gateway's knowledge."""
        await self._post("model", dict(change))

    async def seen(self, at_least: int = 0, limit_ms: int = 0) -> list[Seen]:
        """Return what arrived since the last reset, waiting so long for so many requests."""
        target = f"/__standin/seen?wait={at_least}&timeout_ms={limit_ms}"
        answer = await ask(self.url, "GET", target)
        value = json.loads(answer.body)
        entries = value["requests"] if isinstance(value, dict) else value
        return [_read_seen(entry) for entry in entries]

    async def _post(self, name: str, value: Any) -> None:
        body = msgspec.json.encode(value) if value is not None else b"{}"
        answer = await ask(self.url, "POST", f"/__standin/{name}", body=body)
        if answer.status >= 300:
            text = answer.body.decode("utf-8", "replace")
            raise ControlRefused(f"stand-in refused {name} with {answer.status}: {text}")


def _read_seen(entry: Mapping[str, Any]) -> Seen:
    if "body_base64" in entry:
        body = base64.b64decode(entry["body_base64"])
    else:
        body = b"" if entry["body"] is None else msgspec.json.encode(entry["body"])
    headers = {name.lower(): value for name, value in entry["headers"].items()}
    return Seen(entry["method"], entry["path"], headers, body)


@asynccontextmanager
async def open_standin(host: Mapping[str, Any]) -> AsyncIterator[Control]:
    """
    Start a stand-in; `host` holds a case's `host:` part. Yields its control.

    Beside what a case may say, `fixtures` is a folder to answer from.
    """
    changes = dict(host)
    if "version" in changes:
        changes["host_version"] = changes.pop("version")
    if "catalogue" in changes:
        changes["models"] = changes.pop("catalogue")
    if "fixtures" in changes:
        changes["fixtures"] = Path(changes["fixtures"])
    options = msgspec.convert(changes, Options)
    async with StandIn(options) as standin:
        yield Control(standin.url)
