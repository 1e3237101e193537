"""The states of a model, as docs/lifecycle.md describes them, and who shares them."""

import asyncio
from typing import Any

import msgspec
import pytest
from msgspec import UNSET, UnsetType

from conformance.bench.work import described
from gateway.lifecycle.state import ModelRequest, ModelState, ModelStates, State
from gateway.types import internal

INSTANCE = internal.HostInstance(id="m", context_length=4096)


def row(**changed: Any) -> internal.CatalogueRow:
    """Return the row of a model with the key `m`, or of a variant of it."""
    return msgspec.structs.replace(
        described(), **{"key": "m", "request_key": "m", "instances_of": "m", **changed}
    )


def request(*, is_running: bool = False, **changed: Any) -> ModelRequest:
    """Return a request for the model that says nothing of keep-alive."""
    made = ModelRequest(row(**changed), UNSET, None, lambda _: None)
    made.is_running = is_running
    return made


def state(**known: Any) -> ModelState:
    """Return a state of which something is known."""
    return ModelState("m", "m", 300.0, **known)


BUSY: dict[str, Any] = {"instances": {"m": INSTANCE}, "requests": [request(is_running=True)]}


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({}, "absent"),
        ({"requests": [request()]}, "absent"),
        ({"instances": {"m": INSTANCE}}, "idle"),
        ({"instances": {"m": INSTANCE}, "requests": [request()]}, "idle"),
        (BUSY, "busy"),
        (BUSY | {"stop_asked_at": 1.0}, "stopping"),
        (BUSY | {"growing_for": request()}, "growing"),
        (BUSY | {"change": "reloading", "growing_for": request()}, "reloading"),
        ({"change": "loading"}, "loading"),
        ({"instances": {"m": INSTANCE}, "change": "unloading"}, "unloading"),
    ],
)
def test_a_state_has_the_name_of_the_page(known: dict[str, Any], expected: State) -> None:
    """A change that is under way names it, then what the requests do, then what is loaded."""
    assert expected == state(**known).state


def test_the_smallest_context_counts() -> None:
    """LM Studio chooses among the instances; one without a number says nothing."""
    known: list[float | UnsetType] = [4096, 2048.0, UNSET]
    instances = {
        str(each): internal.HostInstance(id=str(each), context_length=each) for each in known
    }
    assert 2048 == state(instances=instances).context_length
    assert None is state(instances={"m": internal.HostInstance(id="m")}).context_length


def test_a_request_for_the_bare_key_uses_a_loaded_variant() -> None:
    """And keeps all variants in use while it runs, since any may answer."""
    states = ModelStates(300.0)
    variant = states.state_for(row(request_key="m@q8", instances_of="m@q8"))
    bare = request()
    assert "m" == states.state_for(bare.row).name
    variant.instances = {"m@q8": INSTANCE}
    assert variant is states.state_for(bare.row)
    other = states.state_for(row(request_key="m@q4", instances_of="m@q4"))
    variant.add(bare)
    assert not states.is_in_use(other)
    bare.is_running = True
    assert states.is_in_use(other)
    assert not states.is_free(other)
    assert {"m", "m@q8", "m@q4"} == {each.name for each in states.variants_of(other)}


def test_a_reset_keeps_what_waiting_requests_say() -> None:
    """A keep-alive ends with the load that it was for, unless a request that waits states one."""
    states = ModelStates(300.0)
    known = states.state_for(row())
    known.keep_alive_s, known.must_retry, known.given_contexts = 5.0, True, {8192: 4096}
    known.reset(states.default_keep_alive_s)
    assert (300.0, False, {}) == (
        known.keep_alive_s,
        known.must_retry,
        known.given_contexts,
    )
    waiting = request()
    waiting.keep_alive = 7.0
    known.add(waiting)
    known.reset(states.default_keep_alive_s)
    assert 7.0 == known.keep_alive_s


async def test_all_that_wait_wake_and_one_that_leaves_is_forgotten() -> None:
    """A client that leaves must not keep the others waiting."""
    known = state()
    leaving, staying = (asyncio.create_task(known.wait()) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    known.wake()
    await staying
    assert leaving.cancelled()
