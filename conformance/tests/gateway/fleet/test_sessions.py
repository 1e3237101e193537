"""Which host gave an answer its identifier (gateway.fleet.sessions)."""

import asyncio
from dataclasses import dataclass, field

from gateway.faults import StoreFailure
from gateway.fleet import sessions
from gateway.fleet.sessions import Sessions

A, B = "http://a.example:1234", "http://b.example:1234"


@dataclass
class Board:
    """A board in memory, which can be away, and calls back when it is asked."""

    rows: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    later: dict[str, str] = field(default_factory=dict)
    """What is written as soon as somebody has asked for it."""
    is_away: bool = False

    async def exchange_requests(self, *_: object) -> dict[str, dict[str, int]]:
        """Nothing runs elsewhere."""
        return {}

    async def put_drained(self, host: str, *, is_drained: bool) -> None:
        """Nobody drains."""
        raise NotImplementedError

    async def drained(self) -> frozenset[str]:
        """No host is drained."""
        return frozenset()

    async def put_session(self, session: str, host: str, lasts_s: float) -> None:
        """Keep one."""
        if self.is_away:
            raise StoreFailure("away")
        self.rows[session] = host

    async def session(self, session: str) -> str | None:
        """Return one."""
        self.asked.append(session)
        if self.is_away:
            raise StoreFailure("away")
        found = self.rows.get(session)
        if session in self.later:
            self.rows[session] = self.later.pop(session)
        return found


@dataclass
class Clock:
    """A clock that stands still."""

    now: float = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


async def test_the_store_is_not_asked_for_what_is_known_here() -> None:
    """It is told in the background."""
    board = Board()
    known = Sessions(board, 60)
    known.note("resp_1", A)
    assert A == await known.host_of("resp_1")
    assert [] == board.asked
    await known.aclose()
    assert {"resp_1": A} == board.rows


async def test_another_gateways_identifier_is_asked_for_once() -> None:
    """Then it is known here."""
    board = Board({"resp_1": B})
    known = Sessions(board, 60)
    assert [B, B] == [await known.host_of("resp_1") for _ in range(2)]
    assert ["resp_1"] == board.asked


async def test_another_gateway_may_be_about_to_write() -> None:
    """The store is asked twice before an identifier counts as unknown."""
    known = Sessions(Board(later={"resp_1": B}), 60)
    assert B == await known.host_of("resp_1")
    assert await known.host_of("resp_2") is None


async def test_an_identifier_is_forgotten() -> None:
    """After its time, or when there are too many."""
    board, clock = Board(), Clock()
    known = Sessions(board, 60, clock)
    known.note("resp_1", A)
    await known.aclose()
    board.rows.clear()
    clock.now = 59.0
    assert A == await known.host_of("resp_1")
    clock.now = 60.0
    assert await known.host_of("resp_1") is None


async def test_memory_is_bounded() -> None:
    """The oldest identifiers are only in the store."""
    board = Board()
    known = Sessions(board, 60)
    for number in range(sessions.MOST + 1):
        known.note(f"resp_{number}", A)
    await known.aclose()
    assert A == await known.host_of(f"resp_{sessions.MOST}")
    assert [] == board.asked
    assert await known.host_of("resp_0") in (A, None)
    assert "resp_0" in board.asked


async def test_what_is_no_identifier_is_not_kept() -> None:
    """An empty text, or one that is long."""
    board = Board()
    known = Sessions(board, 60)
    for odd in ("", "r" * (sessions.MOST_CHARS + 1)):
        known.note(odd, A)
        assert await known.host_of(odd) is None
    await known.aclose()
    assert ({}, []) == (board.rows, board.asked)


async def test_without_the_store_a_gateway_knows_its_own() -> None:
    """What could not be written is written with the next one."""
    board = Board(is_away=True)
    known = Sessions(board, 60)
    known.note("resp_1", A)
    assert known._writing is not None
    await asyncio.wait({known._writing})
    assert (A, None) == (await known.host_of("resp_1"), await known.host_of("resp_2"))
    board.is_away = False
    known.note("resp_3", B)
    await known.aclose()
    assert {"resp_1": A, "resp_3": B} == board.rows
