"""
The place of the settings file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .paths import CONFIG_VARIABLE


def find_file(flag: Path | None, environ: Mapping[str, str]) -> Path | None:
    """
    Return the settings file: the flag's, else the variable's, else the platform's if there is one.

    A file that the flag or the variable names need not exist; reading it says so.
    """
    if flag is not None:
        return flag
    if named := environ.get(CONFIG_VARIABLE, "").strip():
        return Path(named).expanduser()
    path = platform_file()
    return path if path.is_file() else None


def platform_file() -> Path:
    """Return the settings file in the platform's settings folder, which need not exist."""
    import platformdirs  # a tenth of the start-up time, needed only if no file is named

    return platformdirs.user_config_path("olgate") / "config.toml"
