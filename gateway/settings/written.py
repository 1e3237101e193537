"""
Settings written as TOML, so that reading the text gives the same settings again.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping

import msgspec

from .hints import NO_LIMIT
from .paths import HINTS, HOSTS, KEYS, MAPS, split_path
from .schema import SECRETS, HostSettings, KeySettings, Settings, secret_shown

_SECRETS_OF_TABLES = frozenset(((HOSTS, "token"), (KEYS, "digest")))
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def describe(settings: Settings) -> dict[str, object]:
    """
    Flatten to `section.key`, each value as a file states it; None is a setting that is not set.

    A secret is shown as set or not set.
    """
    flat = {path: _as_stated(path, value_of(settings, path)) for path in HINTS}
    for section in MAPS:
        flat |= {f"{section}.{key}": each for key, each in getattr(settings, section).items()}
    flat |= {path: secret_shown(flat[path]) for path in SECRETS}
    for name, host in settings.hosts.items():
        flat |= _describe_host(name, host, settings)
    plain = KeySettings()
    for name, key in settings.keys.items():
        flat |= {
            f"{KEYS}.{name}.{each}": secret_shown(value) if each == "digest" else value
            for each in key.__struct_fields__
            if (value := getattr(key, each)) != getattr(plain, each)
        }
    return flat


def _describe_host(name: str, host: HostSettings, settings: Settings) -> dict[str, object]:
    """Return what a host's own table states: its address, and what differs from `[upstream]`."""
    plain = HostSettings()
    found: dict[str, object] = {}
    for key in host.__struct_fields__:
        value, path = getattr(host, key), f"{HOSTS}.{name}.{key}"
        if key == "url" or value != getattr(settings.upstream, key, getattr(plain, key)):
            rule = f"upstream.{key}"
            found[path] = secret_shown(value) if rule in SECRETS else _as_stated(rule, value)
    return found


def value_of(settings: Settings, path: str) -> object:
    """Return the value of a setting by its path."""
    section, _, key = path.partition(".")
    return getattr(getattr(settings, section), key)


def _as_stated(path: str, value: object) -> object:
    """Return a value as a file states it: no limit is 0, a store in memory is `:memory:`."""
    if path in NO_LIMIT and value == NO_LIMIT[path]:
        return 0
    if path == "store.path" and value is None:
        return ":memory:"
    return value


def as_toml(settings: Settings, sources: Mapping[str, str]) -> str:
    """Write settings as a TOML file with the source of each; secrets are comments."""
    lines: list[str] = []
    section = ""
    for path, value in describe(settings).items():
        head, key = split_path(path)
        if head != section:
            lines += ["", _heading(head)] if section else [_heading(head)]
            section = head
        source = as_comment(sources.get(path, "default"))
        if path == "upstream.url" and settings.hosts:
            lines.append("# url is that of each host")
        elif path in SECRETS or (head.partition(".")[0], key) in _SECRETS_OF_TABLES:
            lines.append(f"# {key} is {value}{source}")
        elif value is None:
            lines.append(f"# {key} is not set")
        else:
            lines.append(f"{as_key(key)} = {as_value(value)}{source}")
    return "\n".join(lines) + "\n"


def _heading(table: str) -> str:
    """
    Return the line above a table's keys.

    >>> _heading("listen"), _heading("hosts.10.0.0.7:1234")
    ('[listen]', '[hosts."10.0.0.7:1234"]')
    """
    section, _, name = table.partition(".")
    return f"[{section}.{as_key(name)}]" if name else f"[{section}]"


def as_key(key: str) -> str:
    """Write a key, in quotes if it needs them."""
    return key if _BARE_KEY.fullmatch(key) else as_value(key)


def as_value(value: object) -> str:
    r"""
    Write a value as TOML.

    >>> as_value("a\x7f\n"), as_value(("é", "b")), as_value(60.0), as_value(float("inf"))
    ('"a\\u007f\\n"', '["é", "b"]', '60', 'inf')
    """
    if value == math.inf:
        return "inf"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, tuple):
        return f"[{', '.join(as_value(each) for each in value)}]"
    if isinstance(value, msgspec.Struct):
        stated = [(key, getattr(value, key)) for key in value.__struct_fields__]
        pairs = [f"{key} = {as_value(each)}" for key, each in stated if each is not None]
        return f"{{ {', '.join(pairs)} }}"
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("\x7f", "\\u007f")


def as_comment(text: str) -> str:
    """Write a comment at the end of a line; a text that would end the line is quoted."""
    return f"  # {text if text.isprintable() else as_value(text)}"


def shown_url(url: str) -> str:
    """
    Return a URL without what is secret in it: the user, the password, and the query.

    >>> shown_url("rediss://me:secret@cache:6380/2?password=x")
    'rediss://cache:6380/2'
    """
    start, separator, rest = url.partition("://")
    rest = rest.partition("?")[0].partition("#")[0]
    # A password may have a slash in it, if it was not written as %2F.
    return f"{start}{separator}{rest.rpartition('@')[2]}"
