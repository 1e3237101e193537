"""
The checks of `olgate doctor`: each looks at one thing, and says what it found and what to do.

A check never raises for what it looks at, and changes nothing. Some need what an earlier one has
found; without it they are skipped, and say so.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal, NamedTuple

import msgspec

from ..calls import host
from ..catalogue.advice import advise, renew_token, set_token, start_it
from ..catalogue.aliases import Aliases
from ..catalogue.catalogue import Catalogue
from ..catalogue.first_seen import FirstSeen
from ..catalogue.presence import HostState, Presence
from ..catalogue.pulled_names import PulledNames
from ..faults import StartProblem, UpstreamFailure
from ..fleet.fleet import refuse_twins
from ..server.listen import bind, refuse_own_upstream
from ..settings.host_keys import UPSTREAM_KEYS, HostKeys, keys_of
from ..settings.hosts import hosts_of
from ..settings.location import platform_file
from ..settings.more_ports import Address, addresses_of
from ..settings.schema import Settings, StoreSettings, UpstreamSettings
from ..store.inspection import inspect_store
from ..store.redis_inspection import inspect_redis
from ..store.sqlite import SqliteStore
from ..store.sqlite_file import NEWEST_VERSION
from ..types import internal
from ..upstream.client import Probe, Upstream
from ..upstream.identity import Identity, Kind, identify
from ..wire.client_api import OLLAMA
from .own_api import url_of
from .port_holder import find_holder, how_to_find

PROBE_S = 5.0
"""Seconds that LM Studio may take for a single question."""

CLOCK_S = 60.0
"""Seconds by which the clocks of this machine and of LM Studio's may differ."""

NO_MODEL = "olgate-doctor/no-such-model"
"""The model that the doctor asks LM Studio to load, to see whether it may; no host has it."""

Verdict = Literal["ok", "hint", "wrong", "skipped"]


class Finding(NamedTuple):
    """What a check has found, and what to do about it; `do` is empty if there is nothing to do."""

    check: str
    verdict: Verdict
    found: str
    do: str = ""


class Scene:
    """What the checks look at, and what they have found so far."""

    def __init__(
        self, settings: Settings, file: str | None, keys: HostKeys = UPSTREAM_KEYS
    ) -> None:
        """
        Look with `settings`, which came from a file with the name `file` if there was one.

        `keys` are the names of the settings that `settings.upstream` was made of.
        """
        self.settings = settings
        self.file = file
        self.upstream = Upstream(settings.upstream, keys=keys)
        self.greeting: Probe | None = None
        self.identity: Identity | None = None
        self.state: HostState | None = None

    async def look_at_host(self) -> HostState:
        """Return the state of the host, with a catalogue that keeps nothing."""
        if self.state is None:
            store = SqliteStore(None)
            catalogue = Catalogue(
                self.upstream,
                self.settings.models,
                Aliases(store, {}),
                FirstSeen(store, self.upstream.url),
                PulledNames(store),
                OLLAMA.capabilities,
                PROBE_S,
            )
            try:
                self.state = await Presence(self.upstream, catalogue).look()
            finally:
                catalogue.close()
                store.close()
        return self.state


class Check(NamedTuple):
    """One check: its name, and the function that looks."""

    name: str
    look: Callable[[Scene], Awaitable[tuple[Verdict, str, str]]]


Result = tuple[Verdict, str, str]
_SKIPPED: Result = ("skipped", "not looked at, since LM Studio does not answer", "")


async def run_checks(scene: Scene) -> list[Finding]:
    """Run all checks in order, and close what was opened for them."""
    if scene.settings.hosts:
        return await _check_hosts(scene)
    try:
        return [found for check in CHECKS for found in await _look(check, scene)]
    finally:
        await scene.upstream.aclose()


async def _check_hosts(scene: Scene) -> list[Finding]:
    """Run the checks of a host for each of several, and the others once."""
    findings: list[Finding] = []
    for check in CHECKS:
        if check not in OF_A_HOST:
            findings += await _look(check, scene)
    findings.append(Finding("hosts", *_hosts(scene)))
    await scene.upstream.aclose()
    for name, settings in scene.settings.hosts.items():
        of_host = Scene(
            msgspec.structs.replace(scene.settings, upstream=settings),
            scene.file,
            keys_of(scene.settings, name),
        )
        try:
            findings += [
                Finding(f"{name}: {check.name}", *await check.look(of_host)) for check in OF_A_HOST
            ]
        finally:
            await of_host.upstream.aclose()
    return findings


async def _look(check: Check, scene: Scene) -> list[Finding]:
    """Return what a check has found; each further port has a finding of its own after the port."""
    findings = [Finding(check.name, *await check.look(scene))]
    if check.look is _port:
        for address in addresses_of(scene.settings.listen):
            if address.port is not None:
                name = f"port {address.port.port}"
                findings.append(Finding(name, *await _further_port(scene.settings, address)))
    return findings


def _hosts(scene: Scene) -> Result:
    hosts = scene.settings.hosts
    try:
        refuse_twins({name: host.url for name, host in hosts.items()})
    except StartProblem as problem:
        found, _, do = str(problem).partition("; ")
        return "wrong", found, do
    tiers = sorted({host.tier for host in hosts.values()})
    return "ok", f"{len(hosts)} hosts in tiers {', '.join(map(str, tiers))}", ""


async def _settings(scene: Scene) -> Result:
    if scene.file:
        return "ok", f"read from {scene.file}", ""
    return "ok", f"no settings file (it would be {platform_file()})", ""


async def _port(scene: Scene) -> Result:
    return await _look_at_address(scene.settings, Address(scene.settings.listen))


async def _further_port(settings: Settings, address: Address) -> Result:
    assert address.port is not None
    name = address.port.key
    if name not in settings.keys:
        found = f"it stands for the key {name}, which is not there"
        return "wrong", found, f"make it with `olgate keys add {name}`, or remove the port"
    verdict, found, do = await _look_at_address(settings, address)
    return verdict, f"{found}; it stands for the key {name}", do


async def _look_at_address(settings: Settings, address: Address) -> Result:
    listen = address.listen
    place = "with --port" if address.port is None else "in [[listen.more]]"
    where = f"{listen.host or '0.0.0.0'}:{listen.port}"
    try:
        for name, each in hosts_of(settings).items():
            refuse_own_upstream(listen, each.url, keys_of(settings, name))
    except StartProblem as problem:
        found, _, do = str(problem).partition("; ")
        return "wrong", found, do
    if listen.port == 0:
        return "ok", "any free port", ""
    at = url_of(msgspec.structs.replace(settings, listen=listen))
    there = Upstream(UpstreamSettings(url=at, connect_timeout_s=PROBE_S))
    try:
        found_there = await identify(there)
    finally:
        await there.aclose()
    if found_there is not None and found_there.kind in (Kind.OLGATE, Kind.LOOP, Kind.ITSELF):
        return "ok", f"an olgate answers at {where}", ""
    try:
        is_main = address.port is None
        await asyncio.to_thread(lambda: bind(listen, is_main=is_main).close())
    except StartProblem as problem:
        if found_there is None:
            found, _, do = str(problem).partition(": ")
            return "wrong", found, do
        holder = find_holder(listen.port)
        known = f", {holder}" if holder else ""
        return (
            "wrong",
            f"{where} is taken: {found_there.name} answers there{known}",
            f"stop it, or choose another port {place}"
            + ("" if holder else f"; {how_to_find(listen.port)}"),
        )
    return "ok", f"{where} is free; no gateway runs there", ""


async def _reachable(scene: Scene) -> Result:
    url = scene.upstream.url
    try:
        async with asyncio.timeout(PROBE_S):
            scene.greeting = await scene.upstream.probe("/lmstudio-greeting")
    except TimeoutError:
        return "wrong", f"{url} takes a request and does not answer", "restart LM Studio's server"
    except UpstreamFailure as failure:
        keys = scene.upstream.keys
        return "wrong", failure.message, advise(failure, keys, has_token=False) or start_it(keys)
    return "ok", f"something answers at {url}", ""


async def _server(scene: Scene) -> Result:
    if scene.greeting is None:
        return _SKIPPED
    found = scene.identity = await identify(scene.upstream)
    if found is None:
        return "wrong", f"what answers at {scene.upstream.url} cannot be told", "see its log"
    said, _, do = found.sentence.partition("; ")
    if found.kind == Kind.LMSTUDIO:
        return "ok", said, ""
    return "hint" if found.is_usable else "wrong", said, do


async def _token(scene: Scene) -> Result:
    if scene.greeting is None or scene.identity is None or not scene.identity.is_usable:
        return _SKIPPED
    state = await scene.look_at_host()
    has_token = scene.upstream.has_token
    if state.is_reachable:
        return "ok", "the token is accepted" if has_token else "no token is needed", ""
    if state.advice in (set_token(scene.upstream.keys), renew_token(scene.upstream.keys)):
        found = "LM Studio refuses the token" if has_token else "LM Studio wants a token"
        return "wrong", found, state.advice
    return "skipped", "not known, since there is no list of models", ""


async def _models(scene: Scene) -> Result:
    state = scene.state
    if state is None:
        return _SKIPPED
    if not state.is_reachable:
        return "wrong", f"no list of models: {state.reason}", state.advice
    if not state.models:
        return "hint", "there are no models", state.advice or "give that server a model"
    models = f"{state.models} model{'' if state.models == 1 else 's'}"
    return "ok", f"{models}, {state.loaded} loaded (dialect {state.dialect})", ""


async def _loading(scene: Scene) -> Result:
    if scene.state is None or not scene.state.is_reachable:
        return _SKIPPED
    if scene.state.dialect != "v1":
        is_old = scene.identity is not None and scene.identity.kind == Kind.LMSTUDIO
        verb = "update LM Studio to 0.4" if is_old else "use LM Studio 0.4"
        return (
            "hint",
            f"not possible in the dialect {scene.state.dialect}: the server loads by its own rules",
            f"{verb} for num_ctx, keep_alive, unloading and downloads",
        )
    try:
        await scene.upstream.ask(host.load(internal.LoadWish(model=NO_MODEL)), timeout_s=PROBE_S)
    except UpstreamFailure as failure:
        if failure.status in (401, 403):
            return (
                "wrong",
                "the token may list models, but not load them",
                "give the token that permission in LM Studio, or use another one",
            )
        if failure.status in (400, 404, 422, 500) or failure.fault == "upstream_error_200":
            return "ok", "LM Studio takes orders to load a model", ""
        return "hint", f"not known: {failure.message}", "see LM Studio's log"
    return "hint", f"LM Studio says that it has loaded {NO_MODEL}", "see LM Studio's log"


async def _redis(settings: StoreSettings) -> Result:
    report = await inspect_redis(settings)
    if report.problem:
        found, _, do = report.problem.partition(": ")
        return "wrong", found, do
    version = "no keys yet" if report.version is None else f"version {report.version}"
    return "ok", f"{report.where} is writable, {report.server}, {version}", ""


async def _store(scene: Scene) -> Result:
    if scene.settings.store.url is not None:
        return await _redis(scene.settings.store)
    path = scene.settings.store.path
    if path is None:
        return (
            "hint",
            "in memory: derived models are lost at the end",
            "set store.path (OLGATE_STORE_PATH) to a file",
        )
    report = await asyncio.to_thread(inspect_store, path)
    if report.problem:
        return (
            "wrong",
            f"{path} cannot be used ({report.problem})",
            "update olgate, or set store.path (OLGATE_STORE_PATH)"
            if (report.version or 0) > NEWEST_VERSION
            else "restore a copy of it, or move it away with its -wal and -shm files",
        )
    if not report.is_writable:
        return (
            "wrong",
            f"{path} is not writable for this user",
            "make it and its folder writable, or set store.path (OLGATE_STORE_PATH)",
        )
    if report.is_locked:
        by = "one of the running gateways" if report.gateways else "another program"
        return "hint", f"{path} is locked by {by} at this moment", "try again in a moment"
    if report.version is None:
        return "ok", f"{path} will be made", ""
    newer = "" if report.version == NEWEST_VERSION else f", will become {NEWEST_VERSION}"
    return "ok", f"{path} is writable, version {report.version}{newer}", ""


async def _gateways(scene: Scene) -> Result:
    path = scene.settings.store.path
    if scene.settings.store.url is not None:
        report = await inspect_redis(scene.settings.store)
        if report.problem:
            return "skipped", "not looked at, since the store can't be used", ""
        count = report.gateways
    elif path is None:
        return "ok", "a store in memory is not shared", ""
    else:
        count = (await asyncio.to_thread(inspect_store, path)).gateways
    if count <= 1:
        return "ok", "one gateway uses the store" if count else "no gateway uses the store", ""
    return "ok", f"{count} gateways use the store; each unloads only what it loaded", ""


async def _clock(scene: Scene) -> Result:
    now = datetime.now(UTC)
    shown = f"it is {now:%Y-%m-%d %H:%M:%S} UTC"
    stated = dict(scene.greeting.headers).get(b"date") if scene.greeting else None
    if stated is None:
        return "ok", f"{shown} (no other clock to compare it with)", ""
    try:
        theirs = parsedate_to_datetime(stated.decode("latin-1"))
        differs_s = abs((now - theirs).total_seconds())
    except (TypeError, ValueError):
        return "ok", f"{shown} (LM Studio's date cannot be read)", ""
    if differs_s > CLOCK_S:
        return (
            "wrong",
            f"{shown}, and LM Studio's machine says {theirs:%Y-%m-%d %H:%M:%S} UTC",
            "set both clocks, for instance by NTP: times of models and of keep-alive would be off",
        )
    return "ok", f"{shown}, as on LM Studio's machine", ""


async def _open_files(_: Scene) -> Result:
    if os.name != "posix":
        return "ok", "not limited on this system", ""
    from ..server.open_files import FEW_FILES, raise_limit

    limit = raise_limit()
    if limit < FEW_FILES:
        return (
            "hint",
            f"at most {limit} open files, so at most about {limit // 2} streams at a time",
            f"raise the hard limit (`ulimit -Hn`) to {FEW_FILES} or more",
        )
    return "ok", f"{limit} files may be open", ""


CHECKS: tuple[Check, ...] = (
    Check("settings", _settings),
    Check("port", _port),
    Check("upstream", _reachable),
    Check("server", _server),
    Check("token", _token),
    Check("models", _models),
    Check("loading", _loading),
    Check("store", _store),
    Check("gateways", _gateways),
    Check("clock", _clock),
    Check("open files", _open_files),
)
"""All checks, in the order in which they run and are shown."""

OF_A_HOST = tuple(
    check
    for check in CHECKS
    if check.look in (_reachable, _server, _token, _models, _loading, _clock)
)
"""Those that look at LM Studio: where there are several hosts, at each."""
