"""
The sources of settings, and how they are merged into one `Settings`.

The only files that are read are the settings file and the files of secrets. `values` parses the
texts of addresses, durations and origins.

The sources in order, the strongest first: flags, `OLGATE_SECTION_KEY` variables, Ollama's and LM
Studio's own variables, the file, the defaults. `OLLAMA_API_KEY` is not read: clients set it for
ollama.com, and it must not change the gateway unexpectedly.
"""

import difflib
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from ..names import grammar
from .hints import NO_LIMIT, accepts, expectation, from_text, hint_of_duration
from .paths import (
    BORROWED,
    CONFIG_VARIABLE,
    FLAGS,
    HINTS,
    MAPS,
    SECTION_NAMES,
    SECTIONS,
    VARIABLES,
)
from .schema import SECRETS, Settings
from .values import (
    read_duration,
    read_file_name,
    read_host,
    read_keep_alive,
    read_keys,
    read_keys_file,
    read_ollama_host,
    read_origins,
    read_store_path,
    read_token,
    read_token_file,
    read_upstream_url,
)

T = TypeVar("T")


class SettingsProblem(Exception):
    """A value cannot be used; one sentence names the value's place and the next step."""


class Loaded(NamedTuple):
    """Settings, the source of each value (by `section.key`), and notes about ignored values."""

    settings: Settings
    sources: Mapping[str, str]
    notes: tuple[str, ...]


class _Given(NamedTuple):
    """One value as it was given, the name under which its source has it, and the source's rank."""

    value: object
    place: str
    rank: int = 0


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
    given: dict[str, _Given] = {}
    layers = (
        _read_file(file),
        _read_borrowed(environ, notes),
        _read_variables(environ),
        _read_flags(flags),
    )
    for rank, layer in enumerate(layers):
        given |= {path: each._replace(rank=rank) for path, each in layer.items()}
    values = {path: _settle(path, each) for path, each in given.items()}
    _check_aliases(given)
    _add_keys_of_file(values, given)
    _take_token_of_file(values, given)
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
    sources = {path: given[path].place if path in given else "default" for path in HINTS}
    sources |= {path: each.place for path, each in given.items()}
    return Loaded(msgspec.convert(sections, Settings, from_attributes=True), sources, tuple(notes))


def _check_aliases(given: Mapping[str, _Given]) -> None:
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


def _add_keys_of_file(values: dict[str, object], given: dict[str, _Given]) -> None:
    """Add the keys of `listen.keys_file` to `listen.keys`; a file without a key is an error."""
    path = "listen.keys_file"
    if path not in values:
        return
    keys = _read_secrets(values[path], given[path], "file of keys", read_keys_file)
    stated = values.get("listen.keys", ())
    assert isinstance(stated, tuple)
    values["listen.keys"] = (*stated, *keys)
    given.setdefault("listen.keys", given[path])


def _take_token_of_file(values: dict[str, object], given: dict[str, _Given]) -> None:
    """Set `upstream.token` from its file, unless a stronger source has the token itself."""
    path, target = "upstream.token_file", "upstream.token"
    if path not in values:
        return
    if (other := given.get(target)) is not None:
        if other.rank == given[path].rank:
            raise SettingsProblem(
                f"{given[path].place}: {other.place} gives the token as well: remove one of them"
            )
        if other.rank > given[path].rank:
            return
    values[target] = _read_secrets(values[path], given[path], "file of the token", read_token_file)
    given[target] = given[path]


def _read_secrets(name: object, given: _Given, what: str, reader: Callable[[Path], T]) -> T:
    """Read a file of secrets; a problem never quotes its contents."""
    try:
        return reader(Path(str(name)))
    except OSError as failure:
        raise SettingsProblem(
            f"{given.place}: the {what} {name} cannot be read: {failure.strerror}"
        ) from None
    except ValueError as wanted:
        raise SettingsProblem(f"{given.place}: expected {wanted} in {name}") from None


_READERS: dict[str, Callable[..., object]] = {
    "listen.host": read_host,
    "listen.origins": read_origins,
    "listen.keys": read_keys,
    "upstream.url": read_upstream_url,
    "upstream.token": read_token,
    "models.keep_alive": read_keep_alive,
    "store.path": read_store_path,
    "listen.keys_file": read_file_name,
    "upstream.token_file": read_file_name,
    "upstream.ca_file": read_file_name,
    "listen.tls_certificate": read_file_name,
    "listen.tls_key": read_file_name,
}


def _read_file(file: Path | None) -> dict[str, _Given]:
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
    given: dict[str, _Given] = {}
    for section, keys in content.items():
        if section not in SECTION_NAMES:
            raise SettingsProblem(
                f"{file}: unknown section [{section}]{_suggest(section, SECTION_NAMES)}"
            )
        if not isinstance(keys, dict):
            raise SettingsProblem(
                f"{file}: {section} must be a section: write [{section}] above its keys"
            )
        for key, value in keys.items():
            path = f"{section}.{key}"
            if section not in MAPS and path not in HINTS:
                raise SettingsProblem(f"{file}: unknown key {path}{_suggest(path, HINTS)}")
            given[path] = _Given(value, f"{file}: {path}")
    return given


def _read_borrowed(environ: Mapping[str, str], notes: list[str]) -> dict[str, _Given]:
    """Read Ollama's and LM Studio's own variables, each with its own parser."""
    texts = {variable: _trimmed(environ, variable) for variable in BORROWED}
    given = {
        path: _Given(texts[variable], variable)
        for variable, (path, *_) in BORROWED.items()
        if variable not in _WITH_OWN_PARSER and texts[variable]
    }
    if text := texts["OLLAMA_HOST"]:
        host, port = read_ollama_host(text)
        given["listen.host"] = _Given(host, "OLLAMA_HOST")
        given["listen.port"] = _Given(port, "OLLAMA_HOST")
    # Any text that is not one of Go's words for false counts as true; numbers above 1 are more
    # detailed levels of Ollama's, which the gateway does not have.
    if (text := texts["OLLAMA_DEBUG"]) and text.lower() not in ("0", "f", "false"):
        given["log.level"] = _Given("debug", "OLLAMA_DEBUG")
    if text := texts["OLLAMA_LOAD_TIMEOUT"]:
        # Zero and less mean no limit there. A text that is not a duration is ignored below.
        with suppress(ValueError):
            seconds = read_duration(text)
            given["models.load_timeout_s"] = _Given(seconds or 0.0, "OLLAMA_LOAD_TIMEOUT")
    for path in _PASSED_OVER_IF_BAD:
        if path in given:
            try:
                _settle(path, given[path])
            except SettingsProblem as problem:
                notes.append(f"{problem}; ignored, as in Ollama")
                del given[path]
    return given


def _read_variables(environ: Mapping[str, str]) -> dict[str, _Given]:
    given: dict[str, _Given] = {}
    for variable in sorted(environ):
        if not variable.startswith("OLGATE_") or variable == CONFIG_VARIABLE:
            continue
        if path := VARIABLES.get(variable):
            if text := _trimmed(environ, variable):
                given[path] = _Given(text, variable)
        elif (section := variable.removeprefix("OLGATE_").partition("_")[0].lower()) in MAPS:
            raise SettingsProblem(
                f"unknown variable {variable}: only the settings file can have [{section}]"
            )
        elif not _PLATFORM_VARIABLE.match(f"{variable}={environ[variable]}"):
            known = (CONFIG_VARIABLE, *VARIABLES)
            raise SettingsProblem(f"unknown variable {variable}{_suggest(variable, known)}")
    return given


def _read_flags(flags: Mapping[str, object]) -> dict[str, _Given]:
    given: dict[str, _Given] = {}
    for path, value in flags.items():
        if path not in HINTS:
            raise SettingsProblem(f"unknown setting {path}{_suggest(path, HINTS)}")
        if value is not None:
            given[path] = _Given(value, FLAGS.get(path, path))
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


def _settle(path: str, given: _Given) -> object:
    """Convert a value to the field's type, or raise SettingsProblem with one sentence."""
    hint = HINTS.get(path, str)
    value = given.value
    if path not in HINTS and grammar.parse(path.partition(".")[2]) is None:
        raise SettingsProblem(f"{given.place}: the key is not a model's name")
    if path not in HINTS and value == "":
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
        if path in _READERS and typed is not None:
            typed = _READERS[path](typed)
    except msgspec.ValidationError:
        raise _problem(
            path, given, expectation(hint, path), hint_of_duration(hint, value)
        ) from None
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


def _problem(path: str, given: _Given, wanted: str, hint: str = "") -> SettingsProblem:
    holds_secret = path in SECRETS or "@" in str(given.value)
    got = "" if holds_secret else f", got {given.value!r}"
    return SettingsProblem(f"{given.place}: expected {wanted}{got}{hint}")
