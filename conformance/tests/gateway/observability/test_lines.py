"""Standard error that nobody reads, that is closed, or that is not there."""

import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import httpx
import pytest

from conformance.runner.processes import ROOT, clean_environment
from gateway.observability.lines import MOST_BYTES, Lines

PATIENCE_S = 30.0
LINE = "x" * 199


@contextmanager
def pipe() -> Iterator[tuple[int, TextIO]]:
    """Lend both ends of a pipe, the second as a stream that does not buffer."""
    reading, writing = os.pipe()
    stream = open(writing, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - lent until the test ends
    try:
        yield reading, stream
    finally:
        for file in (reading, writing):
            try:
                os.close(file)
            except OSError:
                continue


def described(number: int) -> str:
    return f"lost {number}"


def test_what_is_read_is_all_there_in_its_order() -> None:
    """However many lines there are, and from however many threads."""
    with pipe() as (reading, stream):
        lines = Lines(stream, described)
        found: list[str] = []

        def read() -> None:
            with open(reading, encoding="utf-8", closefd=False) as source:
                found.extend(line.rstrip("\n") for line in source)

        reader = threading.Thread(target=read)
        reader.start()
        for number in range(5000):
            lines.write(f"{number} é")
            if number % 1000 == 999:
                assert lines.flush(PATIENCE_S)
        assert lines.flush(PATIENCE_S)
        os.close(stream.fileno())
        reader.join(PATIENCE_S)

    assert [f"{number} é" for number in range(5000)] == found
    assert 0 == lines.lost


@pytest.mark.parametrize("waits", [True, False], ids=["blocking", "not blocking"])
def test_a_full_pipe_loses_lines_and_counts_them(waits: bool) -> None:
    """Nothing waits; when the pipe is read again, one line tells the number."""
    with pipe() as (reading, stream):
        os.set_blocking(stream.fileno(), waits)
        lines = Lines(stream, described)
        number = 2 * MOST_BYTES // len(LINE)
        for _ in range(number):
            lines.write(LINE)
        lost = lines.lost
        assert lost
        assert not lines.flush(0.01)
        rest = threading.Thread(target=lines.flush, args=[PATIENCE_S])
        rest.start()
        data = b""
        while b"lost" not in data:
            data += os.read(reading, 65536)
        rest.join(PATIENCE_S)
        written = data.decode().splitlines()

    assert number - lost == written.count(LINE)
    told = [int(line.split()[1]) for line in written if line.startswith("lost")]
    assert [lost] == told


def test_a_closed_reader_loses_lines_and_nothing_else() -> None:
    """Each line is counted."""
    with pipe() as (reading, stream):
        os.close(reading)
        lines = Lines(stream, described)
        for _ in range(3):
            lines.write(LINE)
        assert lines.flush(PATIENCE_S)
        assert 3 == lines.lost


def test_a_missing_stream_loses_lines() -> None:
    """As in a process without a console; a closed stream likewise."""
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed):
        lines = Lines(stream, described)
        lines.write(LINE)
        assert 1 == lines.lost
        assert lines.flush(0)


@contextmanager
def gateway() -> Iterator["Gateway"]:
    """Run a gateway whose standard error is a pipe, read up to the line that says where."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "serve", "--port", "0"],
        cwd=ROOT,
        env={**clean_environment(), "LMSTUDIO_URL": "http://127.0.0.1:9"},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        yield Gateway(process)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stderr is not None and not process.stderr.closed:
            process.stderr.close()


class Gateway:
    """A gateway process, and what it has written."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stderr is not None
        self.process = process
        self.stderr: Any = process.stderr
        self.lines: list[bytes] = []
        while not self.lines or b"listening on" not in self.lines[-1]:
            line = process.stderr.readline()
            assert line, self.lines
            self.lines.append(line)
        address = self.lines[-1].partition(b"listening on ")[2].split(b'"')[0]
        self.url = address.decode().strip()

    def end(self) -> int:
        """Ask it to end, read the rest, and return the exit code."""
        self.process.terminate()
        if not self.stderr.closed:
            self.lines += self.stderr.read().splitlines(keepends=True)
        return self.process.wait(PATIENCE_S)


def ask_often(url: str, number: int) -> None:
    """Send requests whose lines fill the pipe and the queue: each path has 300 characters."""
    path = "/" + "a" * 300
    with httpx.Client(base_url=url, trust_env=False, timeout=PATIENCE_S) as client:
        for _ in range(number):
            assert 404 == client.get(path, headers={"user-agent": "b" * 300}).status_code


def test_nobody_reads_and_every_request_is_answered() -> None:
    """The lines that are lost are told in the metrics, and in the log once somebody reads."""
    with gateway() as running:
        ask_often(running.url, 1700)
        with httpx.Client(base_url=running.url, trust_env=False, timeout=PATIENCE_S) as client:
            counted = client.get("/metrics").text
        lost = int(float(counted.partition("\nolgate_lost_log_lines_total ")[2].split()[0]))
        assert lost
        assert 0 == running.end()
        told = [
            int(line.rpartition(b"lines=")[2])
            for line in running.lines
            if b"log lines were lost" in line
        ]
        # The line of the request for the metrics may have been lost, too.
        assert lost <= sum(told) <= lost + 3
        requests = sum(b" request " in line for line in running.lines)
        assert 1701 <= sum(told) + requests <= 1703


def test_a_reader_that_goes_away_ends_nothing() -> None:
    """Requests are answered, and the exit code is 0."""
    with gateway() as running:
        running.stderr.close()
        ask_often(running.url, 20)
        assert 0 == running.end()


def test_an_orderly_end_loses_nothing() -> None:
    """Whoever reads gets the line of every request, also of the last ones."""
    with gateway() as running:
        ask_often(running.url, 50)
        assert 0 == running.end()
        assert 50 == sum(b" request " in line for line in running.lines)


def test_a_gateway_without_standard_error_serves(tmp_path: Path) -> None:
    """As under `pythonw`, or with `2>&-`: it starts, serves, and ends with 0."""
    port_file = tmp_path / "port"
    program = (
        "import sys, pathlib, os; sys.stderr = None\n"
        "from gateway.observability import journal; say = journal.say\n"
        "def note(text, level='info'):\n"
        "    say(text, level)\n"
        f"    pathlib.Path({str(port_file)!r}).write_text(text)\n"
        "journal.say = note\n"
        "sys.argv = ['olgate', 'serve', '--port', '0']\n"
        "from gateway.cli.main import main; main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**clean_environment(), "LMSTUDIO_URL": "http://127.0.0.1:9"},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not (port_file.exists() and port_file.read_text()):
            assert process.poll() is None
            time.sleep(0.02)
        ask_often(port_file.read_text().split()[-1], 5)
        process.terminate()
        assert 0 == process.wait(PATIENCE_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_a_json_log_is_json_in_every_line() -> None:
    """The first line, a library's line, a warning, a traceback and an uncaught exception."""
    program = (
        "import logging, math, threading, warnings\n"
        "from gateway.observability import journal\n"
        "from gateway.settings.schema import LogSettings\n"
        "journal.configure(LogSettings(format='json'))\n"
        "journal.take_over()\n"
        "journal.say('listening on http://127.0.0.1:1')\n"
        "logging.getLogger('uvicorn.error').warning('a\\nb %s', 1)\n"
        "logging.getLogger('x').warning('%d', 'no number')\n"
        "warnings.warn('careful')\n"
        "journal.get_logger().info('odd', limit_s=math.inf, what=object())\n"
        "try:\n"
        "    1 / 0\n"
        "except ZeroDivisionError:\n"
        "    journal.get_logger().exception('failed')\n"
        "thread = threading.Thread(target=lambda: 1 / 0); thread.start(); thread.join()\n"
        "raise RuntimeError('the end')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert 1 == ended.returncode
    found = [json.loads(line, parse_constant=pytest.fail) for line in ended.stderr.splitlines()]

    assert [
        "listening on http://127.0.0.1:1",
        "a\nb 1",
        "a log line cannot be written",
    ] == [line["event"] for line in found[:3]]
    assert "careful" in found[3]["event"]
    assert ["odd", "failed", "uncaught exception", "uncaught exception"] == [
        line["event"] for line in found[4:]
    ]
    assert "inf" == found[4]["limit_s"]
    assert all("Traceback" in line["exception"] for line in found[5:])
    assert all({"timestamp", "level", "event"} <= line.keys() for line in found)
