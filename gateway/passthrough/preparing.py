"""
A request before it is sent: its model, the host that serves it, what rules change, and the lease.

All of it is done again for each host that the request goes to, since another host may have the
model under another key, and needs other changes then.
"""

from __future__ import annotations

import time
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from ..engine.limits import check_raw_counts
from ..engine.run import Run, Services
from ..engine.slots import hand_over_slot, wait_for_slot
from ..faults import Refusal, afresh
from ..fleet.needs import note_passed_needs
from ..observability.record import current
from ..runtime.context import NOTHING
from ..runtime.patching import changed, due
from ..settings.schema import Settings
from ..types import internal
from ..wire.reading import AT_ONCE
from ..wire.writing import JSON
from .json_members import join_members, members_of
from .large import join_in_steps, read_members
from .naming import NAMED_MODEL, Naming
from .passing import Passing
from .remembered import Remembered
from .several import SeveralHosts
from .signs_of_life import live_while

WARNING: Final = "x-olgate-warning"


class Preparing:
    """Makes requests ready for a host, or answers them without one."""

    def __init__(self, services: Services, settings: Settings, remembered: Remembered) -> None:
        self._services = services
        self._turns = services.turns
        self._remembered = remembered
        self._naming = Naming(services, remembered)
        self._several = SeveralHosts(services.fleet, settings)

    async def prepare(self, passing: Passing) -> bool:
        """
        Make a request ready for its host; return False if it is answered already.

        Raises Refusal (400 for more than a request may hold or a missing name, 404 for a model that
        nobody knows), and UpstreamFailure.
        """
        route, context = passing.route, passing.context
        if passing.ticket is not None and (route.session_below or route.session in passing.values):
            await self._remembered.pin_by_path(route, passing.values, passing.path, passing.ticket)
        if route.path_model:
            await self._naming.resolve(passing.values[route.path_model], passing)
        if isinstance(passing.body, bytes) and (route.model or route.request or route.session):
            await self._change(passing)
        row = context.resolved
        if row is None:
            self._check_unnamed(passing)
        if route.instead is not None and await self._is_answered_by_rules(passing):
            return False
        if passing.ticket is not None and await self._is_answered_by_all(passing):
            return False
        passing.changes = passing.on_stream = passing.rewrites = ()
        if not (route.model and row is None):
            passing.changes = due(route.answer, context)
            passing.on_stream = due(route.stream, context)
            passing.rewrites = due(route.rewrites, context)
        passing.is_streamed = bytes(context.sent.get("stream", b"")) == b"true"
        # The members are the body once more, which is kept no longer than it is needed.
        context.sent = NOTHING
        is_asked = not (route.changes_models or route.path_model or route.looked_up)
        if row is not None and is_asked:
            await self._lease(row, passing)
        return True

    def _check_unnamed(self, passing: Passing) -> None:
        """Raise Refusal for a request that names no model where one must be named."""
        route, grant = passing.route, passing.context.grant
        if route.missing is not None:
            raise afresh(route.missing)
        if grant is not None and route.model and passing.has_body and grant.hides_models:
            # LM Studio would choose one, which the key may not use.
            raise Refusal(400, NAMED_MODEL)

    async def _change(self, passing: Passing) -> None:
        """
        Change in the body what the route's rules change.

        Where it names a model, `context.model` is there afterwards. Raises as `prepare`.
        """
        body, route, context = passing.body, passing.route, passing.context
        assert isinstance(body, bytes)
        is_large = len(body) > AT_ONCE
        if is_large:
            members = await self._turns.run(read_members(body, context.settings.limits))
        else:
            members = members_of(body)
            check_raw_counts(body, members or {}, context.settings.limits)
        if members is None:
            # LM Studio reports a body that is not an object.
            return
        context.sent = members
        if passing.ticket is not None:
            note_passed_needs(passing.ticket, members, route.needs)
            if route.session:
                await self._remembered.pin_by_member(members.get(route.session), passing.ticket)
        if route.model and not await self._naming.find(members.get(route.model), passing):
            return
        if route.first is not None:
            run = Run(context, self._services)
            run.is_large = is_large
            await route.first(members, run)
        changes = due(route.request, context)
        if is_large:
            after = await self._turns.apart(changed, members, changes, context)
            if after is not None:
                passing.body = await self._turns.run(join_in_steps(after))
        elif (after := changed(members, changes, context)) is not None:
            passing.body = join_members(after)

    async def _is_answered_by_rules(self, passing: Passing) -> bool:
        """Send the answer that a route's rules make; return whether there is one."""
        route, context = passing.route, passing.context
        assert route.instead is not None
        made = route.instead(context.sent, context)
        if made is UNSET:
            return False
        if route.warning:
            passing.client.add_header(WARNING, route.warning)
        body = msgspec.json.encode(made)
        passing.may_keep(JSON, body)
        await passing.client.answer(200, JSON, body)
        return True

    async def _is_answered_by_all(self, passing: Passing) -> bool:
        """Send the list of all hosts, if the route has one, or else choose one of several hosts."""
        route, ticket, context = passing.route, passing.ticket, passing.context
        assert ticket is not None
        if route.union is not None and ticket.pinned is None:
            united = await self._several.united(route, context)
            if united is not None:
                await passing.client.answer(200, JSON, united)
                return True
        if route.home:
            await self._several.find_home(route, passing.values, passing.body, ticket)
        passing.host = ticket.host or self._services.fleet.default(ticket)
        context.upstream_url = passing.host.upstream.url
        passing.client.served_by = passing.host.name
        if route.model and not route.changes_models:
            self._services.fleet.draining.refuse(passing.host)
        return False

    async def _lease(self, row: internal.CatalogueRow, passing: Passing) -> None:
        """Load the model if it is not loaded, and keep it while the request uses it."""
        record = current()
        record.model, record.is_model_known = row.name, True
        made = row.made
        # The context that a derived model wants, in tokens.
        wanted = UNSET if isinstance(made, UnsetType) else made.parameters.get("num_ctx", UNSET)
        num_ctx = float(wanted) if isinstance(wanted, int | float) else UNSET
        lease = passing.lease = passing.host.lifecycle.lease(row, num_ctx=num_ctx)
        ticket, fleet = passing.ticket, self._services.fleet
        if ticket is not None and ticket.slot is not None:
            hand_over_slot(ticket, lease, passing.host, fleet)
        if not await lease.prepare():
            wait = wait_for_slot(
                lease,
                passing.host,
                fleet,
                ticket,
                passing.context.grant,
                is_interactive=passing.is_streamed,
            )
            if not passing.is_streamed:
                await wait
            else:
                await live_while(wait, passing.client, passing.context.settings.answers)
        record.read_ns = passing.context.started_ns
        record.ready_ns = time.perf_counter_ns() - passing.context.started_ns
