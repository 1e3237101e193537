"""What docs/ has of the settings is current, and the README's list names real ones."""

import re
from pathlib import Path

import pytest

from gateway.settings import __main__ as making
from gateway.settings.paths import HINTS, MAPS

README = (Path(__file__).parents[3] / "README.md").read_text("utf-8")


def test_made_files_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    """They are what the tables in `gateway/settings/` give now; `nox -s codegen` writes them."""
    assert 0 == making.main(["--check"]), capsys.readouterr().err


def test_the_list_names_real_settings() -> None:
    """Each with its section; the page with all of them is linked."""
    chapter = README.partition("\n## Settings\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([a-z]+\.[a-z_]+)`", chapter)) - {"config.toml", "section.key"}

    assert len(named) >= 8
    assert named <= set(HINTS)
    assert "(docs/settings.md)" in chapter
    assert all(f"`[{name}]`" in chapter for name in MAPS)
