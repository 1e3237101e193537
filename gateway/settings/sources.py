"""
The sources of settings, and how they are merged into one `Settings`.

The only files that are read are the settings file and the file of keys. `values` parses the texts
of addresses, durations and origins.

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
from typing import NamedTuple, get_origin, get_type_hints

import msgspec

from gateway.names import grammar
from gateway.settings.hints import NO_LIMIT, accepts, expectation, from_text
from gateway.settings.schema import SECRETS, Settings, secret_shown
from gateway.settings.values import (
    read_duration,
    read_host,
    read_keep_alive,
    read_keys,
    read_keys_file,
    read_ollama_host,
    read_origins,
    read_store_path,
    read_token,
    read_upstream_url,
)


class SettingsProblem(Exception):
    """A value cannot be used; one sentence names the value's place and the next step."""


class Loaded(NamedTuple):
    """Settings, the source of each value (by `section.key`), and notes about ignored values."""

    settings: Settings
    sources: Mapping[str, str]
    notes: tuple[str, ...]


class _Given(NamedTuple):
    """One value as it was given, and the name under which its source has it."""

    value: object
    place: str


_HINTS_OF_SECTIONS = {
    name: hint
    for name, hint in get_type_hints(Settings).items()
    if name in Settings.__struct_fields__
}
_MAPS = tuple(name for name, hint in _HINTS_OF_SECTIONS.items() if get_origin(hint) is dict)
"""Free-form sections: maps of text to text with the user's own keys, in the file only."""
_SECTIONS: dict[str, type[msgspec.Struct]] = {
    name: kind for name, kind in _HINTS_OF_SECTIONS.items() if name not in _MAPS
}
_HINTS: dict[str, object] = {
    f"{section}.{key}": hint
    for section, kind in _SECTIONS.items()
    for key, hint in get_type_hints(kind, include_extras=True).items()
    if key in kind.__struct_fields__
}
_VARIABLES = {f"OLGATE_{path.replace('.', '_').upper()}": path for path in _HINTS}
_FLAGS = {
    "listen.host": "--host",
    "listen.port": "--port",
    "upstream.url": "--upstream",
    "log.level": "--log-level",
}
# Ollama's and LM Studio's own variables; those without a path have their own parsers.
_BORROWED = {
    "OLLAMA_HOST": None,
    "OLLAMA_DEBUG": None,
    "OLLAMA_ORIGINS": "listen.origins",
    "OLLAMA_KEEP_ALIVE": "models.keep_alive",
    "OLLAMA_CONTEXT_LENGTH": "models.context_length",
    "OLLAMA_LOAD_TIMEOUT": "models.load_timeout_s",
    "OLLAMA_MAX_QUEUE": "models.max_queue",
    "LMSTUDIO_URL": "upstream.url",
    "LM_API_TOKEN": "upstream.token",
}
# Variables for which Ollama uses its default instead of an unreadable text
# (docs/facts/ollama.md#variables).
_PASSED_OVER_IF_BAD = (
    "models.keep_alive",
    "models.context_length",
    "models.load_timeout_s",
    "models.max_queue",
)

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
    for layer in (
        _read_file(file),
        _read_borrowed(environ, notes),
        _read_variables(environ),
        _read_flags(flags),
    ):
        given |= layer
    values = {path: _settle(path, each) for path, each in given.items()}
    _add_keys_of_file(values, given)
    sections: dict[str, object] = {
        section: kind(
            **{
                key: values[path]
                for key in kind.__struct_fields__
                if (path := f"{section}.{key}") in values
            }
        )
        for section, kind in _SECTIONS.items()
    }
    for section in _MAPS:
        prefix = f"{section}."
        sections[section] = {
            path.removeprefix(prefix): value
            for path, value in values.items()
            if path.startswith(prefix)
        }
    sources = {path: given[path].place if path in given else "default" for path in _HINTS}
    sources |= {path: each.place for path, each in given.items()}
    return Loaded(msgspec.convert(sections, Settings, from_attributes=True), sources, tuple(notes))


def _add_keys_of_file(values: dict[str, object], given: dict[str, _Given]) -> None:
    """Add the keys of `listen.keys_file` to `listen.keys`; a file without a key is an error."""
    path = "listen.keys_file"
    if not (name := values.get(path)):
        return
    try:
        keys = read_keys_file(Path(str(name)))
    except OSError as failure:
        raise SettingsProblem(
            f"{given[path].place}: the file of keys {name} cannot be read: {failure.strerror}"
        ) from None
    except ValueError as wanted:
        raise SettingsProblem(f"{given[path].place}: expected {wanted} in {name}") from None
    stated = values.get("listen.keys", ())
    assert isinstance(stated, tuple)
    values["listen.keys"] = (*stated, *keys)
    given.setdefault("listen.keys", given[path])


def describe(settings: Settings) -> dict[str, object]:
    """Flatten to `section.key` for logs and people; a secret is shown as set or not set."""
    flat = {
        f"{section}.{key}": getattr(getattr(settings, section), key)
        for section, kind in _SECTIONS.items()
        for key in kind.__struct_fields__
    }
    for section in _MAPS:
        flat |= {f"{section}.{key}": each for key, each in getattr(settings, section).items()}
    return flat | {path: secret_shown(flat[path]) for path in SECRETS}


def default_file() -> Path | None:
    """Return the settings file in the platform's settings folder, or None if there is none."""
    import platformdirs  # a tenth of the start-up time, needed only if no file is named

    path = platformdirs.user_config_path("olgate") / "config.toml"
    return path if path.is_file() else None


_READERS: dict[str, Callable[..., object]] = {
    "listen.host": read_host,
    "listen.origins": read_origins,
    "listen.keys": read_keys,
    "upstream.url": read_upstream_url,
    "upstream.token": read_token,
    "models.keep_alive": read_keep_alive,
    "store.path": read_store_path,
}


def _read_file(file: Path | None) -> dict[str, _Given]:
    if file is None:
        return {}
    try:
        content = tomllib.loads(file.read_text("utf-8"))
    except OSError as failure:
        raise SettingsProblem(
            f"the settings file {file} cannot be read: {failure.strerror}"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as failure:
        raise SettingsProblem(f"the settings file {file} is not TOML: {failure}") from None
    given: dict[str, _Given] = {}
    for section, keys in content.items():
        if section not in _HINTS_OF_SECTIONS:
            raise SettingsProblem(
                f"{file}: unknown section [{section}]{_suggest(section, _HINTS_OF_SECTIONS)}"
            )
        if not isinstance(keys, dict):
            raise SettingsProblem(
                f"{file}: {section} must be a section: write [{section}] above its keys"
            )
        for key, value in keys.items():
            path = f"{section}.{key}"
            if section not in _MAPS and path not in _HINTS:
                raise SettingsProblem(f"{file}: unknown key {path}{_suggest(path, _HINTS)}")
            given[path] = _Given(value, f"{file}: {path}")
    return given


def _read_borrowed(environ: Mapping[str, str], notes: list[str]) -> dict[str, _Given]:
    """Read Ollama's and LM Studio's own variables, each with its own parser."""
    texts = {variable: _trimmed(environ, variable) for variable in _BORROWED}
    given = {
        path: _Given(texts[variable], variable)
        for variable, path in _BORROWED.items()
        if path and texts[variable]
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
        if not variable.startswith("OLGATE_"):
            continue
        if path := _VARIABLES.get(variable):
            if text := _trimmed(environ, variable):
                given[path] = _Given(text, variable)
        elif not _PLATFORM_VARIABLE.match(f"{variable}={environ[variable]}"):
            raise SettingsProblem(f"unknown variable {variable}{_suggest(variable, _VARIABLES)}")
    return given


def _read_flags(flags: Mapping[str, object]) -> dict[str, _Given]:
    given: dict[str, _Given] = {}
    for path, value in flags.items():
        if path not in _HINTS:
            raise SettingsProblem(f"unknown setting {path}{_suggest(path, _HINTS)}")
        if value is not None:
            given[path] = _Given(value, _FLAGS.get(path, path))
    return given


def _trimmed(environ: Mapping[str, str], variable: str) -> str:
    """
    Trim spaces, then outer quotes (docs/facts/ollama.md#variables); a variable that is empty is
    not set.
    """
    return environ.get(variable, "").strip().strip("\"'").strip()


def _suggest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    # A key without its section is the likeliest mistake, and is not similar by letters.
    tail = [each for each in names if each.lower().endswith(f"{_last_word(name)}")]
    guess = near or (tail if len(tail) == 1 else [])
    return f"; did you mean {guess[0]}?" if guess else ""


def _last_word(name: str) -> str:
    return re.split(r"[._]", name.removeprefix("OLGATE_"), maxsplit=1)[-1].lower()


def _settle(path: str, given: _Given) -> object:
    """Convert a value to the field's type, or raise SettingsProblem with one sentence."""
    hint = _HINTS.get(path, str)
    value = given.value
    if path not in _HINTS and grammar.parse(path.partition(".")[2]) is None:
        raise SettingsProblem(f"{given.place}: the key is not a model's name")
    if accepts(hint, tuple) and isinstance(value, str):
        value = value.split(",")
    try:
        typed = msgspec.convert(from_text(hint, value) if isinstance(value, str) else value, hint)
        if path in _READERS and typed is not None:
            typed = _READERS[path](typed)
    except msgspec.ValidationError:
        raise _problem(path, given, expectation(hint, path)) from None
    except ValueError as wanted:
        raise _problem(path, given, str(wanted)) from None
    if path in NO_LIMIT and typed == 0:
        return NO_LIMIT[path]
    return typed


def _problem(path: str, given: _Given, wanted: str) -> SettingsProblem:
    holds_secret = path in SECRETS or "@" in str(given.value)
    got = "" if holds_secret else f", got {given.value!r}"
    return SettingsProblem(f"{given.place}: expected {wanted}{got}")
