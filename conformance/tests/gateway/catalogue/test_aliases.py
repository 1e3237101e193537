"""How many aliases a store takes, and how large they may be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing

import pytest

from gateway.catalogue import aliases
from gateway.catalogue.aliases import Alias, Aliases, TooMuchToKeep
from gateway.store.interface import AliasChanges
from gateway.store.sqlite import SqliteStore
from gateway.store.sqlite_file import MEMORY
from gateway.types import internal

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def store() -> Iterator[SqliteStore]:
    """Open a store in memory."""
    with closing(SqliteStore(MEMORY)) as opened:
        yield opened


def alias(name: str, system: str = "") -> Alias:
    made = internal.MadeModel(parent="", system=system, license=[], parameters={}, messages=[])
    return Alias(name=name, request_key="k", modified_at="2026-01-01T00:00:00Z", made=made)


async def test_what_a_store_takes_has_bounds(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All aliases are read again and again, and held."""
    monkeypatch.setattr(aliases, "MAX_MODELS", 2)
    monkeypatch.setattr(aliases, "MAX_BYTES", 1000)
    kept = Aliases(store, {})
    await kept.keep(alias("a:latest"))
    await kept.keep(alias("b:latest"))

    with pytest.raises(TooMuchToKeep, match="at most 2 models"):
        await kept.keep(alias("c:latest"))
    with pytest.raises(TooMuchToKeep, match="1000 bytes"):
        await kept.keep(alias("a:latest", "x" * 1000))
    await kept.keep(alias("a:latest", "y"))
    assert "y" == kept.kept[next(key for key in kept.kept if "/a:" in key)].made.system


async def test_only_what_has_changed_is_decoded(store: SqliteStore) -> None:
    """The aliases that stay are the same objects; a gateway on the same store sees the others."""
    kept, other = Aliases(store, {}), Aliases(store, {})
    await kept.keep(alias("a:latest"))
    await kept.keep(alias("b:latest"))
    await kept.refresh()
    before = dict(kept.kept)
    await other.refresh()
    await other.keep(alias("b:latest", "new"))
    await kept.refresh()

    (a, b) = sorted(before)
    assert before[a] is kept.kept[a]
    assert "new" == kept.kept[b].made.system


async def test_only_what_has_changed_is_read(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refresh with every list must not read the documents of all models each time."""
    kept, other = Aliases(store, {}), Aliases(store, {})
    read: list[dict[str, bytes] | None] = []
    changed_aliases = store.changed_aliases

    async def noting(since: int) -> AliasChanges | None:
        changes = await changed_aliases(since)
        read.append(None if changes is None else changes.documents)
        return changes

    monkeypatch.setattr(store, "changed_aliases", noting)
    await other.keep(alias("a:latest"))
    await other.keep(alias("b:latest"))
    await kept.refresh()
    await kept.refresh()
    await other.keep(alias("b:latest", "new"))
    await kept.refresh()
    await other.forget("a:latest")
    await kept.refresh()

    assert [2, None, 1, 0] == [None if one is None else len(one) for one in read]
    assert ["new"] == [one.made.system for one in kept.kept.values()]


async def test_a_model_that_is_kept_during_a_refresh_stays(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the refresh has read is older."""
    kept = Aliases(store, {})
    await kept.keep(alias("a:latest"))
    has_read, go_on = asyncio.Event(), asyncio.Event()
    changed_aliases = store.changed_aliases

    async def slowly(since: int) -> AliasChanges | None:
        changes = await changed_aliases(since)
        has_read.set()
        await go_on.wait()
        return changes

    monkeypatch.setattr(store, "changed_aliases", slowly)
    refreshing = asyncio.ensure_future(kept.refresh())
    await has_read.wait()
    await kept.keep(alias("b:latest"))
    go_on.set()
    await refreshing

    assert 2 == len(kept.kept)
