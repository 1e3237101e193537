"""
The list of models that a request's name is looked up in, and which list that is.

A file that is given wins. Else LM Studio is asked for its lists, which changes nothing there. If it
does not answer, the name is taken to be a model of which nothing is known.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..calls import host
from ..faults import UpstreamFailure
from ..settings.schema import UpstreamSettings
from ..upstream.client import Upstream
from .files import of_fixture, parse
from .problems import NotExplained

V1, V0, OPENAI = host.list_v1().path, host.list_v0().path, host.list_openai().path
"""The paths of LM Studio's three lists of models."""

ASK_S = 3.0
"""Seconds that LM Studio may take for one list."""


@dataclass(frozen=True)
class Models:
    """LM Studio's lists by their paths, as JSON values, and where they come from."""

    source: Literal["file", "host", "assumed"]
    where: str
    lists: Mapping[str, Any]

    @property
    def count(self) -> int:
        """How many models there are."""
        return len(rows_of(self))


def read_models(path: Path) -> Models:
    """Return the list of a file, in any of LM Studio's three forms. Raises NotExplained."""
    try:
        text = path.read_text("utf-8")
    except OSError as problem:
        raise NotExplained(f"--models: {path} can't be read: {problem.strerror}") from None
    value = parse(text, str(path))
    if isinstance(value, Mapping) and "chunks" in (value.get("response") or {}):
        value = parse(b"".join(of_fixture(value, str(path)).pieces).decode(), str(path))
    if not _rows(value):
        raise NotExplained(
            f"--models: {path} is not a list of LM Studio's; save one with "
            f"`curl -s http://127.0.0.1:1234{V1}`"
        )
    return Models("file", str(path), with_openai({_path_of(value): value}))


async def ask_models(settings: UpstreamSettings, asked: str | None) -> Models:
    """Return what LM Studio lists now; if it does not answer, what is assumed of a name."""
    upstream = Upstream(settings)
    lists: dict[str, Any] = {}
    reason = "it lists no models"
    try:
        for path in (V1, V0, OPENAI):
            try:
                async with asyncio.timeout(ASK_S):
                    answer = await upstream.probe(path)
            except UpstreamFailure as failure:
                reason = failure.message
                break
            except TimeoutError:
                reason = f"no answer within {ASK_S:g} s"
                break
            value = _json(answer.body)
            if answer.status == 200 and _is_list(value):
                lists[path] = value
    finally:
        await upstream.aclose()
    if lists:
        return Models("host", settings.url, lists)
    return assume(asked, f"LM Studio at {settings.url} was not asked: {reason}")


def assume(asked: str | None, why: str) -> Models:
    """Return a list with the one model that a name is taken for; nothing else is known of it."""
    name = (asked or "").strip()
    key = name.removesuffix(":latest")
    rows = [{"id": key, "object": "model", "owned_by": "unknown"}] if key else []
    return Models("assumed", why, {OPENAI: {"object": "list", "data": rows}})


def with_openai(lists: dict[str, Any]) -> dict[str, Any]:
    """Return lists with the plain one made from a richer one, if it is not among them."""
    if OPENAI in lists:
        return lists
    rows = [row for value in lists.values() for row in _rows(value)]
    keys = [row.get("key", row.get("id")) for row in rows]
    data = [{"id": key, "object": "model", "owned_by": "organization_owner"} for key in keys]
    return {**lists, OPENAI: {"object": "list", "data": data}}


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _is_list(value: Any) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("models", value.get("data")), list)


def rows_of(models: Models) -> list[dict[str, Any]]:
    """Return the rows of the richest list."""
    return next(
        (_rows(models.lists[path]) for path in (V1, V0, OPENAI) if path in models.lists), []
    )


def _rows(value: Any) -> list[dict[str, Any]]:
    if not _is_list(value):
        return []
    rows = value.get("models", value.get("data"))
    return [row for row in rows if isinstance(row, dict)]


def _path_of(value: Mapping[str, Any]) -> str:
    if "models" in value:
        return V1
    rows = _rows(value)
    return V0 if any("state" in row or "arch" in row for row in rows) else OPENAI
