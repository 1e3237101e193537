"""
The work of the process that makes explanations for the page: lines of JSON come in and go out.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

import msgspec
import structlog

from ..console.records import Explained, RouteView
from ..faults import StoreFailure
from ..plans.endpoints import ENDPOINTS, PASSTHROUGH
from .asked import Asked, check_json, for_route
from .explaining import explain, explain_each, name_in
from .exporting import as_case, case_name, case_text
from .files import read_request
from .hosts import ask_hosts
from .jobs import Job
from .models import V1
from .problems import NotExplained
from .report import Explanation
from .running import MakeApp
from .text import lines_of, short

_WHERE = "the page"
_MADE = "$context.model.made"
_SAMPLE = {
    "prompt": "Hello",
    "input": "Hello",
    "messages": [{"role": "user", "content": "Hello"}],
}
"""Fields that a route may have, so that it is asked something."""


def run(make_app: MakeApp) -> None:
    """Make each explanation that standard input asks for, by the application that serves."""
    # What the watched gateway logs is nobody's.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    for line in sys.stdin.buffer:
        done = _answer(msgspec.json.decode(line, type=Job), make_app)
        sys.stdout.buffer.write(msgspec.json.encode(done) + b"\n")
        sys.stdout.buffer.flush()


def _answer(job: Job, make_app: MakeApp) -> Explained:
    try:
        if job.exchange is not None:
            return _write_case(job)
        return _view(job, make_app) if job.model else _explain(job, make_app)
    except (NotExplained, StoreFailure) as problem:
        return Explained(problem=str(problem))


def _explain(job: Job, make_app: MakeApp) -> Explained:
    asked = read_request(job.text, job.route or None, _WHERE, None, None)
    check_json(asked.body, _WHERE)
    found = explain(asked, job.settings, make_app)
    return Explained(lines=tuple(lines_of(found)))


def _write_case(job: Job) -> Explained:
    lists = asyncio.run(ask_hosts(job.settings, None))
    models = next((one.lists[V1] for one in lists.there.values() if V1 in one.lists), None)
    name = case_name(str(job.exchange["id"]))
    return Explained(lines=(case_text(as_case(job.exchange, name, models)),))


def _view(job: Job, make_app: MakeApp) -> Explained:
    lists = asyncio.run(ask_hosts(job.settings, job.model))
    asks = list(_asks(job.model))
    found = explain_each(asks, job.settings, make_app, lists)
    views = [_route_view(*each) for each in zip(asks, found, strict=True)]
    return Explained(lines=lists.left_out, routes=tuple(views))


def _asks(model: str) -> Iterator[Asked]:
    """Yield a small request of each route whose body names a model."""
    for endpoint in ENDPOINTS:
        kind = getattr(endpoint.reader, "kind", None)
        if kind is None or "model" not in kind.__struct_fields__ or "{" in endpoint.path:
            continue
        body = {name: value for name, value in _SAMPLE.items() if name in kind.__struct_fields__}
        sent = msgspec.json.encode({"model": model, **body})
        yield for_route(f"{endpoint.method} {endpoint.path}", sent, _WHERE)
    for route in PASSTHROUGH:
        if route.model and route.method == "POST" and "{" not in route.path:
            sent = msgspec.json.encode({route.model: model, **_SAMPLE})
            yield for_route(f"POST {route.path}", sent, _WHERE)


def _route_view(asked: Asked, found: Explanation) -> RouteView:
    model, answer = found.model, found.answer
    sent = next((one for one in reversed(found.calls) if one.purpose == "answer"), None)
    if answer is not None and answer.status >= 400:
        verdict, text = "refused", f"{answer.status}: {_words(answer.body) or answer.text}"
    elif sent is not None:
        verdict, text = "sent", f"{sent.method} {sent.path}"
    else:
        verdict, text = "answered", "by the gateway itself"
    made = [] if sent is None else sent.made
    return RouteView(
        route=f"{asked.method} {asked.path}",
        verdict=verdict,
        text=text,
        asked=name_in(asked) or "",
        name=model.name if model is not None else "",
        key=model.request_key if model is not None else "",
        host=model.host if model is not None else "",
        context=(model.max_context_length or 0) if model is not None else 0,
        can=", ".join(
            name
            for name, value in (model.capabilities if model is not None else {}).items()
            if value == "yes"
        ),
        made=tuple(
            f"{one.path} = {short(one.value, 48)}"
            for one in made
            if any(source.startswith(_MADE) for source in one.sources)
        ),
    )


def _words(body: object) -> str:
    """Return the sentence of an error, in any dialect."""
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict):
        error = error.get("message")
    return error if isinstance(error, str) else ""
