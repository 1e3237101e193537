"""
The sources of settings, and how they are merged into one `Settings`.

The only files that are read are the settings file and the files of secrets. `values` parses the
texts of addresses, durations and origins.

The sources in order, the strongest first: flags, `OLGATE_SECTION_KEY` variables, Ollama's and LM
Studio's own variables, the file, the defaults. `OLLAMA_API_KEY` is not read: clients set it for
ollama.com, and it must not change the gateway unexpectedly.
"""

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

import msgspec

from ..names import grammar
from .hosts import gaps_in_tiers, given_in, made_hosts, split_off
from .keys import keys_given_in, made_keys, take_keys
from .paths import (
    BORROWED,
    CONFIG_VARIABLE,
    FLAGS,
    HINTS,
    HOSTS,
    KEYS,
    MAPS,
    SECTION_NAMES,
    SECTIONS,
    VARIABLES,
)
from .schema import Settings, UpstreamSettings
from .settling import Given, SettingsProblem, settle
from .values import (
    read_duration,
    read_keys_file,
    read_ollama_host,
    read_secret_file,
    read_store_url_file,
    read_token_file,
)

T = TypeVar("T")

__all__ = ["Loaded", "SettingsProblem", "load", "read"]


class Loaded(NamedTuple):
    """Settings, the source of each value (by `section.key`), and notes about ignored values."""

    settings: Settings
    sources: Mapping[str, str]
    notes: tuple[str, ...]


_WITH_OWN_PARSER = ("OLLAMA_HOST", "OLLAMA_DEBUG")
# Variables for which Ollama uses its default instead of an unreadable text
# (docs/facts/ollama.md#variables).
_PASSED_OVER_IF_BAD = (
    "models.keep_alive",
    "models.context_length",
    "models.load_timeout_s",
    "models.max_queue",
    "models.max_loaded",
)

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")

# Variables that container platforms set for a service with the name `olgate`.
_PLATFORM_VARIABLE = re.compile(r"OLGATE_(SERVICE_|PORT_\d+_|PORT=\w+://)")


def load(flags: Mapping[str, object], environ: Mapping[str, str], file: Path | None) -> Settings:
    """
    Merge all sources into one `Settings`.

    `flags` is keyed by `section.key`; None means not given. `file` must exist; None is no file.
    Raises SettingsProblem for an unknown key (with the most similar known one), and for a value of
    a wrong type or out of range.
    """
    return read(flags, environ, file).settings


def read(flags: Mapping[str, object], environ: Mapping[str, str], file: Path | None) -> Loaded:
    """Do the same as `load`; also return the sources, and notes on ignored values."""
    notes: list[str] = []
    given: dict[str, Given] = {}
    layers = (
        _read_file(file),
        _read_borrowed(environ, notes),
        _read_variables(environ),
        _read_flags(flags),
    )
    for rank, layer in enumerate(layers):
        given |= {path: each._replace(rank=rank) for path, each in layer.items()}
    hosts = split_off(given, notes)
    tables = take_keys(given)
    values = {
        path: settle(path, each) for path, each in given.items() if not path.startswith(f"{HOSTS}.")
    }
    _check_aliases(given)
    _add_keys_of_file(values, given)
    _take_secret_of_file(values, given, "upstream.token", "token", read_token_file)
    _take_secret_of_file(values, given, "store.url", "URL", read_store_url_file)
    _choose_store(values, given)
    sections: dict[str, object] = {
        section: kind(
            **{
                key: values[path]
                for key in kind.__struct_fields__
                if (path := f"{section}.{key}") in values
            }
        )
        for section, kind in SECTIONS.items()
    }
    for section in MAPS:
        prefix = f"{section}."
        sections[section] = {
            path.removeprefix(prefix): value
            for path, value in values.items()
            if path.startswith(prefix)
        }
    upstream = msgspec.convert(sections["upstream"], UpstreamSettings, from_attributes=True)
    made = made_hosts(
        hosts,
        upstream,
        lambda file, where: _read_secrets(file, where, "file of the token", read_token_file),
    )
    notes += gaps_in_tiers(made)
    sections[HOSTS] = made
    sections[KEYS] = made_keys(
        tables,
        cast("tuple[str, ...]", values.get("listen.keys", ())),
        lambda file, where: _read_secrets(file, where, "file of the secret", read_secret_file),
        notes,
    )
    sources = {path: given[path].place if path in given else "default" for path in HINTS}
    sources |= {path: each.place for path, each in given.items()}
    sources |= {
        f"{KEYS}.{name}.{key}": each.place
        for name, table in tables.items()
        for key, each in table.items()
    }
    return Loaded(msgspec.convert(sections, Settings, from_attributes=True), sources, tuple(notes))


def _check_aliases(given: Mapping[str, Given]) -> None:
    """Refuse two names of a free-form section that are one name to a client."""
    seen: dict[str, str] = {}
    for path, each in given.items():
        section, _, name = path.partition(".")
        if section not in MAPS or (parsed := grammar.parse(name)) is None:
            continue
        other = seen.setdefault(f"{section}.{parsed.folded}", name)
        if other != name:
            raise SettingsProblem(
                f"{each.place}: this name and {other!r} are the same name (letter case and "
                "`:latest` make no difference): remove one of them"
            )


def _add_keys_of_file(values: dict[str, object], given: dict[str, Given]) -> None:
    """Add the keys of `listen.keys_file` to `listen.keys`; a file without a key is an error."""
    path = "listen.keys_file"
    if path not in values:
        return
    keys = _read_secrets(values[path], given[path], "file of keys", read_keys_file)
    stated = values.get("listen.keys", ())
    assert isinstance(stated, tuple)
    values["listen.keys"] = (*stated, *keys)
    given.setdefault("listen.keys", given[path])


def _take_secret_of_file(
    values: dict[str, object],
    given: dict[str, Given],
    target: str,
    what: str,
    reader: Callable[[Path], str],
) -> None:
    """Set a secret from the file that `…_file` names, unless a stronger source has it itself."""
    path = f"{target}_file"
    if path not in values:
        return
    if (other := given.get(target)) is not None:
        if other.rank == given[path].rank:
            raise SettingsProblem(
                f"{given[path].place}: {other.place} gives the {what} as well: remove one of them"
            )
        if other.rank > given[path].rank:
            return
    values[target] = _read_secrets(values[path], given[path], f"file of the {what}", reader)
    given[target] = given[path]


def _choose_store(values: dict[str, object], given: dict[str, Given]) -> None:
    """Drop the file or the URL of the store, whichever the weaker source has."""
    path, url = given.get("store.path"), given.get("store.url")
    if path is None or url is None:
        return
    if path.rank == url.rank:
        raise SettingsProblem(
            f"{url.place}: {path.place} names a store as well: remove one of them"
        )
    weaker = "store.path" if path.rank < url.rank else "store.url"
    del values[weaker], given[weaker]


def _read_secrets(name: object, given: Given, what: str, reader: Callable[[Path], T]) -> T:
    """Read a file of secrets; a problem never quotes its contents."""
    try:
        return reader(Path(str(name)))
    except OSError as failure:
        raise SettingsProblem(
            f"{given.place}: the {what} {name} cannot be read: {failure.strerror}"
        ) from None
    except ValueError as wanted:
        raise SettingsProblem(f"{given.place}: expected {wanted} in {name}") from None


def _read_file(file: Path | None) -> dict[str, Given]:
    if file is None:
        return {}
    try:
        data = file.read_bytes()
    except OSError as failure:
        raise SettingsProblem(
            f"the settings file {file} cannot be read: {failure.strerror}"
        ) from None
    try:
        # Windows' editors begin a file with a byte order mark.
        content = tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as failure:
        told = "is in UTF-16" if data.startswith(_UTF_16) else f"is not UTF-8 ({failure})"
        raise SettingsProblem(f"the settings file {file} {told}: save it as UTF-8") from None
    except tomllib.TOMLDecodeError as failure:
        raise SettingsProblem(f"the settings file {file} is not TOML: {failure}") from None
    given: dict[str, Given] = {}
    for section, keys in content.items():
        if section not in SECTION_NAMES:
            raise SettingsProblem(
                f"{file}: unknown section [{section}]{_suggest(section, SECTION_NAMES)}"
            )
        if not isinstance(keys, dict):
            raise SettingsProblem(
                f"{file}: {section} must be a section: write [{section}] above its keys"
            )
        if section == HOSTS:
            given |= given_in(str(file), keys)
            continue
        if section == KEYS:
            given |= keys_given_in(str(file), keys)
            continue
        for key, value in keys.items():
            path = f"{section}.{key}"
            if section not in MAPS and path not in HINTS:
                raise SettingsProblem(f"{file}: unknown key {path}{_suggest(path, HINTS)}")
            given[path] = Given(value, f"{file}: {path}")
    return given


def _read_borrowed(environ: Mapping[str, str], notes: list[str]) -> dict[str, Given]:
    """Read Ollama's and LM Studio's own variables, each with its own parser."""
    texts = {variable: _trimmed(environ, variable) for variable in BORROWED}
    given = {
        path: Given(texts[variable], variable)
        for variable, (path, *_) in BORROWED.items()
        if variable not in _WITH_OWN_PARSER and texts[variable]
    }
    if text := texts["OLLAMA_HOST"]:
        host, port = read_ollama_host(text)
        given["listen.host"] = Given(host, "OLLAMA_HOST")
        given["listen.port"] = Given(port, "OLLAMA_HOST")
    # Any text that is not one of Go's words for false counts as true; numbers above 1 are more
    # detailed levels of Ollama's, which the gateway does not have.
    if (text := texts["OLLAMA_DEBUG"]) and text.lower() not in ("0", "f", "false"):
        given["log.level"] = Given("debug", "OLLAMA_DEBUG")
    if text := texts["OLLAMA_LOAD_TIMEOUT"]:
        # Zero and less mean no limit there. A text that is not a duration is ignored below.
        with suppress(ValueError):
            seconds = read_duration(text)
            given["models.load_timeout_s"] = Given(seconds or 0.0, "OLLAMA_LOAD_TIMEOUT")
    for path in _PASSED_OVER_IF_BAD:
        if path in given:
            try:
                settle(path, given[path])
            except SettingsProblem as problem:
                notes.append(f"{problem}; ignored, as in Ollama")
                del given[path]
    for variable, (first, *more) in BORROWED.items():
        if variable not in _WITH_OWN_PARSER and first in given:
            given |= dict.fromkeys(more, given[first])
    return given


def _read_variables(environ: Mapping[str, str]) -> dict[str, Given]:
    given: dict[str, Given] = {}
    for variable in sorted(environ):
        if not variable.startswith("OLGATE_") or variable == CONFIG_VARIABLE:
            continue
        if path := VARIABLES.get(variable):
            if text := _trimmed(environ, variable):
                given[path] = Given(text, variable)
        elif (section := variable.removeprefix("OLGATE_").partition("_")[0].lower()) in (
            *MAPS,
            HOSTS,
            KEYS,
        ):
            raise SettingsProblem(
                f"unknown variable {variable}: only the settings file can have [{section}]"
            )
        elif variable == "OLGATE_LISTEN_MORE":
            raise SettingsProblem(
                f"unknown variable {variable}: only the settings file can have [[listen.more]]"
            )
        elif not _PLATFORM_VARIABLE.match(f"{variable}={environ[variable]}"):
            known = (CONFIG_VARIABLE, *VARIABLES)
            raise SettingsProblem(f"unknown variable {variable}{_suggest(variable, known)}")
    return given


def _read_flags(flags: Mapping[str, object]) -> dict[str, Given]:
    given: dict[str, Given] = {}
    for path, value in flags.items():
        if path not in HINTS:
            raise SettingsProblem(f"unknown setting {path}{_suggest(path, HINTS)}")
        if value is not None:
            given[path] = Given(value, FLAGS.get(path, path))
    return given


def _trimmed(environ: Mapping[str, str], variable: str) -> str:
    """
    Trim spaces, then outer quotes (docs/facts/ollama.md#variables); a variable that is empty is
    not set.
    """
    return environ.get(variable, "").strip().strip("\"'").strip()


def _suggest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    # The prefix that all variables share would make any two of them similar.
    by_rest = {each.removeprefix("OLGATE_"): each for each in names}
    rest = name.removeprefix("OLGATE_")
    near = [by_rest[each] for each in difflib.get_close_matches(rest, by_rest, n=1, cutoff=0.6)]
    # A key without its section is the likeliest mistake, and is not similar by letters.
    tail = [each for each in names if each.lower().endswith(f"{_last_word(name)}")]
    guess = near or (tail if len(tail) == 1 else [])
    return f"; did you mean {guess[0]}?" if guess else ""


def _last_word(name: str) -> str:
    return re.split(r"[._]", name.removeprefix("OLGATE_"), maxsplit=1)[-1].lower()
