"""The command line: its commands, its one-sentence complaints, and how little it loads."""

import json
import os
import sqlite3
import subprocess
import sys
import tomllib
from contextlib import closing
from pathlib import Path

import pytest

from gateway.settings.schema import Settings
from gateway.settings.sources import load


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m gateway` in a clean environment."""
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "SYSTEMROOT")}
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        env=kept | {"HOME": "/nonexistent"} | environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.mark.parametrize("command", ["serve", "config"])
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ("--port", "x"),
            "olgate: --port: expected a whole number from 0 to 65535, got 'x'\n",
        ),
        (
            ("--log-level", "loud"),
            "olgate: --log-level: expected one of debug, info, warning, error, got 'loud'\n",
        ),
        (
            ("--upstream", "mac.local", "--upstream", "http://mac.local:1234"),
            "olgate: --upstream: http://mac.local:1234 is there twice: remove one of them\n",
        ),
        (
            ("--config", "/nonexistent/olgate.toml"),
            "olgate: the settings file /nonexistent/olgate.toml cannot be read: "
            "No such file or directory\n",
        ),
    ],
)
def test_wrong_settings_get_one_sentence_and_code_2(
    command: str, arguments: tuple[str, ...], sentence: str
) -> None:
    """Nothing on standard output, one sentence on standard error."""
    ended = run(command, *arguments)

    assert (2, "", sentence) == (ended.returncode, ended.stdout, ended.stderr)


def test_a_wrong_variable_is_told_the_same_way() -> None:
    """The place of the value makes no difference."""
    ended = run("serve", OLGATE_LISTEN_PRT="1")

    assert 2 == ended.returncode
    assert (
        "olgate: unknown variable OLGATE_LISTEN_PRT; did you mean OLGATE_LISTEN_PORT?\n"
        == ended.stderr
    )


def test_config_prints_what_is_in_force_and_why() -> None:
    """Each value with its source, and no secret."""
    ended = run("config", "--port", "1", LM_API_TOKEN="hush", OLLAMA_KEEP_ALIVE="10m")

    assert 0 == ended.returncode
    assert "port = 1  # --port\n" in ended.stdout
    assert 'keep_alive = "10m"  # OLLAMA_KEEP_ALIVE\n' in ended.stdout
    assert "# token is set  # LM_API_TOKEN\n" in ended.stdout
    assert "hush" not in ended.stdout + ended.stderr


def test_what_config_prints_is_a_settings_file(tmp_path: Path) -> None:
    """Read back as a file, the defaults are the defaults, and all sections are there."""
    file = tmp_path / "config.toml"
    file.write_text(run("config", OLGATE_STORE_PATH=":memory:").stdout)

    assert {*Settings.__struct_fields__} - {"aliases", "pull", "hosts", "keys"} == {
        *tomllib.loads(file.read_text())
    }
    assert Settings() == load({}, {}, file)


def test_tables_of_names_are_printed_as_they_are_read(tmp_path: Path) -> None:
    """Keys that are no bare ones come back in quotes."""
    file = tmp_path / "config.toml"
    table = '[aliases]\n"gpt-4o:mini" = "harbor/lantern-8b"\n[pull]\nlantern = "hf.co/a/b:Q8_0"\n'
    file.write_text(table)
    printed = run("config", "--config", str(file), OLGATE_STORE_PATH=":memory:").stdout
    again = tmp_path / "again.toml"
    again.write_text(printed)

    assert load({}, {}, file) == load({}, {}, again)
    assert {"gpt-4o:mini": "harbor/lantern-8b"} == load({}, {}, again).aliases


def test_what_must_last_is_kept_in_the_platforms_folder(tmp_path: Path) -> None:
    """Where nobody named a file; the sentence says where it comes from."""
    printed = run("config", XDG_DATA_HOME=str(tmp_path)).stdout

    assert "olgate.sqlite3" in printed
    assert "# the platform's data directory" in printed


def test_a_store_that_cannot_be_used_gets_one_sentence_and_code_1(tmp_path: Path) -> None:
    """It names the file and the next step, which is another one for each reason."""
    file = tmp_path / "a.db"
    file.write_text("This is no database, however long it is." * 50)
    ended = run("serve", "--port", "0", OLGATE_STORE_PATH=str(file))

    assert 1 == ended.returncode
    assert (
        f"olgate: the store {file} can't be used (file is not a database); restore a copy of it, "
        "or move it away with its -wal and -shm files (derived models in it are lost then), or "
        "name another file with OLGATE_STORE_PATH"
    ) == ended.stderr.splitlines()[-1]


def test_a_store_of_a_newer_olgate_is_not_to_be_moved_away(tmp_path: Path) -> None:
    """It is whole, and only this olgate is too old."""
    file = tmp_path / "a.db"
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA user_version = 999")
    ended = run("serve", "--port", "0", OLGATE_STORE_PATH=str(file))

    assert 1 == ended.returncode
    assert (
        f"olgate: the store {file} can't be used (a newer olgate has written it); update olgate, "
        "or name another file with OLGATE_STORE_PATH"
    ) == ended.stderr.splitlines()[-1]


def test_the_platforms_settings_file_is_read(tmp_path: Path) -> None:
    """Without --config the file in the platform's folder counts, where there is one."""
    if sys.platform != "linux":
        folder = None
    else:
        folder = tmp_path / "olgate"
        folder.mkdir()
        (folder / "config.toml").write_text("[listen]\nport = 7\n")
    ended = run("config", XDG_CONFIG_HOME=str(tmp_path))

    assert ("port = 7  # " in ended.stdout) == (folder is not None)


def test_help_and_version_need_no_settings() -> None:
    """Both work although the environment is wrong."""
    for flag in ("--help", "--version"):
        ended = run(flag, OLGATE_NONSENSE="1")
        assert (0, "") == (ended.returncode, ended.stderr)
        assert "olgate" in ended.stdout


def test_the_command_line_itself_loads_nothing_heavy() -> None:
    """What serves is imported when serving begins."""
    heavy = {"litestar", "uvicorn", "httpx", "aiohttp", "structlog", "msgspec", "asyncio"}
    program = f"import sys, gateway.cli.main; print(sorted({heavy!r} & sys.modules.keys()))"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )

    assert "[]\n" == ended.stdout


def test_serving_loads_nothing_that_it_does_not_use() -> None:
    """What libraries import only because it is installed is a good part of the time to start."""
    unused = {
        "aiohttp",
        "httpcore",
        "httpx",
        "jinja2",
        "multiprocessing.pool",
        "pydantic",
        "pygments",
        "rich",
    }
    program = (
        "import sys; from gateway.cli.serve import load_server; load_server(); "
        f"print('gateway.app' in sys.modules, sorted({unused!r} & sys.modules.keys()))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )

    assert "True []\n" == ended.stdout


def test_config_is_written_in_utf_8_whatever_the_console_is(tmp_path: Path) -> None:
    """It is read back as a file, which has to be UTF-8."""
    file = tmp_path / "config.toml"
    file.write_text('[aliases]\n"gpt" = "büro/modell"\n', "utf-8")
    ended = subprocess.run(
        [sys.executable, "-m", "gateway", "config", "--config", str(file)],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONIOENCODING": "cp437"},
        capture_output=True,
        check=True,
        timeout=30,
    )

    assert {"gpt": "büro/modell"} == tomllib.loads(ended.stdout.decode("utf-8"))["aliases"]


def test_no_limit_is_printed_as_it_is_read(tmp_path: Path) -> None:
    """Both what has no limit and a store in memory come back."""
    environ = {
        "OLGATE_UPSTREAM_SILENCE_TIMEOUT_S": "0",
        "OLLAMA_LOAD_TIMEOUT": "-1",
        "OLGATE_STORE_PATH": ":memory:",
    }
    printed = run("config", **environ).stdout
    file = tmp_path / "config.toml"
    file.write_text(printed)

    assert load({}, environ, None) == load({}, {}, file)
    assert 'path = ":memory:"  # OLGATE_STORE_PATH\n' in printed


def test_the_file_that_a_variable_names_is_read(tmp_path: Path) -> None:
    """The first line says which file was read; one that is missing is an error."""
    file = tmp_path / "mine.toml"
    file.write_text("[listen]\nport = 7\n")
    ended = run("config", OLGATE_CONFIG=str(file))
    missing = run("config", OLGATE_CONFIG=str(tmp_path / "none.toml"))

    assert f"# settings file: {file}" == ended.stdout.splitlines()[0]
    assert f"port = 7  # {file}: listen.port\n" in ended.stdout
    assert 2 == missing.returncode
    assert "none.toml cannot be read" in missing.stderr


def test_what_can_be_set_is_printed_although_the_environment_is_wrong() -> None:
    """The default file and the schema need no settings."""
    default = run("config", "--default", OLGATE_NONSENSE="1")
    schema = run("config", "--schema", OLGATE_NONSENSE="1")

    assert (0, 0) == (default.returncode, schema.returncode)
    assert {*Settings.__struct_fields__} - {"hosts", "keys"} == {*tomllib.loads(default.stdout)}
    assert {*Settings.__struct_fields__} == {*json.loads(schema.stdout)["properties"]}
