"""The default file, the JSON Schema and the page are made from the schema, and say what is true."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import platformdirs.macos
import platformdirs.windows
import pytest

from gateway.settings import __main__ as making
from gateway.settings.paths import HINTS, MAPS, SECTIONS, TABLES
from gateway.settings.reference import (
    default_file,
    explained_sections,
    explained_settings,
    json_schema,
)
from gateway.settings.schema import SECRETS, Settings
from gateway.settings.sources import SettingsProblem, load

PAGE = (Path(__file__).parents[4] / "docs" / "settings.md").read_text("utf-8")


def test_a_stale_file_is_found_and_written_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The check names the file; writing mends it."""
    for path in making.made_files(making.DOCS):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    page = tmp_path / "settings.md"
    page.write_text(
        page.read_text("utf-8").replace("| `listen.port` |", "| `listen.prt` |"), "utf-8"
    )

    assert 1 == making.main(["--check"], tmp_path)
    assert f"{page}: differs" in capsys.readouterr().err
    assert 0 == making.main([], tmp_path)
    assert 0 == making.main(["--check"], tmp_path)


def test_every_setting_and_section_is_explained() -> None:
    """A field without a docstring would be a KeyError; none is empty."""
    assert set(HINTS) == {each.path for each in explained_settings()}
    assert {*SECTIONS, *MAPS, *TABLES} == set(explained_sections())
    assert [] == [each.path for each in explained_settings() if len(each.meaning) < 10]
    assert set(HINTS) == set(re.findall(r"^\| `([a-z_.]+)` \|", PAGE, re.MULTILINE))


def test_the_default_file_holds_the_defaults(tmp_path: Path) -> None:
    """As it is, and with every key that has a default made one."""
    file = tmp_path / "config.toml"
    file.write_text(default_file(), "utf-8")
    whole = tmp_path / "whole.toml"
    whole.write_text(
        re.sub(r"^#(\w+ = )(?!\.\.\.)", r"\1", default_file(), flags=re.MULTILINE), "utf-8"
    )
    stated = {
        f"{section}.{key}"
        for section, keys in tomllib.loads(whole.read_text("utf-8")).items()
        for key in keys
    }

    assert Settings() == load({}, {}, file)
    assert Settings() == load({}, {}, whole)
    assert {each.path for each in explained_settings() if each.default is not None} == stated


def accepted(document: Any) -> bool:
    try:
        jsonschema.validate(document, json_schema())
    except jsonschema.ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    "text",
    [
        "",
        default_file(),
        '[aliases]\nmine = "a/b"\n',
        "[models]\nkeep_alive = 5\n",
        "[upstream]\nsilence_timeout_s = 0\n",
        "[answer]\n",
        "[listen]\nprot = 1\n",
        "listen = 1\n",
        "[listen]\nport = 65536\n",
        "[listen]\norigins = [1]\n",
        "[aliases]\nmine = 1\n",
        '[aliases]\nmine = ""\n',
        '[answers]\nthinking = "on"\n',
        '[answers]\nversion = "v1"\n',
        "[limits]\nbody_bytes = 0\n",
        '[models]\nload_timeout_s = "5m"\n',
        "[downloads]\npoll_interval_s = 61\n",
    ],
)
def test_the_schema_judges_as_the_gateway_does(text: str, tmp_path: Path) -> None:
    """What an editor marks is what the gateway refuses."""
    file = tmp_path / "config.toml"
    file.write_text(text, "utf-8")
    try:
        load({}, {}, file)
        taken = True
    except SettingsProblem:
        taken = False

    assert taken == accepted(tomllib.loads(text))


def test_the_schema_is_one() -> None:
    """It is valid itself, and quotes no secret's default but none."""
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert {None, ()} == {each.default for each in explained_settings() if each.path in SECRETS}
    assert json.dumps(json_schema())


def test_the_page_names_the_folder_of_each_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the library that finds it."""
    monkeypatch.setattr(platformdirs.windows, "get_win_folder", lambda _: "C:/Local")
    home = str(Path.home())
    macos = platformdirs.macos.MacOS("olgate").user_config_dir.replace(home, "~")
    windows = platformdirs.windows.Windows("olgate").user_config_dir
    parts = windows.replace("\\", "/").removeprefix("C:/Local/")

    assert f"`{macos}/config.toml`" in PAGE
    assert "olgate/olgate" == parts
    assert r"`%LOCALAPPDATA%\olgate\olgate\config.toml`" in PAGE
