"""
`olgate store backup FILE` and `olgate store restore FILE`.
"""

import sys
from pathlib import Path

import click

from .options import load_settings

_config = click.option(
    "--config",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Settings file (TOML), instead of the platform's (OLGATE_CONFIG).",
)


@click.group("store")
def store() -> None:
    """Back up and restore the store: derived models and what else must last."""


@store.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_config
def backup(file: Path, config: Path | None) -> None:
    """
    Write the store into FILE, also while gateways use it.

    \b
    Example: olgate store backup olgate-monday.sqlite3
    """
    from ..faults import StoreFailure
    from ..store.backup import back_up

    path = _path(config)
    try:
        back_up(path, file)
    except StoreFailure as failure:
        sys.exit(f"olgate: {failure}")
    click.echo(f"the store {path} is now also in {file}")


@store.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_config
def restore(file: Path, config: Path | None) -> None:
    """
    Put a backup's models and names back, in place of those of now.

    Running gateways see them within seconds. What is loaded is left as it is.

    \b
    Example: olgate store restore olgate-monday.sqlite3
    """
    from ..faults import StoreFailure
    from ..store import backup as backups

    path = _path(config)
    try:
        backups.restore(file, path)
    except StoreFailure as failure:
        sys.exit(f"olgate: {failure}")
    click.echo(f"the store {path} has the models and names of {file}")


def _path(config: Path | None) -> Path:
    """Return the store's file by the settings; a store in memory ends with a sentence."""
    loaded = load_settings(
        {"host": None, "port": None, "upstream": (), "config": config, "log_level": None}
    )
    path = loaded.settings.store.path
    if path is None:
        sys.exit("olgate: the store is in memory (store.path), so there is no file")
    return Path(path)
