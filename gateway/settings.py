"""
What can be set, where each value may come from, and how its text is read.

Here live the frozen `Settings` tree and the merging of its sources. Not here: how the text of an
address, a duration or an origin is read (`settings_values`), what a value does (its user's
business), logging, and any I/O beyond reading the one settings file and the one of keys.

Order of strength: flags, then `OLGATE_SECTION_KEY` variables, then Ollama's and LM Studio's own
variables, then the file, then the defaults. `OLLAMA_API_KEY` is not read: clients set it for
ollama.com, and it must not change the gateway by surprise.
"""

import difflib
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import NoneType
from typing import Annotated, Literal, NamedTuple, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from gateway.names import grammar
from gateway.settings_values import (
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

Port = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=0)]
Bytes = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(ge=0)]


SECRETS = frozenset({"upstream.token", "listen.keys"})
"""Paths (`section.key`) whose value is never shown."""


class SettingsProblem(Exception):
    """A value that cannot be used: one sentence that names the value's place and the next step."""


class ListenSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where clients reach us. An empty `host` is every interface; port 0 is any free port."""

    host: str = "127.0.0.1"
    port: Port = 11434
    origins: tuple[str, ...] = ()
    """Origins allowed beside Ollama's default ones (ollama sheet §1.5)."""
    keys: tuple[str, ...] = ()
    """Any one of these must come with a request; none is no key at all."""
    keys_file: str | None = None
    """A file with one more key a line; its keys are in `keys` once the settings are read."""

    def __repr__(self) -> str:
        """Show everything but the keys, which show as set or not set."""
        return _show_without(self, "keys")


class UpstreamSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where LM Studio is, and how long it may take. A time limit of None is no limit."""

    url: str = "http://127.0.0.1:1234"
    token: str | None = None
    connect_timeout_s: Seconds = 5.0
    first_byte_timeout_s: Seconds | None = 600.0
    silence_timeout_s: Seconds | None = 300.0
    max_connections: Count = 0
    """0 is no limit."""
    idle_connection_s: Seconds = 4.0
    """Below LM Studio's own 5 s, so that we let go of an idle connection first."""

    def __repr__(self) -> str:
        """Show everything but the token, which shows as set or not set."""
        return _show_without(self, "token")


class AnswerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How answers look where Ollama's clients differ in what they want."""

    thinking: Literal["field", "merge", "drop"] = "field"
    think_tags: Literal["split", "keep"] = "split"
    """What becomes of thinking that comes as content, between tags (wire sheet §5)."""
    defaults: Literal["absent", "ollama"] = "absent"
    version: Annotated[str, Meta(pattern=r"^\d+(\.\d+){1,3}\Z")] = "0.34.4"
    """Dotted whole numbers only: several clients compare the parts as numbers."""
    wrong_model: Literal["error", "warn"] = "error"
    early_headers_s: Seconds | None = None
    """
    Seconds of waiting after which a streamed answer's status and headers are sent, for clients that
    give up without them; a failure after that is an error line. None is never: a status stays one.
    """


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How models are loaded, kept and listed."""

    keep_alive: str = "5m"
    """A Go duration or whole seconds; negative is forever, 0 is unload at once."""
    context_length: Count | None = None
    context_cap: Count = 32768
    """The most that a request may make a model grow to; 0 is no cap."""
    context_policy: Literal["grow", "exact", "ignore"] = "grow"
    make_room: bool = True
    evict_others: bool = False
    load_timeout_s: Seconds = 300.0
    """`math.inf` (written 0) is no limit."""
    max_queue: Count = 512
    catalogue_ttl_s: Seconds = 5.0
    insert_architectures: tuple[str, ...] = ()


class DownloadSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a download in LM Studio is followed."""

    poll_interval_s: Annotated[float, Meta(ge=0.01, le=60)] = 1.0
    """Between two looks at a job that a client waits for."""
    stall_timeout_s: Seconds | None = 600.0
    """How long no byte may come before waiting ends; a paused job may pause. None is for ever."""
    away_timeout_s: Seconds = 60.0
    """How long LM Studio may be away while it downloads."""


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where aliases and what this gateway loaded are remembered."""

    path: str | None = None
    """
    The SQLite file. None, written `:memory:`, keeps everything in memory only; the command `olgate`
    puts the platform's data directory there where nobody named a file.
    """


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What one request, and the end of the process, may take."""

    body_bytes: Bytes = 256 * 1024 * 1024
    header_bytes: Bytes = 1024 * 1024
    """Request line and headers together; Go's limit, and so Ollama's."""
    headers: Bytes = 256
    """How many headers."""
    header_s: Seconds = 60.0
    """How long the head of a request may take to come; 0 is no limit, here and below."""
    body_s: Seconds = 60.0
    """A body of which less than a KiB comes in this time is given up."""
    json_depth: Bytes = 200
    """How deep the values of a body may nest."""
    messages: Bytes = 10_000
    images: Bytes = 200
    health_s: Seconds = 5.0
    """How long `/health` waits for LM Studio; 0 is no limit."""
    drain_s: Seconds = 30.0


class RouteSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Paths beyond Ollama's, each of which can be switched off."""

    health: bool = True
    open_health: bool = True
    """Whether `/health` is answered without a key where keys are set."""
    metrics: bool = True
    lmstudio: bool = True


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"
    bodies: bool = False
    """Whether prompts, images and LM Studio's own words may be written, too."""


def _show_without(settings: msgspec.Struct, secret: str) -> str:
    values = ", ".join(
        f"{name}={secret_shown(value) if name == secret else repr(value)}"
        for name in settings.__struct_fields__
        for value in (getattr(settings, name),)
    )
    return f"{type(settings).__name__}({values})"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be set, one section per concern."""

    listen: ListenSettings = ListenSettings()
    upstream: UpstreamSettings = UpstreamSettings()
    answers: AnswerSettings = AnswerSettings()
    models: ModelSettings = ModelSettings()
    downloads: DownloadSettings = DownloadSettings()
    pull: dict[str, str] = {}
    """Free-form: what `/api/pull` downloads for a name, as `names.parse` reads names."""
    aliases: dict[str, str] = {}
    """Free-form: names of the user's, and the models that they stand for."""
    store: StoreSettings = StoreSettings()
    limits: LimitSettings = LimitSettings()
    routes: RouteSettings = RouteSettings()
    log: LogSettings = LogSettings()


class Loaded(NamedTuple):
    """Settings, where each value came from (by `section.key`), and what was passed over."""

    settings: Settings
    sources: Mapping[str, str]
    notes: tuple[str, ...]


class _Given(NamedTuple):
    """One value as it was given, and the name its giver knows it by."""

    value: object
    place: str


_HINTS_OF_SECTIONS = {
    name: hint
    for name, hint in get_type_hints(Settings).items()
    if name in Settings.__struct_fields__
}
_MAPS = tuple(name for name, hint in _HINTS_OF_SECTIONS.items() if get_origin(hint) is dict)
"""Free-form sections: maps of text to text whose keys are the user's, in the file only."""
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
# Ollama's and LM Studio's own variables; those without a path are read by rules of their own.
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
# Where Ollama takes its default instead of a text that it cannot read (ollama sheet §8.1).
_PASSED_OVER_IF_BAD = (
    "models.keep_alive",
    "models.context_length",
    "models.load_timeout_s",
    "models.max_queue",
)
_NO_LIMIT = {
    "upstream.first_byte_timeout_s": None,
    "upstream.silence_timeout_s": None,
    "models.context_length": None,
    "models.load_timeout_s": math.inf,
    "downloads.stall_timeout_s": None,
}
_TRUE_WORDS = frozenset({"1", "t", "true", "yes", "on"})
_FALSE_WORDS = frozenset({"0", "f", "false", "no", "off"})

# What container platforms set for a service that happens to be called `olgate`.
_PLATFORM_VARIABLE = re.compile(r"OLGATE_(SERVICE_|PORT_\d+_|PORT=\w+://)")


def load(flags: Mapping[str, object], environ: Mapping[str, str], file: Path | None) -> Settings:
    """
    Merge all sources into one `Settings`.

    `flags` is keyed by `section.key`; a None there counts as not given. `file` must exist; None is
    no file. Raises SettingsProblem for an unknown key (with the nearest known one) and for a value
    of the wrong type or out of range.
    """
    return read(flags, environ, file).settings


def read(flags: Mapping[str, object], environ: Mapping[str, str], file: Path | None) -> Loaded:
    """Do what `load` does, and tell where each value came from and what Ollama would pass over."""
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
    """Put the keys of `listen.keys_file` to those of `listen.keys`; a file without any is wrong."""
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
    """Flatten to `section.key` for logs and people; a secret is told as set or not set."""
    flat = {
        f"{section}.{key}": getattr(getattr(settings, section), key)
        for section, kind in _SECTIONS.items()
        for key in kind.__struct_fields__
    }
    for section in _MAPS:
        flat |= {f"{section}.{key}": each for key, each in getattr(settings, section).items()}
    return flat | {path: secret_shown(flat[path]) for path in SECRETS}


def secret_shown(secret: object) -> str:
    """Tell whether there is a secret, and nothing else of it."""
    return "set" if secret else "not set"


def default_file() -> Path | None:
    """Return the settings file in the platform's folder for them, or None when there is none."""
    import platformdirs  # a tenth of the start-up time, needed only where no file was named

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
    """Read Ollama's and LM Studio's own variables, each by its own rules."""
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
    # Any text that is not one of Go's words for false counts as true; numbers above 1 are deeper
    # levels of Ollama's, which we do not have.
    if (text := texts["OLLAMA_DEBUG"]) and text.lower() not in ("0", "f", "false"):
        given["log.level"] = _Given("debug", "OLLAMA_DEBUG")
    if text := texts["OLLAMA_LOAD_TIMEOUT"]:
        # Zero and less are no limit there; what is no duration stays text and is passed over below.
        with suppress(ValueError):
            seconds = read_duration(text)
            given["models.load_timeout_s"] = _Given(seconds or 0.0, "OLLAMA_LOAD_TIMEOUT")
    for path in _PASSED_OVER_IF_BAD:
        if path in given:
            try:
                _settle(path, given[path])
            except SettingsProblem as problem:
                notes.append(f"{problem}; passed over, as Ollama does")
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
    """Trim spaces, then quotes around (ollama sheet §8.1); a variable that is empty is not set."""
    return environ.get(variable, "").strip().strip("\"'").strip()


def _suggest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    # A key written without its section is the likeliest slip, and no near miss by letters.
    tail = [each for each in names if each.lower().endswith(f"{_last_word(name)}")]
    guess = near or (tail if len(tail) == 1 else [])
    return f"; did you mean {guess[0]}?" if guess else ""


def _last_word(name: str) -> str:
    return re.split(r"[._]", name.removeprefix("OLGATE_"), maxsplit=1)[-1].lower()


def _settle(path: str, given: _Given) -> object:
    """Turn what was given into the field's type, or raise SettingsProblem with one sentence."""
    hint = _HINTS.get(path, str)
    value = given.value
    if path not in _HINTS and grammar.parse(path.partition(".")[2]) is None:
        raise SettingsProblem(f"{given.place}: the key is no model's name")
    if _accepts(hint, tuple) and isinstance(value, str):
        value = value.split(",")
    try:
        typed = msgspec.convert(_from_text(hint, value) if isinstance(value, str) else value, hint)
        if path in _READERS and typed is not None:
            typed = _READERS[path](typed)
    except msgspec.ValidationError:
        raise _problem(path, given, _expectation(hint, path)) from None
    except ValueError as wanted:
        raise _problem(path, given, str(wanted)) from None
    if path in _NO_LIMIT and typed == 0:
        return _NO_LIMIT[path]
    return typed


def _problem(path: str, given: _Given, wanted: str) -> SettingsProblem:
    holds_secret = path in SECRETS or "@" in str(given.value)
    got = "" if holds_secret else f", got {given.value!r}"
    return SettingsProblem(f"{given.place}: expected {wanted}{got}")


def _from_text(hint: object, text: str) -> object:
    """Read the text of a number or a yes/no; everything else stays text."""
    if _accepts(hint, bool):
        return text.lower() in _TRUE_WORDS if text.lower() in _TRUE_WORDS | _FALSE_WORDS else text
    if _accepts(hint, int) and re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        return int(text)
    if _accepts(hint, float) and re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)", text):
        return float(text)
    return text


def _kinds(hint: object) -> tuple[object, ...]:
    """The plain types that a hint is made of, without Annotated and without None."""
    if get_origin(hint) is Annotated:
        return _kinds(get_args(hint)[0])
    if get_origin(hint) in (tuple, Literal) or not get_args(hint):
        return (hint,)
    return tuple(kind for part in get_args(hint) if part is not NoneType for kind in _kinds(part))


def _accepts(hint: object, kind: type) -> bool:
    return any(each is kind or get_origin(each) is kind for each in _kinds(hint))


def _expectation(hint: object, path: str) -> str:
    """Say in words what a hint accepts."""
    (kind,) = _kinds(hint)
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    if get_origin(kind) is tuple:
        return "a list of texts"
    if path == "answers.version":
        return "a version of dotted whole numbers, such as 0.34.4"
    words: dict[object, str] = {
        str: "text",
        bool: "true or false",
        int: "a whole number",
        float: "a number of seconds",
    }
    bounds = _bounds(hint)
    low, high = (
        next((v for m in bounds if (v := getattr(m, b)) is not None), None) for b in ("ge", "le")
    )
    if path in _NO_LIMIT:
        return f"{words[kind]} from 0 (none)" if kind is int else f"{words[kind]} from 0 (no limit)"
    if high is not None:
        return f"{words[kind]} from {low} to {high}"
    return words[kind] if low is None else f"{words[kind]} of at least {low}"


def _bounds(hint: object) -> list[Meta]:
    found = [part for part in getattr(hint, "__metadata__", ()) if isinstance(part, Meta)]
    for part in get_args(hint):
        found += _bounds(part) if get_origin(part) is Annotated else []
    return found
