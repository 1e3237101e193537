"""
The named steps of plans (`do:` in a mapping): the effects that a request needs.

Each public function is a step. Its first parameter is the run; the others are named values of the
request.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Final, cast

from msgspec import UNSET, Raw, UnsetType

from ..catalogue import derive
from ..catalogue.aliases import Alias, TooMuchToKeep
from ..catalogue.download_sources import download_wish, downloaded_row
from ..catalogue.downloads import NO_DOWNLOADS, NOT_FOUND
from ..faults import Refusal, StoreFailure
from ..fleet import everywhere
from ..fleet.host import Host
from ..fleet.pulls import may_have, not_used_for
from ..fleet.union import with_more
from ..names import grammar
from ..transforms._media import refused_format
from ..transforms._picture_parts import refused_data
from ..transforms._roles import other_roles
from ..transforms._tool_names import tool_names
from ..transforms._vector_requests import text_count, wants_base64
from ..transforms.thinking import thinking_support
from ..types import internal, ollama
from ..wire.duration import parse_keep_alive
from ..wire.go_text import quote
from ..wire.writing import encode
from .pictures import as_png
from .run import Run, allowed
from .slots import hand_over_slot, wait_for_slot

SUCCESS: Final = "success"
"""The status of the last line of a report that went well."""


async def catalogue(run: Run) -> None:
    """Fill `$context.models` with every model of the hosts and every derived model."""
    if (host := _pinned(run)) is not None:
        rows = [row for row in await host.catalogue.listed() if host.serves(row)]
    else:
        rows = await run.services.catalogue.listed()
    grant = run.context.grant
    run.context.models = rows if grant is None else allowed(rows, grant)


async def running(run: Run) -> None:
    """Fill `$context.running` with every loaded instance, the one that expires last first."""
    if run.ticket is not None and _pinned(run) is None:
        found = await everywhere.list_running(run.services.fleet)
    else:
        host = run.host
        rows = await host.catalogue.rows(fresh=True)
        found = host.lifecycle.running([row for row in rows if host.serves(row)])
    if (grant := run.context.grant) is not None:
        found = [each for each in found if grant.allows_model(each.row.name, each.row.key)]
    run.context.running = found


def _pinned(run: Run) -> Host | None:
    """Return the host that the client wants the answer of, if it wants a certain one."""
    if run.ticket is None or run.ticket.pinned is None:
        return None
    run.host = run.services.fleet.default(run.ticket)
    return run.host


async def warn_of_roles(run: Run, *, messages: list[ollama.Message] | UnsetType | None) -> None:
    """Tell the client which roles LM Studio does not know (docs/facts/ollama.md#messages)."""
    told = ", ".join(quote(role[:40]) for role in other_roles(messages)[:3])
    run.warnings.append(f"sent as user, since LM Studio does not know the role: {told}")


async def ask_for_whole(run: Run, *, stream: bool | UnsetType | None) -> None:
    """Ask the host for its answer in one piece, for a client of one answer, if the host can."""
    run.context.asks_for_stream = stream is not False or not run.host.gives_whole


async def acquire(
    run: Run, *, keep_alive: Raw | UnsetType, num_ctx: float | UnsetType = UNSET
) -> None:
    """
    Make the model ready and keep it while this request runs; one load serves all that wait.

    A request waits until the model has a slot for it. Raises OtherHost if another host has one
    first.
    """
    ticket = run.ticket
    if ticket is not None:
        run.services.fleet.draining.refuse(run.host)
    lease = run.host.lifecycle.lease(
        run.context.model, parse_keep_alive(keep_alive), num_ctx, run.warnings.append
    )
    run.lease = lease
    if ticket is not None and ticket.slot is not None:
        hand_over_slot(ticket, lease, run.host, run.services.fleet)
    if not await lease.prepare():
        is_interactive = run.wants_stream is not None and run.wants_stream(run.request)
        await wait_for_slot(
            lease,
            run.host,
            run.services.fleet,
            ticket,
            run.context.grant,
            is_interactive=is_interactive,
        )
    run.context.loaded_ns = time.perf_counter_ns()


async def load(run: Run, *, keep_alive: Raw | UnsetType, num_ctx: float | UnsetType) -> None:
    """Load the model without asking it anything, and keep it like the model of a request."""
    await _look_again(run)
    if run.ticket is not None:
        run.services.fleet.draining.refuse(run.host)
    lease = run.lease = run.host.lifecycle.lease(
        run.context.model, parse_keep_alive(keep_alive), num_ctx, run.warnings.append
    )
    await lease.prepare(takes_slot=False)
    await lease.warm()
    run.context.loaded_ns = time.perf_counter_ns()


async def unload(run: Run) -> None:
    """
    Unload every instance of the model, once no request runs on it.

    On every host, unless the request names one.
    """
    if run.ticket is not None and run.ticket.pinned is None:
        await everywhere.unload(run.services.fleet, run.context.asked.trimmed)
        return
    await _look_again(run)
    await run.host.lifecycle.unload(run.context.model)


async def convert_pictures(
    run: Run,
    *,
    messages: list[ollama.Message] | UnsetType | None = UNSET,
    images: list[str | None] | UnsetType | None = UNSET,
) -> None:
    """
    Put PNG in place of the request's pictures that LM Studio refuses.

    Raises Refusal (400) for one that can't be converted. (docs/facts/lmstudio.md#refused-content)
    """
    lists = [images, *(message.images for message in messages or ())]
    found = [image for listed in lists for image in listed or () if image and refused_format(image)]
    pictures = await as_png(found)
    for listed in lists:
        for place, image in enumerate(listed or ()):
            if listed and image in pictures:
                listed[place] = pictures[image]


async def convert_passed_pictures(run: Run, *, raw: Raw | UnsetType) -> None:
    """
    Fill `$context.pictures` with PNG for the pictures of raw messages that LM Studio refuses.

    Raises Refusal (400) for one that can't be converted. (docs/facts/lmstudio.md#refused-content)
    """
    if not isinstance(raw, UnsetType):
        size = len(memoryview(raw)) if run.is_large else 0
        found = await run.services.turns.run(refused_data(raw), size)
        run.context.pictures = await as_png(found)


async def note_vectors(
    run: Run, *, input: Raw | UnsetType, encoding_format: Raw | UnsetType
) -> None:
    """
    Fill `$context.text_count` and `$context.in_base64` for an answer that is passed on.

    The request is not kept until then. (docs/facts/lmstudio.md#embeddings-errors)
    """
    run.context.text_count = text_count(input)
    run.context.in_base64 = wants_base64(encoding_format)


async def note_tools(run: Run, *, tools: Raw | UnsetType) -> None:
    """
    Fill `$context.tool_names`: they tell pieces of one name in an answer from two names.

    The request is not kept until then. (docs/facts/lmstudio.md#tool-fragments-odd)
    """
    run.context.tool_names = tool_names(tools)


async def unite_hosts(run: Run) -> None:
    """
    Have `$context.model` say what all hosts tell of it, as lists do (docs/fleet.md#several-hosts).

    A request that names its host is told what that one says.
    """
    ticket = run.ticket
    if ticket is None or ticket.pinned is not None:
        return
    model = run.context.model
    for row in ticket.rows.values():
        if row is not model and row.name.lower() == model.name.lower():
            model = with_more(model, row)
    run.context.model = model


async def name_instance(run: Run) -> None:
    """Fill `$context.instance_id` (docs/facts/lmstudio.md#systemone)."""
    run.context.instance_id = run.host.lifecycle.identifier_of(run.context.model)


async def _look_again(run: Run) -> None:
    """Fetch the list if it is too old: a request that only loads or unloads depends on it."""
    await run.host.catalogue.rows()


async def look_for_thinking(run: Run, *, model: str | UnsetType | None) -> None:
    """
    Fill `$context.think_values` for the model of a name; a name without a model changes nothing.

    (docs/facts/ollama.md#think-0-34)
    """
    if not model or await run.find_model(model) != "found":
        run.hints.clear()
        return
    row = run.context.resolved
    assert row is not None, "it was found"
    supported = thinking_support(
        row.capabilities.thinking, row.reasoning_options, row.reasoning_default
    )
    if not isinstance(supported, UnsetType):
        run.context.think_values = encode(supported.values).decode()


async def look_for_name(
    run: Run,
    *,
    model: str | UnsetType | None,
    name: str | UnsetType | None = UNSET,
    takes_place: bool = False,
) -> None:
    """
    Fill `$context.kept_name`: whether the name is kept here.

    With `takes_place`, a `:local` at its end is not a part of it
    (docs/facts/ollama.md#name-places).
    """
    text = grammar.stated(model, name)
    kept = grammar.without_local(text) if takes_place else text
    grant = run.context.grant
    if grant is not None and not grant.allows_model(kept):
        run.context.kept_name = "none"
        return
    run.context.kept_name = await run.services.catalogue.kept_name(kept)


async def find_files(run: Run) -> None:
    """Fill `$context.on_hosts`: where several hosts are, the ones that have the model's files."""
    if run.ticket is None:
        return
    names = [host.name for host in run.services.fleet.hosts if host.number in run.ticket.homes]
    known = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    run.context.on_hosts = f" on the host{'s' if len(names) > 1 else ''} {known}"


async def copy(run: Run, *, destination: str | UnsetType | None) -> None:
    """Give the model a second name."""
    assert isinstance(destination, str), "the plan checks the name"
    await _keep(run, derive.copied(run.context.model, destination))


async def note_wanted(
    run: Run,
    *,
    system: str | UnsetType | None,
    template: str | UnsetType | None,
    license: Any | UnsetType,
    parameters: Raw | UnsetType,
    messages: list[ollama.Message] | UnsetType | None,
    requires: str | UnsetType | None,
    info: dict[str, Any] | UnsetType | None,
    capabilities: list[str] | UnsetType | None,
) -> None:
    """Note what the request states of the model that `create` makes."""
    run.wanted = derive.Wanted(
        system, template, license, parameters, messages, requires, info, capabilities
    )


async def create(
    run: Run, *, model: str | UnsetType | None, name: str | UnsetType | None
) -> AsyncIterator[internal.Progress]:
    """
    Derive a model from the resolved one, and report progress (docs/facts/ollama.md#create).
    """
    row, wanted = run.context.model, run.wanted
    assert wanted is not None, "the plan notes it before"
    alias = derive.derived(row, grammar.stated(model, name), wanted)
    yield internal.Progress(status=f"using existing layer sha256:{row.digest}")
    for layer in derive.layers(alias.made):
        digest = hashlib.sha256(layer).hexdigest()
        yield internal.Progress(status=f"creating new layer sha256:{digest}")
    if wanted.template:
        yield internal.Progress(
            status="the template is stored and shown, but LM Studio applies the model's own"
        )
    yield internal.Progress(status="writing manifest")
    await _keep(run, alias)
    yield internal.Progress(status=SUCCESS)


async def look_for_source(run: Run, *, source: str | UnsetType | None) -> None:
    """
    Fill `$context.is_source_missing`: whether no model has the name (docs/facts/ollama.md#create).
    """
    run.context.is_source_missing = bool(source) and await run.find_model(str(source)) == "unknown"


async def fetch_and_create(
    run: Run,
    *,
    source: str | UnsetType | None,
    model: str | UnsetType | None,
    name: str | UnsetType | None,
) -> AsyncIterator[internal.Progress]:
    """
    Pull the model that another is made from, then derive that one (docs/facts/ollama.md#create).
    """
    async with _closing(pull(run, model=source, name=UNSET)) as pulled:
        async for progress in pulled:
            if progress.status != SUCCESS:
                yield progress
    if await run.find_model(str(source)) != "found":
        raise Refusal(500, NOT_FOUND)
    async with _closing(create(run, model=model, name=name)) as made:
        async for progress in made:
            yield progress


def _closing(
    records: AsyncIterator[internal.Progress],
) -> aclosing[AsyncGenerator[internal.Progress, None]]:
    """Return a generator so that it is closed when the client leaves."""
    return aclosing(cast("AsyncGenerator[internal.Progress, None]", records))


async def forget(run: Run, *, model: str | UnsetType | None, name: str | UnsetType | None) -> None:
    """Delete an alias; its source model stays, loaded or not."""
    try:
        text = grammar.without_local(grammar.stated(model, name))
        await run.services.catalogue.forget(text.strip())
    except StoreFailure as failure:
        raise _unwritable(failure) from failure


async def _keep(run: Run, alias: Alias) -> None:
    try:
        await run.services.catalogue.keep(alias)
    except TooMuchToKeep as problem:
        raise Refusal(400, str(problem)) from None
    except StoreFailure as failure:
        raise _unwritable(failure) from failure


def _unwritable(failure: StoreFailure) -> Refusal:
    return Refusal(503, f"the gateway's store cannot be written: {failure}")


async def pull(
    run: Run, *, model: str | UnsetType | None, name: str | UnsetType | None
) -> AsyncIterator[internal.Progress]:
    """
    Let LM Studio download a model, and report progress as Ollama reports a pull.

    An existing model needs no download. (docs/facts/ollama.md#pull)
    """
    text, host = grammar.stated(model, name), _pinned(run)
    catalogue = run.services.catalogue if host is None else host.catalogue
    downloads = run.services.downloads if host is None else host.downloads
    row = await catalogue.find(text)
    if row is None and catalogue.dialect != "v1":
        raise Refusal(501, NO_DOWNLOADS)
    if row is None:
        try:
            await catalogue.pulled.ensure_kept()
        except StoreFailure as failure:
            raise _unwritable(failure) from failure
    yield internal.Progress(status="pulling manifest")
    if row is not None:
        yield _pulling(f"sha256:{row.digest}", row.size_bytes, row.size_bytes)
    else:
        wish = download_wish(text, run.context.settings.pull)
        if wish is None:
            yield internal.Progress(
                status=f"LM Studio does not know {text.strip()}: pull PUBLISHER/MODEL as LM Studio "
                "names it or hf.co/ORG/REPO:QUANTIZATION, or give the name an entry in [pull] of "
                "the gateway's settings"
            )
            raise Refusal(500, NOT_FOUND)
        if host is not None and not may_have(host, wish):
            raise not_used_for(wish, [host.name])
        before = {each.request_key for each in await catalogue.rows()}
        async with aclosing(downloads.follow(wish)) as jobs:
            async for job in jobs:
                completed = job.total if job.is_done else job.completed
                yield _pulling(job.digest, job.total, completed)
        became = downloaded_row(wish, await catalogue.rows(fresh=True), before)
        if became is not None and await catalogue.find(text) is None:
            await catalogue.pulled.keep(text, became.request_key)
            catalogue.update_made()
    yield internal.Progress(status="verifying sha256 digest")
    yield internal.Progress(status="writing manifest")
    yield internal.Progress(status=SUCCESS)


def _pulling(digest: str, total: int, completed: int) -> internal.Progress:
    """Return a line of a progress bar; zeros are left out, as in Ollama."""
    return internal.Progress(
        status=f"pulling {digest.removeprefix('sha256:')[:12]}",
        digest=digest,
        total=total or UNSET,
        completed=completed or UNSET,
    )


async def push(
    run: Run, *, model: str | UnsetType | None, name: str | UnsetType | None
) -> AsyncIterator[internal.Progress]:
    """
    Report that nothing can be pushed from here, as Ollama reports a push that fails.

    An illegal name is reported first (docs/facts/ollama.md#push).
    """
    yield internal.Progress(status="retrieving manifest")
    yield internal.Progress(status="couldn't retrieve manifest")
    text = grammar.stated(model, name)
    if grammar.parse(text) is None:
        raise Refusal(500, f"unqualified name: {grammar.filled(text)}")
    raise Refusal(500, "LM Studio cannot push models; publish the model's files at their source")


async def look_for_blob(run: Run, *, digest: str) -> None:
    """Fill `$context.is_blob_known`."""
    run.context.is_blob_known = run.services.blobs.knows(digest)


async def take_blob(run: Run, *, digest: str) -> None:
    """Hash the file that the client sends, and remember its digest."""
    assert run.incoming is not None, "an operation that takes a file is described as taking one"
    await run.services.blobs.take(digest, run.incoming)
