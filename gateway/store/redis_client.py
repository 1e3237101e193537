"""
The client of Redis or Valkey: made from a URL, and what its failures mean in plain sentences.

redis-py is imported here and nowhere else, and only when a store's URL asks for it.
"""

from __future__ import annotations

import asyncio
import ssl
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import SplitResult, urlsplit, urlunsplit

from ..faults import StartProblem
from ..settings.values import STORE_SCHEMES
from ..settings.written import shown_url
from .redis_scripts import VERSION, Layout

if TYPE_CHECKING:
    from redis.asyncio import Redis, RedisCluster

OLDEST = (6, 0)
"""The oldest version of Redis that serves: the scripts need its rules for times in scripts."""

SENTINEL_PORT = 26379

WHERE = "store.url (OLGATE_STORE_URL)"


class StoreUrlProblem(StartProblem):
    """The shared store can't be used as it is set; the text says why, and what to do."""


class Trouble(NamedTuple):
    """
    Why the server can't be used, in a sentence with the next step.

    `is_final` says that waiting does not help: the settings or the server must change.
    """

    text: str
    is_final: bool


class ServerFacts(NamedTuple):
    """What a server says of itself."""

    version: str
    kind: str


def make_client(url: str, timeout_s: float) -> Redis | RedisCluster:
    """
    Return the client for a URL, which connects with its first command.

    Raises StoreUrlProblem if redis-py is not installed, or the URL is none of
    `STORE_SCHEMES`.
    """
    parts = _split(url)
    if parts.scheme not in STORE_SCHEMES:
        raise StoreUrlProblem(
            f"{WHERE} begins with {parts.scheme or 'no scheme'}: expected one of "
            + ", ".join(f"{scheme}://" for scheme in STORE_SCHEMES)
        )
    try:
        import redis.asyncio as client
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        from redis.exceptions import ConnectionError as Broken
    except ImportError:
        raise StoreUrlProblem(
            f"{WHERE} names a Redis, and its client is not installed: install olgate with the extra"
            " `redis` (`uv tool install 'olgate[redis]'` or `pip install 'olgate[redis]'`)"
        ) from None
    options: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        # An idle connection that the server has closed costs a second try, and no more.
        "retry": Retry(NoBackoff(), 1, (Broken,)),
        "protocol": 2,
        "client_name": "olgate",
    }
    kind = parts.scheme.partition("+")[2]
    try:
        if kind == "sentinel":
            return _through_sentinels(parts, client, options)
        if kind == "cluster":
            plain = urlunsplit((parts.scheme.partition("+")[0], *parts[1:]))
            return client.RedisCluster.from_url(plain, **options)
        return client.Redis.from_url(url, **options)
    except (ValueError, TypeError) as error:
        raise StoreUrlProblem(f"{WHERE} can't be read: {error}") from None


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url.strip())
    except ValueError:
        return SplitResult("", "", "", "", "")


def _through_sentinels(parts: SplitResult, client: Any, options: dict[str, Any]) -> Redis:
    """Return a client of the master that sentinels name: `//HOST:PORT,HOST:PORT/SERVICE/DB`."""
    who, _, hosts = parts.netloc.rpartition("@")
    service, _, number = parts.path.strip("/").partition("/")
    if not service:
        raise ValueError(
            "expected redis+sentinel://HOST:PORT,…/SERVICE, and the service is missing"
        )
    # redis-py itself reads the user, the password and what stands behind the question mark.
    plain = urlunsplit(
        ("redis", f"{who}@localhost" if who else "localhost", f"/{number}", parts.query, "")
    )
    stated = {
        name: value
        for name, value in client.ConnectionPool.from_url(plain).connection_kwargs.items()
        if name not in ("host", "port", "connection_class") and value is not None
    }
    sentinels = []
    for each in hosts.split(","):
        name, _, port = each.rpartition(":") if ":" in each else (each, "", "")
        sentinels.append((name or each, int(port or SENTINEL_PORT)))
    found = client.Sentinel(
        sentinels,
        sentinel_kwargs={
            name: options[name] for name in ("socket_timeout", "socket_connect_timeout")
        },
        **{**options, **stated, "ssl": parts.scheme.startswith("rediss")},
    )
    master: Redis = found.master_for(service)
    return master


async def close(client: Redis | RedisCluster) -> None:
    """Close a client of `make_client`, with its connections to sentinels."""
    await client.aclose()
    # The client of a master closes its own connections only.
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    for sentinel in manager.sentinels if manager is not None else ():
        await sentinel.aclose()


def explain(error: BaseException, url: str) -> Trouble:
    """Return what a failure of the client means, and what to do about it."""
    where, text, kind = f"the store {shown_url(url)}", str(error), type(error).__name__
    final = True
    if "NOAUTH" in text or "Authentication required" in text:
        told = f"{where} wants a password: put it into {WHERE} as redis://:PASSWORD@HOST, or into "
        told += "a file that store.url_file names"
    elif "WRONGPASS" in text or "invalid username-password" in text or "invalid password" in text:
        told = f"{where} refuses the user or the password: correct them in {WHERE}"
    elif "without any password configured" in text:
        told = f"{where} has no password, and {WHERE} has one: take it out, or set one there"
    elif kind == "NoPermissionError" or "NOPERM" in text:
        told = f"{where} does not let this user do what is needed ({text}): give the user all "
        told += "keys and channels of store.prefix, and the command categories +@all -@dangerous "
        told += "+info +evalsha +eval"
    elif kind == "ReadOnlyError" or "READONLY" in text:
        told = f"{where} is a replica, which can't be written: name the master in {WHERE}, or the "
        told += "sentinels (redis+sentinel://…)"
        final = False
    elif kind == "OutOfMemoryError" or "OOM" in text:
        told = f"{where} is full: raise its maxmemory, or have it evict what others keep "
        told += "there for a time (maxmemory-policy volatile-lru)"
        final = False
    elif "MISCONF" in text:
        told = f"{where} can't write to its own disk and refuses changes: see its log"
        final = False
    elif kind == "BusyLoadingError" or "LOADING" in text:
        told = f"{where} is still reading its data: wait a moment"
        final = False
    elif "DB index is out of range" in text:
        told = f"{where} has no such database: correct the number at the end of {WHERE}"
    elif "unknown command" in text.lower():
        told = f"{where} lacks a command that is needed ({text}): use Redis 6 or later, or Valkey"
    elif isinstance(error.__cause__ or error, ssl.SSLError) or "SSL" in text:
        told = f"{where} can't be reached by TLS ({text}): check rediss:// and its certificate "
        told += "(?ssl_ca_certs=FILE)"
    elif isinstance(error, TimeoutError) or "imeout" in text:
        told = f"{where} does not answer in time: see whether it runs and is not overloaded"
        final = False
    elif isinstance(error, OSError) or kind.endswith("ConnectionError"):
        told = f"{where} can't be reached ({text}): start it, or correct {WHERE}"
        final = False
    else:
        told = f"{where} answers with an error ({text}): see its log"
        final = False
    return Trouble(told, final)


def is_away(error: BaseException) -> bool:
    """Whether no command at all can be asked now, so that the next one need not wait for it."""
    from redis import exceptions

    return isinstance(
        error,
        exceptions.ConnectionError
        | exceptions.TimeoutError
        | exceptions.ClusterDownError
        | exceptions.RedisClusterException
        | OSError,
    )


async def try_it(client: Redis | RedisCluster, layout: Layout) -> None:
    """Write a key that goes away by itself, in a script. Raises redis-py's exceptions."""
    key = layout.key("probe")
    await client.eval("return redis.call('SET', KEYS[1], '1', 'PX', 1000)", 1, key)


async def look(client: Redis | RedisCluster) -> ServerFacts:
    """Ask a server what it is. Raises redis-py's exceptions."""
    found: Any = await client.info("server")
    # A cluster's answer has one for each node.
    facts = found if "redis_version" in found else next(iter(found.values()), {})
    is_valkey = "valkey_version" in facts
    version = facts.get("valkey_version" if is_valkey else "redis_version", "")
    return ServerFacts(str(version), "Valkey" if is_valkey else "Redis")


def is_too_old(facts: ServerFacts) -> bool:
    """Whether a server is older than `OLDEST`; one that hides its version is not."""
    if facts.kind != "Redis":
        return False
    parts = facts.version.split(".")[:2]
    return all(part.isdigit() for part in parts) and tuple(map(int, parts)) < OLDEST


def check_at_start(url: str, timeout_s: float, layout: Layout) -> Trouble | None:
    """
    Ask the server once, on a thread with a loop of its own, and return what is wrong with it.

    A server that can't be reached is no reason not to start: the gateway serves with what it knows.
    Raises StoreUrlProblem for what has to be corrected first.
    """

    async def ask() -> None:
        client = make_client(url, timeout_s)
        try:
            facts = await look(client)
            if is_too_old(facts):
                raise StoreUrlProblem(
                    f"the store {shown_url(url)} is Redis {facts.version}: use Redis "
                    f"{OLDEST[0]} or later, or Valkey"
                )
            await try_it(client, layout)
            version = await client.get(layout.key("schema"))
            if version is not None and int(version) > VERSION:
                raise StoreUrlProblem(
                    f"a newer olgate has written the store {shown_url(url)} (version "
                    f"{int(version)}): update olgate, or set another store.prefix"
                )
        finally:
            await close(client)

    with ThreadPoolExecutor(1, thread_name_prefix="store-check") as thread:
        try:
            thread.submit(asyncio.run, ask()).result()
        except StartProblem:
            raise
        except Exception as error:
            trouble = explain(error, url)
            if trouble.is_final:
                raise StoreUrlProblem(trouble.text) from None
            return trouble
    return None
