"""
The page's way to an explanation: of a pasted request, of a kept exchange, of a model's name.

Who explains is handed in, since explaining runs the whole application, which this room is a part
of.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias

from ..server.asgi import AsgiClient, Scope
from ..settings.schema import Settings
from ..wire.writing import encode
from .admission import Form
from .answering import HTML, Refused, answer, answer_refused
from .records import Explained
from .snapshot import Snapshots

MOST_BYTES = 1 << 20
"""Bytes that a form with a pasted request may have."""

_TEXT = b"text/plain; charset=utf-8"
_GONE = "This exchange is no longer kept. The setting inspect.requests says how many are."
_NOTHING = "Paste a request, as JSON with its route, or as a line of curl."


Find: TypeAlias = Callable[[str], Awaitable[dict[str, Any] | None]]
"""Returns a kept exchange by its id, None if nobody keeps it."""


class Explainer(Protocol):
    """Makes explanations; none raises, a problem is told in the record."""

    async def explain(self, settings: Settings, text: str, route: str) -> Explained:
        """Explain a request that somebody has pasted."""

    async def view(self, settings: Settings, model: str) -> Explained:
        """Say what each route would make of a model's name."""

    async def write_case(self, settings: Settings, exchange: dict[str, Any]) -> Explained:
        """Return a kept exchange as the text of a case, in one line of the answer."""

    async def aclose(self) -> None:
        """End what still runs."""


class Explaining:
    """Answers the forms that ask for an explanation."""

    def __init__(self, snapshots: Snapshots, explainer: Explainer, find: Find) -> None:
        """Take settings from `snapshots`, and kept exchanges from `find`."""
        self._snapshots = snapshots
        self._explainer = explainer
        self._find = find

    async def serve(self, client: AsgiClient, scope: Scope, form: Form, token: str) -> None:
        """Answer a form; `token` is for the forms of the answer."""
        settings, notes = self._snapshots.explained_hosts()
        text, route = form.get("text", ""), form.get("route", "").strip()
        model, kept = form.get("model", "").strip(), form.get("exchange", "")
        if identifier := form.get("case", ""):
            await self._serve_case(client, scope, settings, identifier)
            return
        if model:
            found = await self._explainer.view(settings, model)
        else:
            if kept:
                exchange = await self._find(kept)
                if exchange is None:
                    await answer_refused(client, scope, Refused(404, "Not kept", _GONE))
                    return
                text = encode(exchange).decode()
            if not text.strip():
                await answer_refused(client, scope, Refused(400, "Nothing", _NOTHING))
                return
            found = await self._explainer.explain(settings, text, route)
        from .rendering import render_explained

        page = render_explained(
            found, notes=notes, text=text, route=route, model=model, kept=kept, token=token
        )
        await answer(client, 422 if found.problem else 200, HTML, page)

    async def aclose(self) -> None:
        """End what still runs."""
        await self._explainer.aclose()

    async def _serve_case(
        self, client: AsgiClient, scope: Scope, settings: Settings, identifier: str
    ) -> None:
        exchange = await self._find(identifier)
        if exchange is None:
            await answer_refused(client, scope, Refused(404, "Not kept", _GONE))
            return
        found = await self._explainer.write_case(settings, exchange)
        if found.problem:
            await answer_refused(client, scope, Refused(422, "No case", found.problem))
            return
        client.add_header("content-disposition", 'attachment; filename="report.yaml"')
        await answer(client, 200, _TEXT, "".join(found.lines).encode("utf-8", "replace"))
