"""The journal: how lines look, and what never stands on one."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from gateway import journal
from gateway.settings import LogSettings


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


def test_a_text_line_is_one_line_whatever_a_client_sends() -> None:
    """Control characters, line ends and terminal sequences are escaped."""
    stream = written(LogSettings())
    journal.log_request(
        journal.get_logger(),
        method="GET",
        path="/a\n2026 info forged\x1b[2J",
        status=None,
        duration_ns=1_234_567,
        user_agent='a "b" é',
        outcome="cut",
    )
    (line,) = stream.getvalue().splitlines()

    assert line.partition(" ")[2] == (
        'info    request method=GET path="/a\\n2026 info forged\\u001b[2J" status=- ms=1.2 '
        'agent="a \\"b\\" \\u00e9" outcome=cut'
    )


def test_a_json_line_is_one_object() -> None:
    """The same line for machines, numbers as numbers."""
    stream = written(LogSettings(format="json"))
    journal.log_request(
        journal.get_logger(),
        method="GET",
        path="/",
        status=503,
        duration_ns=2_000_000,
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
        "ms": 2.0,
        "agent": "x",
    } == line


def test_levels_below_the_set_one_are_not_written() -> None:
    """The level is a floor."""
    stream = written(LogSettings(level="warning"))
    log = journal.get_logger()
    log.info("not this")
    log.warning("but this")

    assert ["but this"] == [line.split(maxsplit=2)[2] for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_has_no_values_and_secrets_are_masked(form: str) -> None:
    """Neither local variables nor what a caller hands in under a telling name is written."""
    stream = written(LogSettings(format="json" if form == "json" else "text"))
    prompt = "the prompt".upper()
    try:
        raise RuntimeError("plain words")
    except RuntimeError:
        journal.get_logger().exception("failed", prompt=prompt, token=prompt, length=len(prompt))

    assert "RuntimeError: plain words" in stream.getvalue()
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
