"""
The access keys of the settings: the tables `[keys.NAME]`.

A secret is read from its file and kept as a digest only.
"""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Callable, Mapping

import msgspec

from .paths import KEY_HINTS, KEYS, OF_ANY_KEY
from .schema import KeySettings
from .settling import Given, SettingsProblem, settle
from .values import digest_of, is_key_name

ReadDigest = Callable[[object, Given], str]


def keys_given_in(place: str, tables: Mapping[str, object]) -> dict[str, Given]:
    """Return what the tables of keys give, by `keys.NAME.key`. Raises SettingsProblem."""
    given: dict[str, Given] = {}
    known = [path.removeprefix(OF_ANY_KEY) for path in KEY_HINTS]
    for name, table in tables.items():
        path = f"{KEYS}.{name}"
        if not is_key_name(name):
            raise SettingsProblem(
                f"{place}: [{KEYS}.…]: a key's name begins with a letter and has letters, digits, "
                "_ and - only, 64 at most; the secret stands in a file"
            )
        if not isinstance(table, dict):
            raise SettingsProblem(
                f"{place}: {path} must be a table: write [{path}] above its keys; the secret "
                "stands in a file that secret_file names"
            )
        for key, value in table.items():
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                guess = f"; did you mean {near[0]}?" if near else ""
                raise SettingsProblem(f"{place}: unknown key {path}.{key}{guess}")
            given[f"{path}.{key}"] = Given(value, f"{place}: {path}.{key}")
        if not table:
            raise SettingsProblem(f"{place}: [{path}] has no secret: name its secret_file")
    return given


def take_keys(given: dict[str, Given]) -> dict[str, dict[str, Given]]:
    """Take the tables of keys out of what is given, by their names."""
    tables: dict[str, dict[str, Given]] = {}
    for path in [path for path in given if path.startswith(f"{KEYS}.")]:
        name, _, key = path.removeprefix(f"{KEYS}.").partition(".")
        tables.setdefault(name, {})[key] = given.pop(path)
    return tables


def made_keys(
    tables: Mapping[str, Mapping[str, Given]],
    unnamed: tuple[str, ...],
    read_digest: ReadDigest,
    notes: list[str],
) -> dict[str, KeySettings]:
    """
    Return the settings of each key, with its digest.

    Two keys, `unnamed` ones included, can't have one secret. Raises SettingsProblem.
    """
    owners = {digest_of(secret): "a key of listen.keys" for secret in unnamed}
    made: dict[str, KeySettings] = {}
    for name, table in tables.items():
        values = {key: settle(f"{OF_ANY_KEY}{key}", each) for key, each in table.items()}
        some = next(iter(table.values())).place.rpartition(".")[0]
        if ("secret_file" in values) == ("digest" in values):
            raise SettingsProblem(
                f"{some}: the key needs one secret: name its secret_file, or its digest, and not "
                "both"
            )
        if "secret_file" in values:
            values["digest"] = read_digest(values["secret_file"], table["secret_file"])
            notes += _told_if_open(str(values["secret_file"]), table["secret_file"])
        _check_patterns(table, values)
        other = owners.setdefault(str(values["digest"]), f"keys.{name}")
        if other != f"keys.{name}":
            raise SettingsProblem(
                f"{some}: {other} has the same secret, so nobody could tell them apart: give one "
                "of them another"
            )
        made[name] = msgspec.convert(values, KeySettings)
    return made


def _check_patterns(table: Mapping[str, Given], values: Mapping[str, object]) -> None:
    for key in ("models", "routes"):
        patterns = values.get(key, ())
        assert isinstance(patterns, tuple)
        if not all(str(each).removeprefix("!").strip() for each in patterns):
            raise SettingsProblem(f"{table[key].place}: a pattern is empty: remove it")


def _told_if_open(file: str, given: Given) -> list[str]:
    """Return a note on a file that other users can read; Windows has no such bits."""
    try:
        mode = os.stat(file).st_mode
    except OSError:
        return []
    if os.name == "nt" or not mode & (stat.S_IRGRP | stat.S_IROTH):
        return []
    return [f"{given.place}: others can read {file}: run chmod 600 on it"]
