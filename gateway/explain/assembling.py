"""
The explanation put together from what was seen: the trace, the host's requests, the answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET

from ..passthrough.routes import Routes
from ..plans.endpoints import ENDPOINTS, PASSTHROUGH
from ..server.asgi import HOST
from ..server.dialects import LMSTUDIO_MOUNTS, MOUNTS
from ..server.own_requests import Sent
from ..server.routes import RouteTable
from .asked import Asked
from .fields import Fates, made_by, unmade_by
from .host import Request
from .index import Module, Origin, RuleIndex, StepEntry
from .models import Models
from .report import (
    AnswerPart,
    AskedPart,
    CallPart,
    ChangedPart,
    ChunkPart,
    Explanation,
    FieldPart,
    Made,
    ModelPart,
    ModelsPart,
    StepPart,
    WayKind,
)
from .steps import step_parts
from .trace import Ran, Trace

_HIDDEN = ("authorization", "x-api-key", "cookie", "proxy-authorization")
_OWN = "calls/host.py"
_ANSWERED = ("date", "server", "x-request-id", "content-length", "transfer-encoding")
"""Headers of an answer that say nothing of its translation."""


class Way:
    """Which way a request takes: the plan, the table of what is passed on, or neither."""

    def __init__(self, asked: Asked) -> None:
        """Find the way of a request by the tables that the gateway serves by."""
        entries = [(one.method, one.path) for one in ENDPOINTS]
        mounts = [*MOUNTS, *LMSTUDIO_MOUNTS]
        table = RouteTable(entries, mounts)
        route = table.find(asked.path)
        method = "GET" if asked.method == "HEAD" else asked.method
        self.kind: WayKind = "edge"
        self.route, self.module, self.source = asked.path, "", ""
        if route is not None and method in route.methods:
            endpoint = next(
                one for one in ENDPOINTS if (one.method, one.path) == (method, route.template)
            )
            self.kind, self.route = "plan", f"{method} {route.template}"
            self.module = _module_of(endpoint.plan)
            kind = getattr(endpoint.reader, "kind", None)
            self.source = f"ollama:{kind.__name__}" if kind is not None else ""
        elif route is None and table.mount_of(asked.path) is not None:
            row, _ = Routes(PASSTHROUGH).find(method, asked.path)
            self.kind, self.route = "passed on", f"{row.method or 'any'} {row.path}"
            functions: list[Any] = [one.values for one in (*row.request, *row.answer, *row.stream)]
            functions += [one for one in (row.first, row.instead) if one is not None]
            self.module = _module_of(functions[0]) if functions else ""


def _module_of(function: Any) -> str:
    """Return a generated module's path in the package, as the index has it."""
    return "/".join(function.__module__.split(".")[-2:]) + ".py"


class Assembly:
    """One explanation while it is put together."""

    def __init__(
        self,
        asked: Asked,
        way: Way,
        trace: Trace,
        seen: list[Request],
        sent: Sent,
        index: RuleIndex,
    ) -> None:
        self._asked = asked
        self._way = way
        self._trace = trace
        self._seen = [one for one in seen if one.method != "CONNECT"]
        self._sent = sent
        self._index = index
        self._module = index.modules.get(way.module) or Module(mapping="")
        self._body = as_json(asked.body) if asked.body else UNSET
        asks = [one for one in self._seen if one.purpose == "answer"]
        if way.kind == "passed on":
            asks = [one for one in self._seen if one.path == asked.path] or asks
        self._main = asks[-1] if asks else None

    def explanation(self, models: Models, notes: list[str]) -> Explanation:
        """Return the explanation."""
        way, asked = self._way, self._asked
        steps = self._steps()
        return Explanation(
            request=AskedPart(
                method=asked.method,
                path=asked.path,
                source=asked.source,
                body=self._body,
                body_bytes=len(asked.body or b""),
            ),
            way=way.kind,
            route=way.route,
            mapping=self._module.mapping,
            models=ModelsPart(source=models.source, where=models.where, count=models.count),
            model=self._model(),
            steps=steps,
            fields=self._fields(steps),
            changed=self._changed("request") + (self._changed("answer") if self._main else []),
            calls=[self._call(one) for one in self._seen],
            way_back=self._way_back(),
            answer=self._answer() if self._sent.status else None,
            notes=notes,
        )

    # -- the plan -----------------------------------------------------------------------------

    def _entries(self) -> tuple[StepEntry, ...]:
        name = "first" if self._way.kind == "passed on" else "plan"
        return self._module.steps.get(name, ())

    def _steps(self) -> list[StepPart]:
        return step_parts(self._entries(), self._trace, self._seen)

    def _model(self) -> ModelPart | None:
        context = self._trace.context
        row = context.resolved if context is not None else None
        if row is None:
            return None
        longest = row.max_context_length
        return ModelPart(
            asked=context.asked.text,
            name=row.name,
            key=row.key,
            request_key=row.request_key,
            host=self._host(),
            capabilities=msgspec.to_builtins(row.capabilities),
            loaded=[msgspec.to_builtins(one) for one in row.instances],
            max_context_length=longest if isinstance(longest, int) else None,
            derived=row.made is not UNSET,
        )

    def _host(self) -> str:
        """Return the host that the request got to, or that the answer tells."""
        if self._main is not None:
            return self._main.host
        told = dict(self._sent.headers)
        return told.get(HOST.decode(), "")

    # -- fields and changes -------------------------------------------------------------------

    def _fields(self, steps: list[StepPart]) -> list[FieldPart]:
        if not isinstance(self._body, Mapping):
            return []
        if self._way.kind == "plan":
            origin, result = self._target()
            stopped = next((one for one in steps if one.verdict in ("refused", "ended")), None)
            ended = ""
            if origin is None and stopped is not None:
                ended = f"the request ended at {stopped.at} ({stopped.kind} {stopped.what})"
            mapping = self._way.module.removeprefix("plans/").removesuffix(".py")
            known = self._index.fields_of(mapping, self._way.source)
            fates = Fates(known, self._entries(), origin, result, self._index, ended)
            return fates.of(self._body)
        if self._way.kind == "passed on":
            changed = {one.path: one for one in self._changed("request")}
            return [_passed(name, value, changed.get(name)) for name, value in self._body.items()]
        return []

    def _target(self) -> tuple[Origin | None, Any]:
        """Return what was made of the request, a call or an answer, and its rules."""
        for ran in reversed(self._trace.ran):
            if ran.module != self._way.module or ran.result is None:
                continue
            if (origin := self._module.origin(ran.function, "request")) is not None:
                body = as_json(self._main.body) if self._main is not None else ran.result
                return origin, body
            if (origin := self._module.origin(ran.function, "answer")) is not None:
                return origin, ran.result
        return None, None

    def _changed(self, side: str) -> list[ChangedPart]:
        found: list[ChangedPart] = []
        ran = {one.function: one for one in self._trace.ran if one.module == self._way.module}
        for name, origins in self._module.functions.items():
            for origin in origins:
                if origin.kind == "change" and origin.name == side:
                    found += _changes(origin, ran.get(name))
                elif origin.kind == "rewrite" and origin.name == side:
                    found += _rewrites(origin, ran.get(name))
        return found

    # -- calls --------------------------------------------------------------------------------

    def _call(self, request: Request) -> CallPart:
        body = as_json(request.body) if request.body else UNSET
        part = CallPart(
            purpose=request.purpose,
            method=request.method,
            path=request.target,
            headers={
                name: "(hidden)" if name in _HIDDEN else value
                for name, value in request.headers.items()
            },
            host=request.host,
            body=body,
        )
        origin: Origin | None = None
        is_main = request is self._main or request.purpose == "answer"
        if is_main and self._way.kind == "plan":
            origin, _ = self._target()
            origin = origin if origin is not None and origin.kind == "request" else None
        elif own := self._index.modules.get(_OWN):
            origin = own.origin(f"{request.purpose}_request", "request")
        if is_main:
            part.purpose = "answer"
        if origin is not None:
            part.made, part.unmade = (
                made_by(origin, body, self._index),
                unmade_by(origin, body, self._body) if is_main else [],
            )
        return part

    # -- the way back -------------------------------------------------------------------------

    def _way_back(self) -> list[ChunkPart]:
        parts: list[ChunkPart] = []
        before: dict[str, Any] = {}
        for ran in self._trace.ran:
            if ran.module != self._way.module:
                continue
            if ran.function.endswith(("Stream.chunk", "Stream.end")):
                origin = self._module.origin(ran.function, "frame", "end")
                fresh = {k: v for k, v in ran.state.items() if before.get(k, UNSET) != v}
                before = ran.state
                parts.append(self._chunk(ran, ran.given.get("chunk"), origin, fresh))
            elif (origin := self._module.origin(ran.function, "response", "report")) is not None:
                given = ran.given.get("response", ran.given.get("source"))
                parts.append(self._chunk(ran, given, origin, {}))
            elif (origin := self._module.origin(ran.function, "rewrite")) is not None:
                parts += _rewritten_events(ran, origin)
            elif ran.members and (origin := self._of_stream(ran.function)) is not None:
                parts.append(_changed_event(ran, origin))
        return parts

    def _of_stream(self, function: str) -> Origin | None:
        origin = self._module.origin(function, "change")
        return origin if origin is not None and origin.name == "stream" else None

    def _chunk(
        self, ran: Ran, chunk: Any, origin: Origin | None, fresh: dict[str, Any]
    ) -> ChunkPart:
        made = made_by(origin, ran.result, self._index) if origin and ran.result else []
        return ChunkPart(chunk=chunk, frame=ran.result, made=made, remembered=fresh)

    def _answer(self) -> AnswerPart:
        sent = self._sent
        headers = {name: value for name, value in sent.headers if name not in _ANSWERED}
        part = AnswerPart(status=sent.status, headers=headers)
        kind = headers.get("content-type", "")
        if "ndjson" in kind:
            part.lines = [as_json(line) for line in sent.body.splitlines() if line]
        elif "json" in kind and "event-stream" not in kind:
            part.body = as_json(sent.body)
        else:
            part.text = sent.body.decode("utf-8", "replace")
        part.row = self._row()
        origin, result = self._target()
        if origin is not None and origin.kind == "answer":
            part.made = made_by(origin, result, self._index)
        elif part.body is not UNSET and not part.row:
            part.made = self._folded(part.body)
        return part

    def _folded(self, body: Any) -> list[Made]:
        """Return the fields of a one-shot answer with the rules of its last frame."""
        names = [name for name in self._module.functions if name.endswith("Stream.end")]
        ran = {one.function for one in self._trace.ran}
        for name in names:
            origin = self._module.origin(name, "end")
            if name in ran and origin is not None:
                return made_by(origin, body, self._index)
        return []

    def _row(self) -> str:
        for ran in reversed(self._trace.ran):
            rows = self._index.modules[ran.module].rows.get(ran.function, ())
            for row in rows:
                if row.line == ran.line:
                    return f"{row.at} ({row.what})"
        return ""


def as_json(data: bytes) -> Any:
    """Return the value of JSON bytes; other bytes as text."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return data.decode("utf-8", "replace")


def _passed(name: str, value: Any, changed: ChangedPart | None) -> FieldPart:
    if changed is None or changed.verdict != "changed":
        return FieldPart(path=name, value=value, verdict="passed on", why="as it came")
    return FieldPart(
        path=name,
        value=value,
        verdict="passed on",
        at=changed.at,
        why=f"{changed.how}: {changed.why}",
    )


def _changes(origin: Origin, ran: Ran | None) -> list[ChangedPart]:
    parts = []
    for rule in origin.rules:
        part = ChangedPart(
            side=origin.name,
            path=rule.field,
            verb=origin.verb,
            at=rule.at,
            how=rule.how,
            why=origin.why,
            verdict="as it came",
        )
        if ran is None:
            part.verdict = "not asked for"
            part.why += f" (only when {origin.when})" if origin.when else ""
        else:
            _compare(part, ran)
        parts.append(part)
    return parts


def _rewrites(origin: Origin, ran: Ran | None) -> list[ChangedPart]:
    """Return what a rewriter has done to the answer; the first change that says something."""
    parts = _changes(origin, ran and Ran(ran.module, ran.function))
    if ran is None or not ran.rewritten:
        return parts
    chunk, after = next((one for one in ran.rewritten if one[1]), ran.rewritten[0])
    for part in parts:
        part.verdict = "changed"
        part.before = (chunk or {}).get(part.path, UNSET)
        part.after = [one.get(part.path) for one in after]
    return parts


def _rewritten_events(ran: Ran, origin: Origin) -> list[ChunkPart]:
    """Return the chunks that a rewriter has changed, each with all that came in its place."""
    return [
        ChunkPart(
            chunk=chunk,
            frame=after[0] if len(after) == 1 else after,
            made=[
                Made(path=rule.field, value=one.get(rule.field), at=rule.at, how=rule.how)
                for rule in origin.rules
                for one in after
            ],
        )
        for chunk, after in ran.rewritten
    ]


def _compare(part: ChangedPart, ran: Ran) -> None:
    members = ran.given.get("members") or {}
    before = members.get(part.path, UNSET)
    part.before = before
    given = (ran.members or {}).get(part.path)
    if part.verb == "remove":
        part.verdict = "changed" if before is not UNSET else "as it came"
        return
    if given is None or (part.verb == "add" and before is not UNSET and before is not None):
        return
    after = as_json(given)
    if before is UNSET or before != after:
        part.after, part.verdict = after, "changed"


def _changed_event(ran: Ran, origin: Origin) -> ChunkPart:
    parts = _changes(origin, ran)
    after = dict(ran.given.get("members") or {})
    for part in parts:
        if part.verdict == "changed":
            if part.verb == "remove":
                after.pop(part.path, None)
            else:
                after[part.path] = part.after
    made = [
        Made(path=one.path, value=one.after, at=one.at, how=one.how)
        for one in parts
        if one.verdict == "changed" and one.verb != "remove"
    ]
    return ChunkPart(chunk=ran.given.get("members"), frame=after, made=made)
