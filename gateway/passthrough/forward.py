"""
LM Studio's own routes, passed through: only what rules name is changed.

The generated table says for each route which members are changed, which member names a model, and
which answer is made without LM Studio (`gateway/runtime/patching.py`). A body that is not JSON is
streamed and never sent twice. Errors of the gateway have the caller's dialect.
"""

# Long because one request, its rights, its changes and its next host meet here.

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Iterable
from functools import partial
from io import BytesIO

import msgspec
from msgspec import UNSET, UnsetType

from ..calls.shared import recovery_for
from ..engine.failures import Failures
from ..engine.limits import check_depth, check_depth_in_steps, check_raw_counts
from ..engine.model_check import ModelCheck
from ..engine.run import NEAREST, Run, Services, allowed
from ..faults import Refusal, UpstreamFailure, afresh
from ..fleet.failover import end, may_move, move
from ..fleet.host import Host
from ..fleet.needs import note_passed_needs
from ..fleet.ticket import Ticket
from ..lifecycle.lifecycle import Lease
from ..observability.record import current
from ..runtime.context import NOTHING, RequestContext
from ..runtime.patching import Change, PassedOn, Rewrite, changed, due
from ..server.asgi import AsgiClient, Receive, Scope, body_pieces, header
from ..server.bodies import body_too_large
from ..server.dialects import MOUNTS
from ..settings.schema import Settings
from ..types import internal
from ..wire.encodings import NotPacked, TooLong, UnknownEncoding, readable, unpacked_pieces
from ..wire.lenient import UNREADABLE
from ..wire.reading import AT_ONCE
from ..wire.writing import JSON
from .answers import look_at, patch_answer
from .hiding import HIDE_MODELS
from .json_members import join_members, members_of
from .large import join_in_steps, read_members
from .remembered import Remembered
from .rewriting import EventRewriter
from .routes import Routes
from .sending import conclude, refuse
from .several import SeveralHosts

WARNING = "x-olgate-warning"
HINT = "x-olgate-hint"
UNKNOWN_HINT = 'the setting models.unknown may be "nearest", or name a model that serves instead'
NAMED_MODEL = "this key needs a JSON body that names a model (keys.NAME.models)"
_OUR_TOKEN_REFUSED = (401, 403)
"""A client's key is not forwarded, so with these LM Studio refuses the gateway's token."""
_JSON_LIKE = re.compile("json|text/plain|x-www-form-urlencoded")

_CONDITIONAL = (
    b"if-none-match",
    b"if-modified-since",
    b"if-range",
    b"range",
    b"accept-encoding",
)
"""Request headers that can get an answer without a body, a part of it, or a packed one."""


class Passthrough:
    """Forwards requests below the mounted prefixes."""

    def __init__(
        self,
        settings: Settings,
        services: Services,
        check: ModelCheck,
        routes: Iterable[PassedOn],
    ) -> None:
        self._settings = settings
        self._services = services
        self._catalogue = services.catalogue
        self._fleet = services.fleet
        self._several = SeveralHosts(services.fleet, settings)
        self._remembered = Remembered(services.fleet)
        self._check = check
        self._routes = Routes(routes)
        self._failures = Failures(settings)
        self._turns = services.turns
        self._bodies = services.bodies

    def use(self, settings: Settings) -> None:
        """Use other settings for the requests to come."""
        self._settings = settings
        self._catalogue = self._services.catalogue

    async def serve(self, scope: Scope, receive: Receive, client: AsgiClient) -> None:
        """Forward one request. `receive` is given up once the body is read."""
        lease = None
        host, ticket = self._fleet.first, None
        path: str = scope["path"]
        record = current()
        route, values = self._routes.find(scope["method"], path)
        context = RequestContext(self._settings, header(scope, b"user-agent"), values)
        grant = context.grant = client.grant
        try:
            if client.pinned is not None or not self._fleet.is_one:
                ticket = self._fleet.ticket(client.pinned)
            body: bytes | AsyncIterator[bytes] | None = None
            if route.reads_kept and self._catalogue.keeps_names:
                made = await self._catalogue.made()
                context.kept_models = made if grant is None else allowed(made, grant)
            if route.reads_models:
                listed = await self._catalogue.listed()
                context.models = listed if grant is None else allowed(listed, grant)
            has_body = _has_body(scope)
            if has_body and not _is_json(scope):
                if grant is not None and grant.hides_models:
                    raise Refusal(415, NAMED_MODEL)
                body = body_pieces(receive)
            else:
                # Not by a name of its own: the body is kept no longer than it is needed.
                body = await self._bodies.receive(receive, client)
                limits = context.settings.limits
                if has_body:
                    if header(scope, b"content-encoding"):
                        body = await self._unpacked(
                            scope, body, client, context.settings.limits.body_bytes
                        )
                    if len(body) > AT_ONCE:
                        await self._turns.run(check_depth_in_steps(body, limits))
                    else:
                        check_depth(body, limits)
                else:
                    body = None
            # Another host may need other changes, so it is kept where there is another one.
            came = None if ticket is None else body
            while True:
                try:
                    if ticket is not None and (route.session_below or route.session in values):
                        await self._remembered.pin_by_path(route, values, path, ticket)
                    if route.path_model:
                        await self._name_model(values[route.path_model], context, ticket)
                    if isinstance(body, bytes):
                        body = await self._patched(body, route, context, ticket)
                    if route.missing is not None and context.resolved is None:
                        raise afresh(route.missing)
                    is_unnamed = bool(route.model) and context.resolved is None and has_body
                    if grant is not None and is_unnamed and grant.hides_models:
                        # LM Studio would choose one.
                        raise Refusal(400, NAMED_MODEL)
                    if route.instead is not None and await self._answer_instead(
                        route, context, client
                    ):
                        return
                    if ticket is not None:
                        if route.union is not None and ticket.pinned is None:
                            united = await self._several.united(route, context)
                            if united is not None:
                                await client.answer(200, JSON, united)
                                return
                        if route.home:
                            await self._several.find_home(route, values, body, ticket)
                        host = ticket.host or self._fleet.default(ticket)
                        context.upstream_url, client.served_by = host.upstream.url, host.name
                        if route.model and not route.changes_models:
                            self._fleet.draining.refuse(host)
                    changes, on_stream = due(route.answer, context), due(route.stream, context)
                    rewrites = due(route.rewrites, context)
                    # The members are the body once more, which is kept no longer than it is needed.
                    context.sent = NOTHING
                    is_asked = not (route.changes_models or route.path_model or route.looked_up)
                    row = context.resolved
                    if route.model and row is None:
                        changes = on_stream = ()
                    if row is not None and is_asked:
                        record.model, record.is_model_known = row.name, True
                        lease = host.lifecycle.lease(row, num_ctx=_context_length(row.made))
                        await lease.prepare()
                        record.read_ns = context.started_ns
                        record.ready_ns = time.perf_counter_ns() - context.started_ns
                    failed = await self._forward(
                        scope,
                        body,
                        route,
                        changes,
                        on_stream,
                        rewrites,
                        context,
                        host,
                        lease,
                        client,
                        ticket,
                    )
                    if failed is None or ticket is None:
                        break
                    move(ticket, failed)
                    del failed
                except UpstreamFailure as failure:
                    if ticket is None or not self._may_move(
                        failure, route, came, context, ticket, client
                    ):
                        raise
                    move(ticket, failure)
                body = came
                context.warnings.clear()
                if lease is not None:
                    lease.release()
                    lease = None
        except BaseException as problem:
            if ticket is not None:
                ticket.note(problem)
                problem = self._remembered.explained(problem, ticket, context)
            told = partial(refuse, path=path, client=client)
            if not await self._failures.conclude(problem, client, told, context, path):
                raise
        finally:
            if lease is not None:
                lease.release()
            if ticket is not None:
                end(self._fleet, ticket)
            if route.changes_models:
                self._catalogue.invalidate()

    def _may_move(
        self,
        failure: UpstreamFailure,
        route: PassedOn,
        body: bytes | AsyncIterator[bytes] | None,
        context: RequestContext,
        ticket: Ticket,
        client: AsgiClient,
    ) -> bool:
        """Return whether a request goes to another host, and take a retry if it does."""
        return (
            not client.is_started
            # A load or an unload is meant for the host that it was sent to.
            and not route.changes_models
            and isinstance(body, bytes | None)
            and may_move(self._fleet, ticket, failure, context.started_ns)
        )

    async def _unpacked(self, scope: Scope, body: bytes, client: AsgiClient, limit: int) -> bytes:
        """
        Return a body without its content encoding; that header goes too: a name in it must be read.

        Raises Refusal: 415 for an encoding that is not read here, 400 for bytes not in that
        encoding, 413 for what grows beyond the limit, 503 for what there is no room for.
        """
        encoding = header(scope, b"content-encoding")
        whole, since = BytesIO(), 0
        try:
            for piece in unpacked_pieces(body, encoding, limit):
                await self._bodies.take(client, len(piece))
                whole.write(piece)
                since += len(piece) + 1
                if since > AT_ONCE:
                    since = 0
                    await self._turns.pause()
        except UnknownEncoding:
            words = (
                f"content-encoding {encoding} is not read here: send one of {readable()}, or none"
            )
            raise Refusal(415, words) from None
        except NotPacked:
            words = f"the body is not whole, or not {encoding}, as content-encoding says"
            raise Refusal(400, words) from None
        except TooLong:
            raise body_too_large(limit) from None
        scope["headers"] = [item for item in scope["headers"] if item[0] != b"content-encoding"]
        return whole.getvalue()

    async def _patched(
        self, body: bytes, route: PassedOn, context: RequestContext, ticket: Ticket | None
    ) -> bytes:
        """
        Return the body with what the route changes in it; the body itself when nothing is.

        Where it names a model, `context.model` is there afterwards. Raises Refusal (400 for more
        than a request may hold, 404 for a model that nobody knows) and UpstreamFailure.
        """
        if not (route.model or route.request or route.session):
            return body
        is_large = len(body) > AT_ONCE
        if is_large:
            members = await self._turns.run(read_members(body, context.settings.limits))
        else:
            members = members_of(body)
            check_raw_counts(body, members or {}, context.settings.limits)
        if members is None:
            # LM Studio reports a body that is not an object.
            return body
        context.sent = members
        if ticket is not None:
            note_passed_needs(ticket, members, route.model)
            if route.session:
                await self._remembered.pin_by_member(members.get(route.session), ticket)
        if route.model and not await self._find_model(
            members.get(route.model), route, context, ticket
        ):
            return body
        if route.first is not None:
            run = Run(context, self._services)
            run.is_large = is_large
            await route.first(members, run)
        changes = due(route.request, context)
        if not is_large:
            after = changed(members, changes, context)
            return body if after is None else join_members(after)
        after = await self._turns.apart(changed, members, changes, context)
        return body if after is None else await self._turns.run(join_in_steps(after))

    async def _answer_instead(
        self, route: PassedOn, context: RequestContext, client: AsgiClient
    ) -> bool:
        """Send the answer that a route's rules make; return whether there is one."""
        assert route.instead is not None
        made = route.instead(context.sent, context)
        if made is UNSET:
            return False
        if route.warning:
            client.add_header(WARNING, route.warning)
        await client.answer(200, JSON, msgspec.json.encode(made))
        return True

    async def _find_model(
        self,
        name: msgspec.Raw | None,
        route: PassedOn,
        context: RequestContext,
        ticket: Ticket | None,
    ) -> bool:
        """Look up a model by the raw name in a body; tell whether there was a name at all."""
        try:
            asked = None if name is None else msgspec.json.decode(name)
        except UNREADABLE:
            return False
        if not isinstance(asked, str) or not asked.strip():
            return False
        is_inference = route.path.startswith(MOUNTS)
        await self._name_model(asked, context, ticket, is_inference=is_inference)
        return True

    async def _name_model(
        self,
        asked: str,
        context: RequestContext,
        ticket: Ticket | None,
        *,
        is_inference: bool = False,
    ) -> None:
        """
        Set the context's model to the one that a name stands for. Raises Refusal (404).

        With `is_inference` an unknown name may be served by another model (`models.unknown`).
        """
        if ticket is None:
            row = await self._catalogue.find(asked, trust_loaded=True)
        else:
            row = await self._fleet.choose(ticket, asked, trust_loaded=True)
        grant = context.grant
        if grant is not None and row is not None and not grant.allows_model(row.name, row.key):
            row = None
        if row is None:
            near = self._catalogue.nearest(asked)
            if grant is not None:
                near = [each for each in near if grant.allows_model(each)]
            if is_inference:
                row = await self._instead_of(asked, near, context, ticket)
        if row is None:
            if ticket is not None:
                self._remembered.refuse_other(asked, ticket)
            headers = [(NEAREST, ", ".join(near))] if near else []
            if is_inference and context.settings.models.unknown == "refuse":
                headers.append((HINT, UNKNOWN_HINT))
            raise Refusal(404, f"model '{asked}' not found", tuple(headers))
        context.model = row
        context.asked = internal.AskedName(
            text=asked, trimmed=asked.strip(), display=row.name, full=row.name
        )

    async def _instead_of(
        self, asked: str, near: list[str], context: RequestContext, ticket: Ticket | None
    ) -> internal.CatalogueRow | None:
        """Return the model that serves in place of an unknown one, None if none may."""
        wanted = context.settings.models.unknown
        if wanted == "refuse":
            return None
        if wanted == "nearest":
            if len(near) != 1:
                return None
            wanted = near[0]
        if ticket is None:
            row = await self._catalogue.find(wanted, trust_loaded=True)
        else:
            row = await self._fleet.choose(ticket, wanted, trust_loaded=True)
        grant = context.grant
        if grant is not None and row is not None and not grant.allows_model(row.name, row.key):
            return None
        if row is not None:
            context.warnings.append(f"{asked!r} is unknown; {row.name} answers (models.unknown)")
        return row

    async def _forward(
        self,
        scope: Scope,
        body: bytes | AsyncIterator[bytes] | None,
        route: PassedOn,
        changes: tuple[Change, ...],
        on_stream: tuple[Change, ...],
        rewrites: tuple[Rewrite, ...],
        context: RequestContext,
        host: Host,
        lease: Lease | None,
        client: AsgiClient,
        ticket: Ticket | None,
    ) -> UpstreamFailure | None:
        """
        Send a request to a host and its answer to the client; return a failure to move for.

        Raises UpstreamFailure for faults of the wire, and Refusal for a route that is not there.
        """
        target: str = scope["raw_path"].decode("latin-1")
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode("latin-1")
        path: str = scope["path"]
        headers = list(scope["headers"])
        row = None if lease is None else context.model
        grant = context.grant
        hidden = (HIDE_MODELS,) if grant is not None and row is None and grant.hides_models else ()
        gives = route.gives if ticket is not None else ()
        if changes or hidden or gives:
            headers = [item for item in headers if item[0] not in _CONDITIONAL]
        may_repeat = isinstance(body, bytes)
        record = current()
        sign_of_life_s = context.settings.answers.sign_of_life_s
        rewriting = None
        marks: tuple[bytes, ...] | None = None if on_stream else ()
        if row is not None:
            rewriting = partial(EventRewriter, on_stream, rewrites, context, path)
            for one in rewrites:
                marks = None if marks is None or not one.marks else marks + one.marks
        is_ollama = context.settings.answers.openai == "ollama" and path.startswith(MOUNTS)
        while True:
            async with host.upstream.forward(scope["method"], target, headers, body) as answer:
                chunks = answer.chunks()
                start = await look_at(
                    answer,
                    chunks,
                    is_inference=row is not None,
                    most_changed=self._settings.limits.body_bytes if changes or hidden else 0,
                    named_by=route.answered_by,
                )
                failure = start.failure
                if failure is not None and failure.fault == "unknown_endpoint":
                    if route.lacking is not None:
                        raise afresh(route.lacking)
                    if not route.method:
                        # Nobody says that there is such a route; a described one is missed (501).
                        raise Refusal(404, f"LM Studio has no such route: {failure.message}")
                if answer.status in _OUR_TOKEN_REFUSED:
                    if failure is None:
                        raise UpstreamFailure("no reason given", status=answer.status)
                    raise afresh(failure)
                if failure is None and row is not None and start.model:
                    warning = self._check.warning(row, start.model, host.catalogue)
                    if warning is not None:
                        client.add_header(WARNING, warning)
                if (
                    ticket is not None
                    and failure is not None
                    and self._may_move(failure, route, body, context, ticket, client)
                ):
                    return failure
                how = None if failure is None else recovery_for(failure)
                if failure is None or lease is None or not may_repeat or how is None:
                    if start.is_whole:
                        start = patch_answer(answer, start, changes, rewrites, context)
                    if start.is_whole and hidden:
                        start = patch_answer(answer, start, hidden, (), context)
                    for text in context.warnings:
                        client.add_header(WARNING, text)
                    await conclude(
                        answer,
                        start,
                        answer.each,
                        path,
                        client,
                        sign_of_life_s,
                        rewriting,
                        marks,
                        is_ollama=is_ollama,
                        given=self._remembered.listener(route, host)
                        if gives and failure is None
                        else None,
                    )
                    if ticket is not None:
                        ticket.note_end(failure)
                    return None
            if await lease.recover(failure, how):
                record.retries += 1
            else:
                # Read whole above, or an event stream of which nothing follows its error.
                await conclude(
                    answer, start, None, path, client, sign_of_life_s, is_ollama=is_ollama
                )
                return None


def _context_length(made: internal.MadeModel | UnsetType) -> float | UnsetType:
    """Return the context that a derived model wants, in tokens; absent when it wants none."""
    wanted = UNSET if isinstance(made, UnsetType) else made.parameters.get("num_ctx", UNSET)
    return float(wanted) if isinstance(wanted, int | float) else UNSET


def _is_json(scope: Scope) -> bool:
    kind = header(scope, b"content-type").lower()
    # Not `any` with a generator, which would be entered for every word.
    return not kind or _JSON_LIKE.search(kind) is not None


def _has_body(scope: Scope) -> bool:
    # A plain loop: a generator would be entered once for every header.
    for name, _ in scope["headers"]:  # noqa: SIM110 - `any` takes a generator
        if name in (b"content-length", b"transfer-encoding"):
            return True
    return False
