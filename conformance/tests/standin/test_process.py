"""The stand-in as a process: its line, its end, its options and what it imports."""

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from conformance.standin.catalogue import DEFAULT
from conformance.standin.options import Options, build_parser, read_options

ROOT = Path(__file__).parents[3]


AS_A_MODULE = ("-m", "conformance.standin")
ON_WINDOWS_LOOP = (
    "-c",
    "import asyncio, runpy, sys\n"
    "sys.modules['uvloop'] = None\n"
    "def lacking(*_):\n"
    "    raise NotImplementedError\n"
    "asyncio.SelectorEventLoop.add_signal_handler = lacking\n"
    "runpy.run_module('conformance.standin', run_name='__main__', alter_sys=True)\n",
)
"""Python's arguments that run the stand-in on a loop which lacks what Windows' loops lack."""


@contextmanager
def running(
    *flags: str, program: tuple[str, ...] = AS_A_MODULE
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the module; yield the process and its address."""
    command = [sys.executable, *program, "--port", "0", *flags]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        found = re.fullmatch(r"stand-in listening on (http://127\.0\.0\.1:[1-9]\d*)\n", line)
        assert found, line
        yield process, found[1]
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stderr):
            if pipe is not None:
                pipe.close()


@pytest.mark.parametrize("program", [AS_A_MODULE, ON_WINDOWS_LOOP], ids=["here", "windows-loop"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well(number: signal.Signals, program: tuple[str, ...]) -> None:
    """Exit code 0 and not a word more, also while an answer hangs, and on Windows' kind of loop."""
    with (
        running(program=program) as (process, url),
        httpx.Client(base_url=url, trust_env=False) as client,
    ):
        assert 200 == client.get("/v1/models").status_code
        process.send_signal(number)
        assert ("", 0) == (process.communicate(timeout=10)[1], process.returncode)


def test_the_end_of_standard_input_ends_it_when_asked() -> None:
    """As a child of something that may die without a word."""
    with running("--exit-with-stdin") as (process, _):
        assert process.stdin is not None
        process.stdin.close()
        assert 0 == process.wait(10)


def test_a_taken_port_is_said() -> None:
    """Exit code 1 and a sentence with the port."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "conformance.standin", "--port", port]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert (1, True) == (ended.returncode, f"127.0.0.1:{port}" in ended.stderr)


def test_it_needs_what_the_gateway_needs_and_nothing_of_it() -> None:
    """No YAML library, no gateway, no code generation, no test tools when it is imported."""
    forbidden = ("gateway", "codegen", "ruamel", "yaml", "httpx", "pytest", "litestar", "aiohttp")
    code = (
        "import sys, conformance.standin.__main__;"
        f"print([m for m in {forbidden!r} if m in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=20
    )
    assert ("[]\n", "") == (ended.stdout, ended.stderr)


def test_every_option_has_a_flag(tmp_path: Path) -> None:
    """And the flags set the options."""
    catalogue = tmp_path / "models.json"
    variant = {"name": "q8_0", "quantization": "Q8_0", "bits": 8, "size_bytes": 9}
    model = {
        "key": "one",
        "publisher": "p",
        "display_name": "One",
        "architecture": "llama",
        "variants": [variant],
    }
    catalogue.write_text(json.dumps([model]), "utf-8")
    flags = (
        f"--port 7 --host-version 0.3 --catalogue {catalogue} --token T --no-jit --load-ms 5 "
        f"--rate 9.5 --fixtures {tmp_path} --fault-models --auto-evict --first-token-ms 3 "
        "--parallel 0 --max-instances 2 --load-noop --dimension 4 --cors --writes bytes "
        f"--host 127.0.0.2 --says one two --history {tmp_path}/h --name n --exit-with-stdin"
    )
    options, ends = read_options(flags.split())
    assert ends
    assert ["one"] == [model.key for model in options.models]
    default = Options()
    same = {n for n in Options.__struct_fields__ if getattr(options, n) == getattr(default, n)}
    assert {"keep_alive_s"} == same
    assert Options(port=5) == read_options(["--port", "5"])[0]
    assert "--rate" in build_parser().format_help()


@pytest.mark.parametrize("text", ["[", "{}", '[{"key": "x"}]'])
def test_a_wrong_catalogue_is_refused(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its name, exit code 2."""
    path = tmp_path / "wrong.json"
    path.write_text(text, "utf-8")
    with pytest.raises(SystemExit, match="2"):
        read_options(["--port", "1", "--catalogue", str(path)])
    assert "wrong.json" in capsys.readouterr().err


def test_two_models_cannot_share_a_key() -> None:
    """Not even in another letter case."""
    with pytest.raises(ValueError, match="twice"):
        Options(models=(DEFAULT[0], DEFAULT[0]))
