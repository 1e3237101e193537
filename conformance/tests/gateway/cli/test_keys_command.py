"""`olgate keys`: what it writes, what it shows, and what the gateway then takes."""

from __future__ import annotations

import tomllib
from hashlib import sha256
from pathlib import Path

import pytest
from click import Context, Group
from click.testing import CliRunner, Result

from gateway.cli.main import cli
from gateway.cli.own_api import own_key
from gateway.settings.schema import KeySettings, ListenSettings, Settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a settings file that is not there yet, in a folder that is not there either."""
    return tmp_path / "more" / "olgate.toml"


def keys(file: Path, *words: str) -> Result:
    """Run `olgate keys`."""
    return CliRunner().invoke(cli, ["keys", *words, "--config", str(file)])


def test_a_key_is_made_listed_and_removed(file: Path) -> None:
    """Its secret is shown once, and stands nowhere."""
    words = ("--model", "qwen/*", "--max-running", "4", "--admin")
    added = keys(file, "add", "alice", *words)
    assert 0 == added.exit_code, added.output
    secret = added.stdout.strip()
    assert "olgate reload" in added.stderr
    table = tomllib.loads(file.read_text("utf-8"))["keys"]["alice"]
    assert {
        "digest": sha256(secret.encode()).hexdigest(),
        "models": ["qwen/*"],
        "max_running": 4,
        "admin": True,
    } == table
    assert secret not in file.read_text("utf-8")
    assert 0o600 == file.stat().st_mode & 0o777

    listed = keys(file, "list")
    assert 0 == listed.exit_code, listed.output
    assert "alice" in listed.output
    assert "max_running = 4" in listed.output
    assert table["digest"] not in listed.output

    assert 0 == keys(file, "remove", "alice").exit_code
    assert "" == file.read_text("utf-8")
    assert "there are no keys" in keys(file, "list").output
    assert [file] == list(file.parent.iterdir())


def test_every_setting_of_a_key_is_an_option() -> None:
    """But its secret, which `add` makes."""
    command = cli.get_command(Context(cli), "keys")
    assert isinstance(command, Group)
    options = {option.name for option in command.commands["add"].params}
    settings = {*KeySettings.__struct_fields__} - {"secret_file", "digest"}
    assert settings == options - {"name", "config"}


def test_a_key_whose_port_stays_is_told(file: Path) -> None:
    """The list shows the port, and the end of its key what becomes of it."""
    keys(file, "add", "home")
    ports = '[[listen.more]]\nport = 11435\nkey = "home"\n'
    file.write_text(ports + file.read_text("utf-8"), "utf-8")
    assert "stands for port 11435" in keys(file, "list").output
    removed = keys(file, "remove", "home")
    assert 0 == removed.exit_code, removed.output
    assert "port 11435 (listen.more) stands for it" in removed.stderr
    assert ports in file.read_text("utf-8")


def test_two_keys_differ_and_the_mode_of_a_file_stays(file: Path) -> None:
    """No secret is made twice."""
    file.parent.mkdir()
    file.write_text("# mine\n", "utf-8")
    file.chmod(0o640)
    secrets = {keys(file, "add", name).stdout for name in ("a", "b", "c")}
    assert 3 == len(secrets)
    assert 0o640 == file.stat().st_mode & 0o777
    assert file.read_text("utf-8").startswith("# mine\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("add", "a b"), "begins with a letter"),
        (("add", "1"), "begins with a letter"),
        (("remove", "alice"), "no key alice"),
        (("add", "alice", "--max-running", "-1"), "not in the range"),
    ],
)
def test_a_wrong_call_changes_nothing(file: Path, words: tuple[str, ...], says: str) -> None:
    """And says why."""
    done = keys(file, *words)
    assert 0 != done.exit_code
    assert says in done.output
    assert not file.exists()


def test_a_name_is_given_once(file: Path) -> None:
    """The first key stays."""
    keys(file, "add", "alice")
    before = file.read_text("utf-8")
    assert "already" in keys(file, "add", "alice").output
    assert before == file.read_text("utf-8")


def test_commands_send_a_key_that_may_everything(tmp_path: Path) -> None:
    """One without a name, else that of an administrator whose file can be read."""
    secret = tmp_path / "root"
    secret.write_text("sesame\n", "utf-8")
    tables = {
        "alice": KeySettings(secret_file=str(secret)),
        "gone": KeySettings(secret_file=str(tmp_path / "gone"), admin=True),
        "root": KeySettings(secret_file=str(secret), admin=True),
    }
    assert "sesame" == own_key(Settings(keys=tables))
    assert "plain" == own_key(Settings(keys=tables, listen=ListenSettings(keys=("plain",))))
    assert None is own_key(Settings(keys={"alice": tables["alice"]}))
    assert None is own_key(Settings())
