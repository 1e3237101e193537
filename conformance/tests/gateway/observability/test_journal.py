"""The journal: how lines look, and what never stands on one."""

import contextvars
import io
import json
import logging
import re
from collections.abc import Iterator
from time import perf_counter_ns
from typing import Literal

import pytest
import structlog

from gateway.observability import journal
from gateway.observability.record import Record, enter, leave, start_record
from gateway.settings.schema import LogSettings


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Give back structlog's and logging's set-up as it was."""
    root = logging.getLogger()
    handlers, level, config = root.handlers[:], root.level, structlog.get_config()
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**config)


def written(settings: LogSettings) -> io.StringIO:
    """Set up a journal that can be read."""
    stream = io.StringIO()
    journal.configure(settings, stream)
    return stream


def lasting(seconds: float) -> Record:
    """Return the record of a request that began so long ago."""
    record = Record()
    record.started_ns = perf_counter_ns() - int(seconds * 1e9)
    return record


def test_a_text_line_is_one_line_whatever_a_client_sends() -> None:
    """Control characters, line ends and terminal sequences are escaped."""
    stream = written(LogSettings())
    record = lasting(1.234567)
    journal.log_request(
        journal.get_logger(),
        method="GET",
        path="/a\n2026 info forged\x1b[2J",
        status=None,
        record=record,
        user_agent='a "b" é',
        outcome="cut",
    )
    (line,) = stream.getvalue().splitlines()

    assert re.search(r" took_s=1\.\d+ ", line)
    assert re.sub(r"took_s=\S+", "took_s=TOOK", line).partition(" ")[2] == (
        'info    request method=GET path="/a\\n2026 info forged\\u001b[2J" status=- took_s=TOOK '
        'agent="a \\"b\\" \\u00e9" outcome=cut'
    )


def test_a_json_line_is_one_object() -> None:
    """The same line for machines, numbers as numbers."""
    stream = written(LogSettings(format="json"))
    record = lasting(2.0)
    record.is_stream, record.first_ns = True, record.started_ns + 1_500_000_000
    record.model, record.upstream, record.upstream_status = "m:latest", "host:1234", 500
    record.tokens_in, record.tokens_out = 7, 0
    record.retries, record.fault = 1, "stated"
    journal.log_request(
        journal.get_logger(),
        method="GET",
        path="/",
        status=503,
        record=record,
        user_agent="x",
    )
    line = json.loads(stream.getvalue())

    assert {
        "timestamp": line["timestamp"],
        "level": "warning",
        "event": "request",
        "method": "GET",
        "path": "/",
        "status": 503,
        "took_s": line["took_s"],
        "agent": "x",
        "first_s": 1.5,
        "model": "m:latest",
        "upstream": "host:1234",
        "upstream_status": 500,
        "tokens_in": 7,
        "tokens_out": 0,
        "retries": 1,
        "fault": "stated",
    } == line
    assert 2.0 <= line["took_s"] < 60


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("status", [None, 200, 503])
@pytest.mark.parametrize("is_full", [False, True], ids=["bare", "full"])
def test_a_requests_line_is_as_structlog_writes_it(
    form: Literal["text", "json"], status: int | None, is_full: bool
) -> None:
    """It is made without structlog unless somebody else has set that up."""
    stream = written(LogSettings(format=form))
    record = Record()
    token = enter(record)
    if is_full:
        record.client, record.key, record.model = "::1", "a key", "m" * 301
        record.host, record.upstream, record.upstream_status = "one", "host:1", 404
        record.is_stream, record.first_ns = True, record.started_ns + 1
        record.queued_ns, record.tokens_in, record.tokens_out = 5_000_000, 0, 7
        record.retries, record.fault = 2, "stated"
    lines = []
    for _ in range(2):
        journal.log_request(
            journal.get_logger(),
            method="GET",
            path="/" + "é" * 300,
            status=status,
            record=record,
            user_agent="a b" * 150 if is_full else "",
            outcome="left" if is_full else "complete",
        )
        line = stream.getvalue().splitlines()[-1]
        lines.append(re.sub(r"(took_s\W+)[\d.e-]+|[\d-]{10}T[\d:.]+Z", r"\1", line))
        # The same steps, but not the journal's own list of them.
        structlog.configure(processors=[*structlog.get_config()["processors"]])

    leave(token)
    assert 2 == len(stream.getvalue().splitlines())
    assert lines[0] == lines[1]
    assert record.id in lines[0]


def test_levels_below_the_set_one_are_not_written() -> None:
    """The level is a floor."""
    stream = written(LogSettings(level="warning"))
    log = journal.get_logger()
    log.info("not this")
    log.warning("but this")

    assert ["but this"] == [line.split(maxsplit=2)[2] for line in stream.getvalue().splitlines()]


def test_lines_of_a_request_say_its_id() -> None:
    """Whoever writes them, and none outside of a request does."""
    stream = written(LogSettings())
    log = journal.get_logger()
    log.info("outside")

    def serve() -> None:
        start_record(None, "mine-7")
        log.info("inside")

    contextvars.copy_context().run(serve)
    outside, inside = stream.getvalue().splitlines()
    assert outside.endswith("outside")
    assert inside.endswith("inside id=mine-7")


@pytest.mark.parametrize("identifier", ["", "a b", "x" * 129, "a\nb", "é"])
def test_an_id_that_cannot_stand_on_a_line_is_replaced(identifier: str) -> None:
    """Ours are different for every request."""
    found = {Record(None, identifier).id for _ in range(3)}
    assert 3 == len(found)
    assert identifier not in found


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_text_of_an_exception_is_written_by_setting_only(form: str) -> None:
    """It may quote a request; the kind and the place are always there, causes included."""
    for bodies in (False, True):
        stream = written(LogSettings(format="json" if form == "json" else "text", bodies=bodies))
        words = ["UPON A TIME".lower(), "EVER AFTER".lower()]
        try:
            try:
                raise KeyError(words[0])
            except KeyError as error:
                raise RuntimeError(words[1]) from error
        except RuntimeError:
            journal.get_logger().exception("failed")
            logging.getLogger("uvicorn.error").error("failed", exc_info=True)

        text = stream.getvalue()
        assert [bodies, bodies] == [word in text for word in words]
        assert all(kind in text for kind in ("KeyError", "RuntimeError", "test_journal.py"))


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_has_no_values_and_secrets_are_masked(form: str) -> None:
    """Neither local variables nor what a caller hands in under a telling name is written."""
    stream = written(LogSettings(format="json" if form == "json" else "text"))
    prompt = "the prompt".upper()
    try:
        raise RuntimeError("plain words")
    except RuntimeError:
        journal.get_logger().exception("failed", prompt=prompt, token=prompt, length=len(prompt))

    assert "RuntimeError" in stream.getvalue()
    assert "THE PROMPT" not in stream.getvalue()
    assert "masked" in stream.getvalue()


def test_long_texts_are_cut() -> None:
    """A client cannot fill the journal with one path."""
    stream = written(LogSettings())
    journal.get_logger().info("x", path="a" * 100_000)

    assert len(stream.getvalue()) < 1_000


def test_libraries_write_in_the_same_form_from_warnings_on() -> None:
    """What a library says on lower levels is dropped, whatever our own level is."""
    stream = written(LogSettings(level="debug", format="json"))
    logging.getLogger("some.library").info("not this")
    logging.getLogger("some.library").warning("but %s", "this")
    line = json.loads(stream.getvalue())

    assert ("warning", "but this") == (line["level"], line["event"])


def test_a_reader_that_has_gone_away_fails_nothing() -> None:
    """Writing to a closed stream is not the request's trouble."""
    stream = written(LogSettings())
    stream.close()
    journal.get_logger().info("into the void")

    assert stream.closed
