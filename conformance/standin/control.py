"""The stand-in's own routes under /__standin/, by which a test steers it and looks at it.

They are no part of what is acted: no token, no log, compact JSON, honest statuses.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal, Protocol

import msgspec

from conformance.standin.host import Host
from conformance.standin.listing import instance_row
from conformance.standin.script import Rule, Script
from conformance.standin.seen import Log
from conformance.standin.table import Instance, LoadFailed, Window
from conformance.standin.wire import Refused, Reply, Request

PREFIX = "/__standin/"


class Steered(Protocol):
    """What the control routes steer."""

    host: Host
    script: Script
    log: Log


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What shall happen to a model.

    `load` and `unload` are as by hand; `expire` ends the time to live of what requests loaded;
    `unload_window` and `reload_window` unload it and refuse it for some `requests`, or for `ms`
    (docs/facts/lmstudio.md#reload-window); `fail_load` lets the next `requests` loads fail, of any
    model.
    """

    action: Literal["load", "unload", "expire", "unload_window", "reload_window", "fail_load"]
    key: str = ""
    instance_id: str | None = None
    context_length: int | None = None
    ttl_s: int | None = None
    requests: int = 1
    ms: int | None = None
    in_stream: bool = False
    message: str = "Failed to load model."


async def control(steered: Steered, request: Request, reply: Reply) -> None:
    """Answer a request under /__standin/."""
    name = request.path.removeprefix(PREFIX)
    handler = ROUTES.get((request.method, name))
    if handler is None:
        known = ", ".join(f"{method} {PREFIX}{path}" for method, path in ROUTES)
        raise Refused(
            404, {"error": f"no control route {request.method} {name!r}; there are {known}"}
        )
    await reply.json(await handler(steered, request), indent=0)


def decode(request: Request, kind: Any) -> Any:
    """Decode a body, or say what is wrong with it."""
    try:
        return msgspec.json.decode(request.raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(400, {"error": str(error)}) from error


async def add_rules(steered: Steered, request: Request) -> Any:
    """Add one rule or a list of them."""
    if request.raw.lstrip().startswith(b"["):
        rules = decode(request, list[Rule])
    else:
        rules = [decode(request, Rule)]
    steered.script.add(rules)
    return {"rules": len(steered.script.entries)}


async def show_rules(steered: Steered, request: Request) -> Any:
    """Show the rules and how often each was carried out."""
    return steered.script.describe()


async def release(steered: Steered, request: Request) -> Any:
    """Let go of what is held under a name, or of everything."""
    body = decode(request, dict[str, str]) if request.raw else {}
    return {"released": steered.script.release(body.get("name"))}


async def show_seen(steered: Steered, request: Request) -> Any:
    """Show what was asked, after waiting for what the query says.

    Query: `path` and `method` select; `wait`, `wait_started`, `wait_finished` and `wait_left` wait
    until that many of the selected came, began to be answered, were answered, or lost their caller;
    `timeout_ms` limits the waiting (5000). Late or not, what is there is shown.
    """
    query = request.query

    def chosen() -> Any:
        return steered.log.select(query.get("path"), query.get("method"))

    def holds() -> bool:
        found = chosen()
        return (
            len(found) >= int(query.get("wait", 0))
            and sum(one.started_ms is not None for one in found)
            >= int(query.get("wait_started", 0))
            and sum(one.finished for one in found) >= int(query.get("wait_finished", 0))
            and sum(one.left for one in found) >= int(query.get("wait_left", 0))
        )

    await steered.log.wait_until(holds, int(query.get("timeout_ms", 5000)) / 1000)
    return [one.describe() for one in chosen()]


async def reset(steered: Steered, request: Request) -> Any:
    """Forget scripts, requests, and what was loaded, downloaded and stored."""
    steered.script.clear()
    steered.log.clear()
    steered.host.reset()
    return {"reset": True}


async def change_model(steered: Steered, request: Request) -> Any:
    """Carry out an order for a model; tell which instances it has then."""
    order = decode(request, Order)
    table = steered.host.table
    if order.action == "fail_load":
        table.failures += [order.message] * order.requests
        return {"failures": len(table.failures)}
    found = table.find_model(order.key)
    if found is None:
        keys = ", ".join(model.key for model in table.models)
        raise Refused(404, {"error": f"no model {order.key!r}; there are {keys}"})
    model, variant = found
    instances = [
        one
        for one in table.instances
        if one.model.key == model.key and order.instance_id in (None, one.id)
    ]
    match order.action:
        case "load":
            try:
                await table.load(
                    model,
                    variant,
                    instance_id=order.instance_id,
                    context_length=order.context_length,
                    ttl_s=order.ttl_s,
                )
            except LoadFailed as error:
                raise Refused(409, {"error": str(error)}) from error
        case "unload":
            remove_all(steered, instances)
        case "expire":
            remove_all(
                steered, [one for one in instances if one.ttl_s is not None and not one.busy]
            )
        case "unload_window" | "reload_window":
            remove_all(steered, instances)
            reason: Literal["unloaded", "none_loaded"]
            reason = "unloaded" if order.action == "reload_window" else "none_loaded"
            until = None if order.ms is None else time.monotonic() + order.ms / 1000
            table.windows[model.key] = Window(reason, order.requests, until, order.in_stream)
    rows = [instance_row(one) for one in table.instances if one.model.key == model.key]
    return {"key": model.key, "loaded_instances": rows}


def remove_all(steered: Steered, instances: list[Instance]) -> None:
    """Unload instances at once."""
    for instance in instances:
        steered.host.table.remove(instance)


ROUTES: dict[tuple[str, str], Callable[[Steered, Request], Awaitable[Any]]] = {
    ("POST", "script"): add_rules,
    ("GET", "script"): show_rules,
    ("POST", "release"): release,
    ("GET", "seen"): show_seen,
    ("POST", "reset"): reset,
    ("POST", "model"): change_model,
}
