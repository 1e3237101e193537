"""The forms of a Redis that a URL can name: users, TLS, sentinels and a cluster, each for real."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from conformance.runner.redis_server import MISSING, RedisServer, Starting
from conformance.runner.restartable import free_port
from gateway.faults import StoreFailure
from gateway.settings.schema import StoreSettings
from gateway.store.opening import open_store
from gateway.store.redis_client import StoreUrlProblem

HOST = "http://studio"
LONG_S = 60.0
"""How long a test waits for what must come; no test is about how soon."""


async def use(url: str) -> None:
    """Do what gateways do on a store: names, a load, uses, sessions, and news of them."""
    settings = StoreSettings(url=url, timeout_s=20.0)
    store = open_store(settings)
    try:
        assert "" == await store.trouble()
        await store.announce("one")
        await store.put_alias("mine", b"1")
        assert {"mine": b"1"} == await store.aliases()
        assert await store.claim_load(HOST, "one", "pending x", b"{}")
        await store.update_instances(HOST, "one", {"pending x": None, "x": b"{}"}, {"x"})
        assert set() == await store.use_instances(HOST, "one", {"y": True}, time.time())
        assert set() == await store.wanted_unloads(HOST, "one")
        await store.board.put_session("resp_1", HOST, 60.0)
        assert HOST == await store.board.session("resp_1")
        assert {} == await store.board.exchange_requests("one", {HOST: {"": 1}})
        await store.withdraw("one")
    finally:
        await store.aclose()


async def trouble_of(settings: StoreSettings) -> str:
    """Return what is wrong with a store, whether a gateway starts with it or not."""
    try:
        store = open_store(settings)
    except StoreUrlProblem as problem:
        return str(problem)
    try:
        return await store.trouble()
    finally:
        await store.aclose()


# -- users ----------------------------------------------------------------------------------------

ALLOWED = ("~{olgate}:*", "&{olgate}:*", "+@all", "-@dangerous", "+info", "+evalsha", "+eval")
"""What the error text of a refused command tells to give the user."""


def with_user(server: RedisServer, *rules: str) -> str:
    """Make a user, and return the URL with it."""
    with redis.Redis(port=server.port) as admin:
        admin.execute_command("ACL", "SETUSER", "gateways", "on", ">secret", *rules)
    return f"redis://gateways:secret@127.0.0.1:{server.port}/0"


async def test_a_user_with_what_the_sentence_says_can_do_all(starting: Starting) -> None:
    """Keys and channels of the prefix, and no dangerous commands."""
    await use(with_user(starting(keeps=False), *ALLOWED))


def test_a_user_that_may_not_is_told_what_to_give(starting: Starting) -> None:
    """Waiting would not help."""
    url = with_user(starting(keeps=False), "~other:*", "+@all")
    with pytest.raises(StoreUrlProblem, match=r"give the user all keys and channels") as raised:
        open_store(StoreSettings(url=url))
    assert "secret" not in str(raised.value)


# -- TLS ------------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Return a certificate for 127.0.0.1, which signs itself, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    certificate, key = tmp_path / "redis.crt", tmp_path / "redis.key"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


def tls_of(certificate: tuple[Path, Path], port: str) -> tuple[str, ...]:
    """Return the options of a server that speaks TLS on a further port."""
    return ("--tls-port", port, "--tls-cert-file", str(certificate[0]),
            "--tls-key-file", str(certificate[1]), "--tls-auth-clients", "no")  # fmt: skip


async def test_tls_with_the_certificate_to_check_with(
    starting: Starting, certificate: tuple[Path, Path]
) -> None:
    """And without it the sentence says what is missing."""
    port = free_port()
    starting(*tls_of(certificate, str(port)), keeps=False)
    await use(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate[0]}")
    with pytest.raises(StoreUrlProblem, match="ssl_ca_certs=FILE"):
        open_store(StoreSettings(url=f"rediss://127.0.0.1:{port}/0"))


async def test_tls_to_a_server_without_it(starting: Starting) -> None:
    """It may get it in a moment, or the scheme is wrong: the sentence names both."""
    server = starting(keeps=False)
    told = await trouble_of(StoreSettings(url=f"rediss://127.0.0.1:{server.port}/0"))
    assert "rediss://" in told


# -- sentinels ------------------------------------------------------------------------------------


@pytest.fixture
def sentinel(starting: Starting, tmp_path: Path) -> Iterator[tuple[int, RedisServer, RedisServer]]:
    """Run a sentinel over a master and a replica; return its port, the master, and the replica."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip(MISSING)
    master = starting(keeps=False)
    replica = starting("--replicaof", "127.0.0.1", str(master.port), keeps=False)
    port = free_port()
    settings = tmp_path / "sentinel.conf"
    settings.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\n"
        f"sentinel monitor gateways 127.0.0.1 {master.port} 1\n"
        "sentinel down-after-milliseconds gateways 500\n"
        "sentinel failover-timeout gateways 5000\n"
    )
    process = subprocess.Popen(
        [program, settings, "--sentinel"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + LONG_S
        while time.monotonic() < until:
            try:
                with redis.Redis(port=port) as asked:
                    found = asked.execute_command("SENTINEL", "REPLICAS", "gateways")
                    if found:
                        break
            except redis.ConnectionError:
                pass
            time.sleep(0.05)
        yield port, master, replica
    finally:
        process.kill()
        process.wait()


async def test_the_master_that_a_sentinel_names(
    sentinel: tuple[int, RedisServer, RedisServer],
) -> None:
    """Another master takes over when it is gone, and the store goes on with it."""
    port, master, _ = sentinel
    url = f"redis+sentinel://127.0.0.1:{port}/gateways/0"
    await use(url)
    store = open_store(StoreSettings(url=url, lease_s=2.0, timeout_s=1.0))
    try:
        await store.announce("one")
        master.kill()
        async with asyncio.timeout(LONG_S):
            while True:
                try:
                    await store.put_alias("later", b"2")
                    break
                except StoreFailure:
                    await asyncio.sleep(0.1)
        assert b"2" == (await store.aliases())["later"]
    finally:
        await store.aclose()


async def test_a_service_that_no_sentinel_knows(
    sentinel: tuple[int, RedisServer, RedisServer],
) -> None:
    """The sentence says so; the gateway serves without a store meanwhile."""
    url = f"redis+sentinel://127.0.0.1:{sentinel[0]}/other/0"
    assert "other" in await trouble_of(StoreSettings(url=url, timeout_s=2.0))


# -- a cluster ------------------------------------------------------------------------------------


@pytest.fixture
def cluster(starting: Starting) -> list[RedisServer]:
    """Run three nodes that are one cluster."""
    command = shutil.which("redis-cli")
    if command is None:
        pytest.skip("redis-cli is not installed (Debian's package redis-tools has it)")
    flags = ("--cluster-enabled", "yes", "--cluster-node-timeout", "3000")
    nodes = [
        starting(*flags, "--cluster-config-file", f"nodes-{each}.conf", keeps=False)
        for each in range(3)
    ]
    made = subprocess.run(
        [command, "--cluster", "create", *(f"127.0.0.1:{node.port}" for node in nodes),
         "--cluster-replicas", "0", "--cluster-yes"],
        capture_output=True, text=True, check=False, timeout=LONG_S,
    )  # fmt: skip
    assert 0 == made.returncode, made.stdout + made.stderr
    for node in nodes:
        _await_cluster(node)
    return nodes


def _await_cluster(node: RedisServer) -> None:
    """Wait until a node takes commands: each learns of the others' slots in its own time."""
    until = time.monotonic() + LONG_S
    with redis.Redis(port=node.port) as admin:
        while b"cluster_state:ok" not in admin.execute_command("CLUSTER", "INFO"):
            assert time.monotonic() < until, "the cluster does not come up"
            time.sleep(0.05)


async def test_a_cluster_of_which_one_node_is_named(cluster: list[RedisServer]) -> None:
    """All keys have one hash tag, so every script runs on one node, whichever that is."""
    for node in cluster:
        await use(f"redis+cluster://127.0.0.1:{node.port}")
        for each in cluster:
            with redis.Redis(port=each.port) as admin:
                admin.flushall()
