"""
`olgate store`: backup, restore, and the way into a Redis.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import default_file, load_settings, shown_store

if TYPE_CHECKING:
    from ..settings.schema import StoreSettings

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

    settings = _settings(config)
    try:
        if settings.url is None:
            back_up(_path(settings), file)
        else:
            from ..store.copying import back_up_redis

            back_up_redis(settings, file)
    except StoreFailure as failure:
        sys.exit(f"olgate: {failure}")
    click.echo(f"the store {shown_store(settings)} is now also in {file}")


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

    settings = _settings(config)
    try:
        if settings.url is None:
            backups.restore(file, _path(settings))
        else:
            from ..store.copying import put_into_redis

            put_into_redis(file, settings, keeps=False)
    except StoreFailure as failure:
        sys.exit(f"olgate: {failure}")
    click.echo(f"the store {shown_store(settings)} has the models and names of {file}")


@store.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@_config
def migrate(file: Path | None, config: Path | None) -> None:
    """
    Put the models and names of a SQLite store into the Redis of store.url.

    FILE is the file where olgate keeps its store without a setting, unless another one is named. It
    stays as it is, and so do names that are in Redis already.

    \b
    Example: olgate store migrate
    """
    from ..faults import StoreFailure
    from ..store.copying import put_into_redis

    settings = _settings(config)
    if settings.url is None:
        sys.exit("olgate: there is no shared store: set store.url (OLGATE_STORE_URL) to a Redis")
    source = file or default_file()
    try:
        count = put_into_redis(source, settings, keeps=True)
    except StoreFailure as failure:
        sys.exit(f"olgate: {failure}")
    names = f"{count} name{'' if count == 1 else 's'}"
    click.echo(f"the store {shown_store(settings)} has the {names} of {source}")


def _settings(config: Path | None) -> "StoreSettings":
    """Return the settings of the store."""
    loaded = load_settings(
        {"host": None, "port": None, "upstream": (), "config": config, "log_level": None}
    )
    return loaded.settings.store


def _path(settings: "StoreSettings") -> Path:
    """Return the store's file; a store in memory ends with a sentence."""
    if settings.path is None:
        sys.exit("olgate: the store is in memory (store.path), so there is no file")
    return Path(settings.path)
