"""
One value of a setting, as a source gave it, and its conversion to the setting's type.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from ..names import grammar
from .hints import NO_LIMIT, accepts, expectation, from_text, hint_of_duration
from .more_ports import read_ports
from .paths import HINTS, HOST_HINTS, KEY_HINTS, MORE, OF_ANY_KEY
from .schema import SECRETS
from .values import (
    read_digest,
    read_file_name,
    read_host,
    read_keep_alive,
    read_keys,
    read_networks,
    read_origins,
    read_prefix,
    read_store_path,
    read_store_url,
    read_token,
    read_upstream_url,
)

ALL_HINTS = HINTS | HOST_HINTS | KEY_HINTS


class SettingsProblem(Exception):
    """A value cannot be used; one sentence names the value's place and the next step."""


class Given(NamedTuple):
    """One value as it was given, the name under which its source has it, and the source's rank."""

    value: object
    place: str
    rank: int = 0


READERS: dict[str, Callable[..., object]] = {
    "listen.host": read_host,
    "listen.origins": read_origins,
    "listen.proxies": read_networks,
    "listen.keys": read_keys,
    "upstream.url": read_upstream_url,
    "upstream.token": read_token,
    "models.keep_alive": read_keep_alive,
    "store.path": read_store_path,
    "store.url": read_store_url,
    "store.url_file": read_file_name,
    "store.prefix": read_prefix,
    "listen.keys_file": read_file_name,
    MORE: read_ports,
    "upstream.token_file": read_file_name,
    "upstream.ca_file": read_file_name,
    "listen.tls_certificate": read_file_name,
    "listen.tls_key": read_file_name,
    f"{OF_ANY_KEY}secret_file": read_file_name,
    f"{OF_ANY_KEY}digest": read_digest,
}


def settle(path: str, given: Given) -> object:
    """
    Convert a value to the field's type, or raise SettingsProblem with one sentence.

    `path` says by which setting's rules; a path that is no setting's is a free-form section's.
    """
    hint = ALL_HINTS.get(path, str)
    value = given.value
    if path not in ALL_HINTS and grammar.parse(path.partition(".")[2]) is None:
        raise SettingsProblem(f"{given.place}: the key is not a model's name")
    if path not in ALL_HINTS and value == "":
        raise SettingsProblem(f"{given.place}: the value is empty")
    if not _is_unicode(value):
        raise _problem(path, given, "text in UTF-8")
    if accepts(hint, tuple) and isinstance(value, str):
        value = value.split(",")
    if path == "models.keep_alive" and type(value) is int:
        # A whole number means seconds, as in Ollama's own setting.
        value = str(value)
    try:
        typed = msgspec.convert(from_text(hint, value) if isinstance(value, str) else value, hint)
        if path in READERS and typed is not None:
            typed = READERS[path](typed)
    except msgspec.ValidationError as problem:
        # A table's own problem is one of its keys, which the whole does not show.
        more = f" ({problem})" if path == MORE else hint_of_duration(hint, value)
        raise _problem(path, given, expectation(hint, path), more) from None
    except ValueError as wanted:
        raise _problem(path, given, str(wanted)) from None
    if path in NO_LIMIT and typed in (0, math.inf):
        return NO_LIMIT[path]
    return typed


def _is_unicode(value: object) -> bool:
    """Return whether a text can be written down: bytes of the environment need not be text."""
    try:
        str(value).encode()
    except UnicodeEncodeError:
        return False
    return True


def _problem(path: str, given: Given, wanted: str, hint: str = "") -> SettingsProblem:
    holds_secret = path in SECRETS or path == f"{OF_ANY_KEY}digest" or "@" in str(given.value)
    got = "" if holds_secret else f", got {given.value!r}"
    return SettingsProblem(f"{given.place}: expected {wanted}{got}{hint}")
