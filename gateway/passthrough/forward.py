"""
LM Studio's own routes, passed through; only what rules name is changed.

The generated table says for each route which members are changed, which member names a model, and
which answer is made without LM Studio (`gateway/runtime/patching.py`). A request is received
(`receiving`), prepared for a host (`preparing`) and served on it (`on_host`); here it begins, moves
to another host if one fails it, and ends. Errors of the gateway have the caller's dialect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from ..engine.failures import Failures
from ..engine.kept import KeptAnswer
from ..engine.model_check import ModelCheck
from ..engine.run import Services, allowed
from ..faults import OtherHost, UpstreamFailure
from ..fleet.failover import end, go_elsewhere, move
from ..runtime.context import RequestContext
from ..runtime.patching import PassedOn
from ..server.asgi import AsgiClient, Receive, Scope, header
from ..settings.schema import Settings
from .kept_lists import KeptLists
from .on_host import OnHost
from .passing import Passing
from .preparing import Preparing
from .receiving import Receiving
from .remembered import Remembered
from .routes import Routes
from .sending import refuse


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
        self._fleet = services.fleet
        self._routes = Routes(routes)
        self._failures = Failures(settings)
        self._remembered = Remembered(services.fleet)
        self._receiving = Receiving(services.turns, services.bodies)
        self._preparing = Preparing(services, settings, self._remembered)
        self._on_host = OnHost(services, check, self._remembered)
        self.kept = KeptLists(services)
        """The lists of models that need no call of LM Studio."""

    def use(self, settings: Settings) -> None:
        """Use other settings for the requests to come."""
        self._settings = settings
        self.kept.clear()

    async def serve(self, scope: Scope, receive: Receive, client: AsgiClient) -> None:
        """Forward one request. `receive` is given up once the body is read."""
        path: str = scope["path"]
        route, values = self._routes.find(scope["method"], path)
        context = RequestContext(self._settings, header(scope, b"user-agent"), values)
        context.grant = client.grant
        passing = Passing(scope, path, client, route, values, context, self._fleet.first)
        try:
            if client.pinned is not None or not self._fleet.is_one:
                passing.ticket = self._fleet.ticket(client.pinned)
            if route.reads_kept or route.reads_models:
                await self._list_models(passing)
            await self._receiving.receive(passing, receive)
            if (
                route.reads_models
                and route.is_kept
                and passing.ticket is None
                and not (scope["query_string"] or passing.has_body)
            ):
                if (kept := self.kept.find(route, context.grant)) is not None:
                    await client.answer(200, kept.content_type, kept.body)
                    return
                passing.keep = self._keeper(route, context)
            while True:
                try:
                    if not await self._preparing.prepare(passing):
                        break
                    failed = await self._on_host.serve(passing)
                    if failed is None or passing.ticket is None:
                        break
                    move(passing.ticket, failed)
                    del failed
                except UpstreamFailure as failure:
                    if passing.ticket is None or not self._on_host.may_move(failure, passing):
                        raise
                    move(passing.ticket, failure)
                except OtherHost:
                    assert passing.ticket is not None
                    go_elsewhere(passing.ticket)
                passing.begin_again()
        except BaseException as problem:
            if passing.ticket is not None:
                passing.ticket.note(problem)
                problem = self._remembered.explained(problem, passing.ticket, context)
            told = partial(refuse, path=path, client=client)
            if not await self._failures.conclude(problem, client, told, context, path):
                raise
        finally:
            passing.release()
            if passing.ticket is not None:
                end(self._fleet, passing.ticket)
            if route.changes_models:
                self._services.catalogue.invalidate()

    def _keeper(self, route: PassedOn, context: RequestContext) -> Callable[[bytes, bytes], None]:
        """Return what keeps an answer to a request that has the list of models by now."""
        rows = self.kept.begin()

        def keep(content_type: bytes, body: bytes) -> None:
            self.kept.keep(route, context.grant, rows, KeptAnswer(content_type, body))

        return keep

    async def _list_models(self, passing: Passing) -> None:
        """Give the context the lists of models that the route's rules read."""
        route, context, catalogue = passing.route, passing.context, self._services.catalogue
        grant = context.grant
        if route.reads_kept and catalogue.keeps_names:
            made = await catalogue.made()
            context.kept_models = made if grant is None else allowed(made, grant)
        if route.reads_models:
            listed = await catalogue.listed()
            context.models = listed if grant is None else allowed(listed, grant)
