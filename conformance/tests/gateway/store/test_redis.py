"""
What only a store in Redis has to bear: a server that is wrong, away, or back without what it knew,
and gateways that stand still for longer than their lease.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial

import pytest
import pytest_asyncio
import redis

from conformance.cluster.link import Link
from conformance.runner.redis_server import RedisServer, Starting
from gateway.faults import StoreFailure
from gateway.settings.schema import StoreSettings
from gateway.store.interface import Watcher
from gateway.store.opening import open_store
from gateway.store.redis import RedisStore
from gateway.store.redis_client import StoreUrlProblem
from gateway.store.redis_link import RedisLink

HOST = "http://studio"

LONG_S = 60.0
"""How long a test waits for what must come; no test is about how soon."""

Opening = Callable[..., RedisStore]


@pytest_asyncio.fixture(loop_scope="session")
async def opening() -> AsyncIterator[Opening]:
    """Open stores, and close them at the end."""
    async with AsyncExitStack() as stack:

        def open_one(server: RedisServer, lease_s: float = 60.0) -> RedisStore:
            settings = StoreSettings(url=server.url, lease_s=lease_s, timeout_s=20.0)
            store = RedisStore(settings)
            stack.push_async_callback(store.aclose)
            return store

        yield open_one


async def until(look: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(LONG_S):
        while not await look():  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.02)


def watched(store: RedisStore) -> tuple[asyncio.Event, asyncio.Event]:
    """Return events that are set when names, and when instances, may have changed."""
    names, instances = asyncio.Event(), asyncio.Event()
    store.watch(Watcher(names.set, instances.set))
    return names, instances


# -- what is wrong at the start -------------------------------------------------------------------


def test_a_url_without_the_client_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra brings it."""
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(StoreUrlProblem, match=r"olgate\[redis\]"):
        open_store(StoreSettings(url="redis://127.0.0.1:1"))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://127.0.0.1", "redis://, rediss://"),
        ("redis+sentinel://127.0.0.1", "the service is missing"),
        ("redis://127.0.0.1?socket_timeout=soon", "socket_timeout"),
    ],
)
def test_a_url_that_is_none_says_what_is_expected(url: str, told: str) -> None:
    """Nothing is asked for it."""
    with pytest.raises(StoreUrlProblem, match=told):
        open_store(StoreSettings(url=url))


@pytest.mark.parametrize(
    ("who", "told"),
    [("", "wants a password"), (":wrong@", "refuses the user or the password")],
)
def test_a_server_with_a_password_says_so(starting: Starting, who: str, told: str) -> None:
    """Waiting would not help, so the gateway does not start; the password is not quoted."""
    server = starting("--requirepass", "secret")
    with pytest.raises(StoreUrlProblem, match=told) as raised:
        open_store(StoreSettings(url=f"redis://{who}127.0.0.1:{server.port}"))
    assert "wrong" not in str(raised.value)


async def test_a_password_in_the_url_is_used(starting: Starting) -> None:
    """Then all is well."""
    server = starting("--requirepass", "secret")
    store = open_store(StoreSettings(url=f"redis://:secret@127.0.0.1:{server.port}"))
    try:
        assert "" == await store.trouble()
        await store.put_alias("a", b"1")
    finally:
        await store.aclose()


async def test_a_replica_says_that_the_master_is_to_be_named(
    starting: Starting, redis_server: RedisServer, opening: Opening
) -> None:
    """It may be a master in a moment, so the gateway starts; nothing can be created until then."""
    store = opening(starting("--replicaof", "127.0.0.1", str(redis_server.port)))
    assert "replica" in await store.trouble()
    with pytest.raises(StoreFailure, match="name the master"):
        await store.put_alias("a", b"1")


async def test_a_full_server_says_so_and_is_used_when_it_has_room(
    starting: Starting, opening: Opening
) -> None:
    """What it has can be read meanwhile."""
    server = starting("--maxmemory", "1", "--maxmemory-policy", "noeviction")
    store = opening(server)
    assert "maxmemory" in await store.trouble()
    with pytest.raises(StoreFailure, match="is full"):
        await store.put_alias("a", b"1")
    assert {} == await store.aliases()
    with redis.Redis(port=server.port) as operator:
        operator.config_set("maxmemory", "0")
    await store.put_alias("a", b"1")
    assert "" == await store.trouble()


def test_a_server_that_is_too_old_is_refused() -> None:
    """The scripts need what newer ones do."""
    with old_redis() as port, pytest.raises(StoreUrlProblem, match=r"Redis 5\.0\.7: use Redis 6"):
        open_store(StoreSettings(url=f"redis://127.0.0.1:{port}"))


@contextmanager
def old_redis() -> Iterator[int]:
    """Play a Redis 5 on a port: it says its version, and OK to all else."""
    facts = b"# Server\r\nredis_version:5.0.7\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            link, _ = listener.accept()
            with link:
                while asked := link.recv(4096):
                    for command in asked.split(b"*")[1:]:
                        is_info = b"INFO\r\n" in command and b"SETINFO" not in command
                        told = b"$%d\r\n%s\r\n" % (len(facts), facts) if is_info else b"+OK\r\n"
                        link.sendall(told)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(LONG_S)


def test_keys_of_a_newer_olgate_are_left_alone(starting: Starting) -> None:
    """An older one would not understand them."""
    server = starting()
    with redis.Redis(port=server.port) as other:
        other.set("{olgate}:schema", "99")
    with pytest.raises(StoreUrlProblem, match="update olgate"):
        open_store(StoreSettings(url=server.url))


# -- away and back --------------------------------------------------------------------------------


async def test_a_server_that_is_away_is_waited_for_by_nobody(
    starting: Starting, opening: Opening
) -> None:
    """The first call finds out; later ones fail at once, until a renewal finds it back."""
    server = starting()
    store = opening(server, lease_s=1.0)
    await store.announce("one")
    await store.put_alias("a", b"1")
    server.kill()

    async def fails() -> bool:
        return bool(await store.trouble())

    await until(fails)
    with pytest.raises(StoreFailure, match="can't be reached"):
        await store.put_alias("b", b"2")
    names, instances = watched(store)
    server.start()
    async with asyncio.timeout(LONG_S):
        await names.wait()
        await instances.wait()
    assert {"a": b"1"} == await store.aliases()
    assert "" == await store.trouble()


async def test_a_server_that_lost_everything_gets_the_names_again(
    starting: Starting, opening: Opening
) -> None:
    """From the gateway that knows the most of them; nothing is changed until then."""
    server = starting(keeps=False)
    one, two = opening(server, lease_s=1.0), opening(server, lease_s=1.0)
    await one.put_alias("a", b"1")
    await one.put_alias("gone", b"2")
    await one.note_first_seen(HOST, ["m"], 17)
    await two.aliases()
    await one.put_pulled("p", b"3")
    await one.delete_alias("gone")
    server.kill()
    server.start()
    # The one that knows less comes first.
    await two.announce("two")
    await one.announce("one")

    async def is_restored() -> bool:
        return await two.aliases() == {"a": b"1"} and await two.pulled() == {"p": b"3"}

    await until(is_restored)
    assert {"m": 17} == await two.note_first_seen(HOST, ["m"], 99)


async def test_nothing_is_claimed_on_a_server_that_was_just_restarted(
    starting: Starting, opening: Opening
) -> None:
    """Its claims may be lost, and the gateways that have them get time to show them again."""
    server = starting(keeps=False)
    one, two = opening(server), opening(server)
    await one.announce("one")
    await two.announce("two")
    assert await one.claim_load(HOST, "one", "pending x", b"1")
    server.kill()
    server.start()
    one._link.poke()
    two._link.poke()

    async def is_back() -> bool:
        try:
            return await one.others_alive("one") and await two.others_alive("two")
        except StoreFailure:
            return False

    await until(is_back)
    assert not await two.claim_load(HOST, "two", "pending x", b"2")
    with pytest.raises(StoreFailure, match="started anew a moment ago"):
        await two.put_alias("a", b"1")
    assert None is await two.claim_unload(HOST, "two", "y")
    await one.update_instances(HOST, "one", {"pending x": b"1"})
    assert {"pending x"} == await two.instances_of_others(HOST, "two")


async def test_one_of_the_gateways_loads_while_the_server_is_away(
    starting: Starting, opening: Opening
) -> None:
    """They can't ask each other, and choose the same one by what they knew."""
    server = starting()
    stores = {name: opening(server) for name in ("one", "two", "three")}
    for name, store in stores.items():
        await store.announce(name)
    for store in stores.values():
        store._link.poke()
        await until(partial(_knows_two, store))
    server.kill()
    chosen = [
        name
        for name, store in stores.items()
        if await store.may_load_unclaimed(HOST, name, "pending x")
    ]
    assert 1 == len(chosen)


async def _knows_two(store: RedisStore) -> bool:
    return len(store._link.others) == 2


async def test_a_claim_stands_while_the_server_is_away(
    starting: Starting, opening: Opening
) -> None:
    """Who has claimed a load may load; nobody else, even one that the hash would choose."""
    server = starting()
    one, two = opening(server), opening(server)
    await one.announce("one")
    await two.announce("two")

    async def listen() -> bool:
        return _listeners(server) == 2

    await until(listen)
    loads = [
        load
        for load in (f"pending {number}" for number in range(64))
        if await two.may_load_unclaimed(HOST, "two", load)
    ]
    heard, refused, ended, never = loads[:4]
    for load in (heard, refused, ended):
        assert await one.claim_load(HOST, "one", load, b"1")
    assert not await two.claim_load(HOST, "two", refused, b"2")
    await one.update_instances(HOST, "one", {ended: None})

    async def may() -> list[bool]:
        return [await two.may_load_unclaimed(HOST, "two", load) for load in loads[:4]]

    async def has_heard() -> bool:
        return await may() == [False, False, True, True]

    await until(has_heard)
    server.kill()
    assert [False, False, True, True] == await may()
    assert [True, True] == [
        await one.may_load_unclaimed(HOST, "one", load) for load in (heard, refused)
    ]
    assert not await one.may_load_unclaimed(HOST, "one", never)


async def test_who_has_come_and_gone_counts_at_once(starting: Starting, opening: Opening) -> None:
    """All gateways must choose the same one that loads while the server is away."""
    server = starting()
    one, two = opening(server, 3600.0), opening(server, 3600.0)
    await one.announce("one")

    async def listens() -> bool:
        return _listeners(server) == 1

    await until(listens)
    for change, others in ((two.announce, {"two"}), (two.withdraw, set())):
        await change("two")

        async def knows(others: set[str] = others) -> bool:
            return one._link.others == others

        await until(knows)


async def test_nothing_is_claimed_on_a_server_that_was_out_of_reach(
    starting: Starting, opening: Opening
) -> None:
    """It was not restarted, and learns in half a lease what was loaded meanwhile."""
    server = starting()
    with Link.opened(server.port) as link:
        settings = StoreSettings(
            url=f"redis://127.0.0.1:{link.port}/0", lease_s=6.0, timeout_s=20.0
        )
        store = RedisStore(settings)
        try:
            await store.announce("one")
            _, instances = watched(store)
            link.cut()

            async def is_away() -> bool:
                return bool(await store.trouble())

            await until(is_away)
            instances.clear()
            link.mend()
            async with asyncio.timeout(LONG_S):
                await instances.wait()
            assert not await store.claim_load(HOST, "one", "pending x", b"1")

            async def claims() -> bool:
                return await store.claim_load(HOST, "one", "pending x", b"1")

            await until(claims)
        finally:
            await store.aclose()


# -- a gateway that stands still ------------------------------------------------------------------


async def test_a_gateway_that_stood_still_is_taken_over_and_learns_of_it(
    starting: Starting, opening: Opening
) -> None:
    """What it loaded is another one's then, and a late word of it changes nothing."""
    server = starting()
    still, other = opening(server, lease_s=1.0), opening(server, lease_s=1.0)
    await still.announce("still")
    await other.announce("other")
    await still.update_instances(HOST, "still", {"x": b"1"}, {"x"})
    assert await still.claim_load(HOST, "still", "pending y", b"2")
    assert [] == await other.take_over_instances(HOST, "other")
    await still._link._stop()
    taken: list[bytes] = []

    async def takes_over() -> bool:
        taken.extend(await other.take_over_instances(HOST, "other"))
        return len(taken) == 2

    await until(takes_over)
    assert [b"1", b"2"] == sorted(taken)
    await other.update_instances(HOST, "other", {"pending y": None, "y": b"3"}, {"y"})
    assert None is await still.claim_unload(HOST, "still", "x")
    _, instances = watched(still)
    await still.announce("still")
    async with asyncio.timeout(LONG_S):
        await instances.wait()
    await still.update_instances(HOST, "still", {"pending y": None, "y": b"2"}, {"y"})
    assert {"x", "y"} == await still.instances_of_others(HOST, "still")


async def test_a_taking_over_whose_answer_was_lost_is_told_again(
    starting: Starting, opening: Opening
) -> None:
    """Else nobody would ever unload what it was about."""
    server = starting()
    dead, heir = opening(server), opening(server)
    await dead.announce("dead")
    await dead.update_instances(HOST, "dead", {"x": b"1"}, {"x"})
    await dead.withdraw("dead")
    await heir.announce("heir")
    assert [b"1"] == await heir.take_over_instances(HOST, "heir")
    assert [b"1"] == await heir.take_over_instances(HOST, "heir")
    await heir.update_instances(HOST, "heir", {"x": b"1"})
    assert [] == await heir.take_over_instances(HOST, "heir")


# -- news -----------------------------------------------------------------------------------------


async def test_other_gateways_are_told_of_changes(starting: Starting, opening: Opening) -> None:
    """Of names, and of a gateway that has come."""
    server = starting()
    one, two = opening(server), opening(server)
    await one.announce("one")
    names, instances = watched(one)

    async def listens() -> bool:
        return _listeners(server) > 0

    await until(listens)
    async with asyncio.timeout(LONG_S):
        await two.put_alias("a", b"1")
        await names.wait()
        await two.announce("two")
        await instances.wait()
    assert {"a": b"1"} == await one.aliases()


def _listeners(server: RedisServer) -> int:
    with redis.Redis(port=server.port) as client:
        ((_, count),) = client.pubsub_numsub("{olgate}:news")
    return int(count)


async def test_a_call_under_way_leaves_no_connection_behind(redis_server: RedisServer) -> None:
    """The library opens one anew for a call whose own is closed, and nobody would close that."""
    link = RedisLink(redis_server.url, "closing", 60.0, 2.0)
    waiting = asyncio.create_task(link.command("BLPOP", "closing:nothing", 0.3))
    client = redis.Redis.from_url(redis_server.url)
    try:

        async def blocks() -> bool:
            return any("blpop" == each["cmd"] for each in client.client_list())

        await until(blocks)
        await link.aclose()
        assert not await blocks()
        assert await waiting is None
    finally:
        client.close()
    with pytest.raises(StoreFailure, match="closed"):
        await link.command("PING")
