"""The README's table of settings is whole."""

import re
from pathlib import Path

import msgspec

from gateway.settings.schema import Settings

README = (Path(__file__).parents[3] / "README.md").read_text("utf-8")


def defined() -> set[str]:
    """Return the name of every setting, `section.key`, without the free-form tables."""
    return {
        f"{name}.{key}"
        for name in Settings.__struct_fields__
        if isinstance(section := getattr(Settings(), name), msgspec.Struct)
        for key in section.__struct_fields__
    }


def test_every_setting_is_there() -> None:
    """Each has a row, alone or with others, and no row is about a setting that is gone."""
    table = README.partition("| key | variable |")[2].partition("\n\n")[0]
    first_cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]

    assert {"listen.port", "log.bodies"} <= defined()
    assert defined() == {name for cell in first_cells for name in re.findall(r"`([^`]+)`", cell)}


def test_free_form_tables_are_named() -> None:
    """Their keys are the user's own."""
    settings = Settings()
    tables = [
        name
        for name in settings.__struct_fields__
        if not isinstance(getattr(settings, name), msgspec.Struct)
    ]

    assert tables
    assert all(f"`[{name}]`" in README for name in tables)
