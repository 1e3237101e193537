"""
The hosts of the settings: the tables `[hosts.NAME]`, or several addresses for one setting.

A host's keys are settled like those of `[upstream]`, from which it takes what its own table lacks.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase

import msgspec

from .host_keys import name_of
from .paths import HINTS, HOST_HINTS, HOSTS, OF_ANY_HOST, OF_UPSTREAM
from .schema import HostSettings, Settings, UpstreamSettings
from .settling import Given, SettingsProblem, settle

URL = "upstream.url"
_NAME = re.compile(r"[A-Za-z0-9\[][A-Za-z0-9._:\[\]-]{0,63}")
"""A host's name goes into a header, into labels of metrics and into log lines."""
ReadToken = Callable[[object, Given], str]


def hosts_of(settings: Settings) -> Mapping[str, HostSettings]:
    """Return every host by its name; the only host's name is its address."""
    if settings.hosts:
        return settings.hosts
    upstream = settings.upstream
    own = {key: getattr(upstream, key) for key in OF_UPSTREAM}
    return {name_of(upstream.url): HostSettings(**own)}


def given_in(place: str, tables: Mapping[str, object]) -> dict[str, Given]:
    """Return what the tables of hosts give, by `hosts.NAME.key`. Raises SettingsProblem."""
    given: dict[str, Given] = {}
    for name, table in tables.items():
        path = f"{HOSTS}.{name}"
        if not _NAME.fullmatch(name):
            raise SettingsProblem(
                f"{place}: [{path}]: a host's name has letters, digits and . _ : - only, 64 at most"
            )
        if not isinstance(table, dict):
            raise SettingsProblem(
                f"{place}: {path} must be a table: write [{HOSTS}.{name}] above its keys, and what "
                "holds for all hosts in [upstream] or [fleet]"
            )
        for key, value in table.items():
            if f"{OF_ANY_HOST}{key}" not in HOST_HINTS:
                known = [each.removeprefix(OF_ANY_HOST) for each in HOST_HINTS]
                near = difflib.get_close_matches(key, known, n=1)
                guess = f"; did you mean {near[0]}?" if near else ""
                raise SettingsProblem(f"{place}: unknown key {path}.{key}{guess}")
            given[f"{path}.{key}"] = Given(value, f"{place}: {path}.{key}")
    return given


def split_off(given: dict[str, Given], notes: list[str]) -> dict[str, dict[str, Given]]:
    """
    Take the hosts out of what is given: what each has, by its key.

    Addresses from a stronger source than the file replace the file's hosts. `upstream.url` is the
    first host's afterwards. Raises SettingsProblem.
    """
    hosts: dict[str, dict[str, Given]] = {}
    for path in [path for path in given if path.startswith(f"{HOSTS}.")]:
        name, _, key = path.removeprefix(f"{HOSTS}.").rpartition(".")
        hosts.setdefault(name, {})[key] = given[path]
    stated = given.get(URL)
    if stated is None:
        if hosts:
            first, table = next(iter(hosts.items()))
            given[URL] = _url_in(first, table)
        return hosts
    urls = _several(stated.value)
    if hosts and stated.rank == next(iter(next(iter(hosts.values())).values())).rank:
        raise SettingsProblem(
            f"{stated.place}: the hosts are those of [hosts.NAME], so this address is not used: "
            "give it a table of its own, or remove it"
        )
    if hosts:
        notes.append(f"{stated.place} replaces the hosts of the settings file")
        for path in [path for path in given if path.startswith(f"{HOSTS}.")]:
            del given[path]
    if len(urls) < 2:
        if urls:
            given[URL] = stated._replace(value=urls[0])
        return {}
    found: dict[str, dict[str, Given]] = {}
    for url in urls:
        each = stated._replace(value=url)
        name = name_of(str(settle(URL, each)))
        if name in found:
            raise SettingsProblem(f"{stated.place}: {url} is there twice: remove one of them")
        found[name] = {"url": each}
    given[URL] = stated._replace(value=urls[0])
    return found


def made_hosts(
    hosts: Mapping[str, Mapping[str, Given]], upstream: UpstreamSettings, read_token: ReadToken
) -> dict[str, HostSettings]:
    """Return the settings of each host, what it lacks from `upstream`. Raises SettingsProblem."""
    return {name: _made(name, table, upstream, read_token) for name, table in hosts.items()}


def gaps_in_tiers(hosts: Mapping[str, HostSettings]) -> list[str]:
    """Return a sentence for each tier without a host that is below one with a host."""
    used = {each.tier for each in hosts.values()}
    return [
        f"no host is in tier {tier}: the next ones are in tier {min(t for t in used if t > tier)}, "
        "which works the same; number tiers from 1 without gaps"
        for tier in range(1, max(used, default=1))
        if tier not in used and tier - 1 in {0, *used}
    ]


def serves(patterns: tuple[str, ...], *names: str) -> bool:
    """
    Return whether a host with these patterns is used for a model with these names.

    >>> serves(("qwen/*", "!*embed*"), "qwen/qwen3-8b"), serves(("!*embed*",), "a-embed")
    (True, False)
    """
    folded = [name.lower() for name in names]
    wanted = [each.lower() for each in patterns if not each.startswith("!")]
    unwanted = [each[1:].lower() for each in patterns if each.startswith("!")]
    if any(fnmatchcase(name, each) for name in folded for each in unwanted):
        return False
    return not wanted or any(fnmatchcase(name, each) for name in folded for each in wanted)


def _made(
    name: str, table: Mapping[str, Given], upstream: UpstreamSettings, read_token: ReadToken
) -> HostSettings:
    values: dict[str, object] = {key: getattr(upstream, key) for key in OF_UPSTREAM}
    own = {key: settle(_rule_of(key), given) for key, given in table.items()}
    values["url"] = settle(URL, _url_in(name, table))
    if "token" in own and "token_file" in own:
        raise SettingsProblem(
            f"{table['token_file'].place}: {table['token'].place} gives the token as well: remove "
            "one of them"
        )
    if "token_file" in own:
        own["token"] = read_token(own["token_file"], table["token_file"])
    elif "token" in own:
        values["token_file"] = None
    values |= own
    patterns = own.get("models")
    if isinstance(patterns, tuple):
        _check_patterns(patterns, table["models"])
    return msgspec.convert(values, HostSettings)


def _check_patterns(patterns: tuple[str, ...], given: Given) -> None:
    """Refuse patterns that are empty, or that leave nothing of any host."""
    if not all(each.removeprefix("!").strip() for each in patterns):
        raise SettingsProblem(f"{given.place}: a pattern is empty: remove it")
    wanted = [each for each in patterns if not each.startswith("!")]
    if "!*" in patterns or (patterns and all(f"!{each}" in patterns for each in wanted) and wanted):
        raise SettingsProblem(
            f"{given.place}: these patterns leave no model of the host: remove the table of the "
            "host, or the pattern with ! that leaves out everything"
        )


def _rule_of(key: str) -> str:
    path = f"upstream.{key}"
    return path if path in HINTS else f"{OF_ANY_HOST}{key}"


def _url_in(name: str, table: Mapping[str, Given]) -> Given:
    if "url" not in table:
        some = next(iter(table.values()))
        place = some.place.rpartition(".")[0]
        raise SettingsProblem(f'{place}: the host has no address: write url = "http://…" into it')
    return table["url"]


def _several(value: object) -> list[object]:
    """Return the addresses of a list, or of a text with commas between them."""
    if isinstance(value, str):
        return [each.strip() for each in value.split(",") if each.strip()] or [value]
    if isinstance(value, list | tuple):
        return list(value)
    return [value]
