"""
Every setting: its type, its default and its meaning.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Port = Annotated[int, Meta(ge=0, le=65535)]

Count = Annotated[int, Meta(ge=0)]

Bytes = Annotated[int, Meta(ge=1)]

Seconds = Annotated[float, Meta(ge=0)]

SECRETS = frozenset({"upstream.token", "listen.keys"})
"""Paths (`section.key`) whose value is never shown."""


class ListenSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where clients reach us. An empty `host` is every interface; port 0 is any free port."""

    host: str = "127.0.0.1"
    port: Port = 11434
    origins: tuple[str, ...] = ()
    """Origins allowed beside Ollama's default ones (docs/facts/ollama.md#origins-default)."""
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
    """
    What becomes of thinking that comes as content, between tags
    (docs/facts/lmstudio.md#think-tags).
    """
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


def secret_shown(secret: object) -> str:
    """Tell whether there is a secret, and nothing else of it."""
    return "set" if secret else "not set"
