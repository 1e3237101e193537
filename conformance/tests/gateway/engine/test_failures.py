"""The one ladder of failures: what is told, logged and counted of each kind of exception."""

import asyncio
from collections.abc import Awaitable

import pytest

from conformance.tests.gateway.support import lines_of, written
from gateway.engine.failures import Failures
from gateway.faults import GOING_DOWN, INTERNAL, ClientGone, Refusal, UpstreamFailure
from gateway.observability.record import Grant, Record, enter, leave
from gateway.runtime.context import RequestContext
from gateway.settings.schema import Settings

CUT = UpstreamFailure("cut", fault="closed_mid_stream")
STATED = UpstreamFailure("a prompt was too long", status=400)


class Client:
    """A client whose answer has begun or not, and that is there or not."""

    pinned: str | None = None
    served_by = ""
    held_bytes = 0
    grant: Grant | None = None

    def __init__(self, *, is_started: bool = False, is_gone: bool = False) -> None:
        self.is_started = is_started
        self.is_gone = is_gone
        self.told: list[tuple[int, str]] = []

    def leave(self) -> None:
        """Leave."""
        self.is_gone = True

    def start_after(self, seconds: float) -> None:
        """Have nothing to start."""

    def stop_waiting(self) -> None:
        """Have nothing to wait for."""

    def add_header(self, name: str, value: str) -> None:
        """Take no header."""

    async def answer(
        self, status: int, content_type: bytes, body: bytes | list[bytes | memoryview]
    ) -> None:
        """Take no answer."""

    def push(self, part: bytes) -> Awaitable[None] | None:
        """Take no part."""
        return None

    async def finish(self, lines: bytes = b"") -> None:
        """Take no end."""

    async def refuse(self, refusal: Refusal) -> None:
        """Be told of an error."""
        self.told.append((refusal.status, refusal.error))


async def conclude(problem: BaseException, client: Client) -> tuple[bool, str | None]:
    """Have a request end with an exception; return whether that was all, and the fault counted."""
    record = Record()
    token = enter(record)
    settings = Settings()
    try:
        raise problem
    except BaseException as caught:
        done = await Failures(settings).conclude(
            caught, client, client.refuse, RequestContext(settings, ""), "/some/path"
        )
    finally:
        leave(token)
    return done, record.fault


@pytest.mark.parametrize(
    ("problem", "told", "fault", "logged"),
    [
        (Refusal(404, "no such model"), [(404, "no such model")], None, None),
        (CUT, [(502, None)], "closed_mid_stream", "upstream failure"),
        (STATED, [(400, "a prompt was too long")], "stated", "upstream failure"),
        (ClientGone(), [], None, None),
        (ValueError("a secret"), [(500, INTERNAL)], "internal", "request failed (internal error)"),
    ],
)
async def test_a_failure_is_told_logged_and_counted(
    problem: Exception,
    told: list[tuple[int, str | None]],
    fault: str | None,
    logged: str | None,
) -> None:
    """Each kind in its own way; a client that left is told nothing."""
    client = Client()
    with written(format="json") as lines:
        assert (True, fault) == await conclude(problem, client)

    assert [status for status, _ in told] == [status for status, _ in client.told]
    for (_, wanted), (_, text) in zip(told, client.told, strict=True):
        assert wanted in (None, text)
    found = lines_of(lines, logged) if logged else []
    assert bool(logged) == bool(found)
    assert all("/some/path" == line["path"] for line in found)
    assert "a secret" not in str(client.told)
    assert isinstance(problem, ClientGone) == client.is_gone


@pytest.mark.parametrize(
    ("client", "told"),
    [
        (Client(), []),
        (Client(is_started=True), [(503, GOING_DOWN)]),
        (Client(is_started=True, is_gone=True), []),
    ],
)
async def test_a_cancelled_request_says_why_its_answer_ends(
    client: Client, told: list[tuple[int, str]]
) -> None:
    """To a client that has the beginning of an answer and is still there; then it goes on."""
    assert (False, None) == await conclude(asyncio.CancelledError(), client)
    assert told == client.told


async def test_what_ends_the_process_is_told_to_nobody() -> None:
    """It is raised again."""
    client = Client()
    assert (False, None) == await conclude(SystemExit(), client)
    assert [] == client.told
