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
    """The address for clients. An empty `host` is every interface; port 0 is any free port."""

    host: str = "127.0.0.1"
    port: Port = 11434
    origins: tuple[str, ...] = ()
    """Origins that are allowed besides Ollama's defaults (docs/facts/ollama.md#origins-default)."""
    keys: tuple[str, ...] = ()
    """Each request must send one of these. Without keys, no request needs one."""
    keys_file: str | None = None
    """A file with one key a line; its keys are added to `keys` when the settings are read."""

    def __repr__(self) -> str:
        """Show everything except the keys, which are shown as set or not set."""
        return _show_without(self, "keys")


class UpstreamSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The address of LM Studio, and its time limits. None is no limit."""

    url: str = "http://127.0.0.1:1234"
    token: str | None = None
    connect_timeout_s: Seconds = 5.0
    first_byte_timeout_s: Seconds | None = 600.0
    silence_timeout_s: Seconds | None = 300.0
    max_connections: Count = 0
    """0 is no limit."""
    idle_connection_s: Seconds = 4.0
    """Less than LM Studio's own 5 s, so that the gateway closes an idle connection first."""

    def __repr__(self) -> str:
        """Show everything except the token, which is shown as set or not set."""
        return _show_without(self, "token")


class AnswerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The form of answers, where Ollama's clients have different needs."""

    thinking: Literal["field", "merge", "drop"] = "field"
    think_tags: Literal["split", "keep"] = "split"
    """
    Whether thinking that arrives as content between tags is split from the content
    (docs/facts/lmstudio.md#think-tags).
    """
    defaults: Literal["absent", "ollama"] = "absent"
    version: Annotated[str, Meta(pattern=r"^\d+(\.\d+){1,3}\Z")] = "0.34.4"
    """Whole numbers with dots only: several clients compare the parts as numbers."""
    wrong_model: Literal["error", "warn"] = "error"
    early_headers_s: Seconds | None = None
    """
    After this many seconds, the status and headers of a streamed answer are sent even if it has no
    content yet, for clients that time out without them. A failure after that is an error line.
    None disables this, so that a failure keeps its own status.
    """


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How models are loaded, kept and listed."""

    keep_alive: str = "5m"
    """A Go duration or whole seconds; negative is forever, 0 unloads at once."""
    context_length: Count | None = None
    context_cap: Count = 32768
    """The largest context length that a request can cause a load with; 0 is no limit."""
    context_policy: Literal["grow", "exact", "ignore"] = "grow"
    make_room: bool = True
    evict_others: bool = False
    load_timeout_s: Seconds = 300.0
    """`math.inf` (written 0) is no limit."""
    max_queue: Count = 512
    catalogue_ttl_s: Seconds = 5.0
    insert_architectures: tuple[str, ...] = ()


class DownloadSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the gateway polls a download in LM Studio."""

    poll_interval_s: Annotated[float, Meta(ge=0.01, le=60)] = 1.0
    """Seconds between two polls of a download that a client waits for."""
    stall_timeout_s: Seconds | None = 600.0
    """Seconds without progress after which a pull fails; a pause is allowed. None is forever."""
    away_timeout_s: Seconds = 60.0
    """Seconds for which LM Studio may be unreachable during a download."""


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The place of the store, which holds aliases and loaded instances."""

    path: str | None = None
    """
    The SQLite file. None, written `:memory:`, keeps everything in memory only. If no file is named,
    the command `olgate` uses one in the platform's data directory.
    """


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on one request and on the shutdown."""

    body_bytes: Bytes = 256 * 1024 * 1024
    header_bytes: Bytes = 1024 * 1024
    """Request line and headers together; the default is Go's limit, and so Ollama's."""
    headers: Bytes = 256
    """The largest number of headers."""
    header_s: Seconds = 60.0
    """Seconds in which the head of a request must arrive; 0 is no limit, here and below."""
    body_s: Seconds = 60.0
    """Seconds in which at least each further KiB of a body must arrive."""
    json_depth: Bytes = 200
    """The number of levels to which the values of a body may nest."""
    messages: Bytes = 10_000
    images: Bytes = 200
    health_s: Seconds = 5.0
    """Seconds that `/health` waits for LM Studio; 0 is no limit."""
    drain_s: Seconds = 30.0


class RouteSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Paths beyond Ollama's; each of them can be disabled."""

    health: bool = True
    open_health: bool = True
    """Whether `/health` needs no key if keys are set."""
    metrics: bool = True
    lmstudio: bool = True


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The log on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"
    bodies: bool = False
    """Whether error texts of LM Studio and of exceptions, which can quote a request, are logged."""


def _show_without(settings: msgspec.Struct, secret: str) -> str:
    values = ", ".join(
        f"{name}={secret_shown(value) if name == secret else repr(value)}"
        for name in settings.__struct_fields__
        for value in (getattr(settings, name),)
    )
    return f"{type(settings).__name__}({values})"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings, in one section for each subject."""

    listen: ListenSettings = ListenSettings()
    upstream: UpstreamSettings = UpstreamSettings()
    answers: AnswerSettings = AnswerSettings()
    models: ModelSettings = ModelSettings()
    downloads: DownloadSettings = DownloadSettings()
    pull: dict[str, str] = {}
    """Free-form: the download source of a name for `/api/pull`; names as in `names.grammar`."""
    aliases: dict[str, str] = {}
    """Free-form: the user's own names, and the models for which they stand."""
    store: StoreSettings = StoreSettings()
    limits: LimitSettings = LimitSettings()
    routes: RouteSettings = RouteSettings()
    log: LogSettings = LogSettings()


def secret_shown(secret: object) -> str:
    """Say whether a secret is set, and nothing else about it."""
    return "set" if secret else "not set"
