"""
Every setting: its type, its default and its meaning.

The docstring below a field is what the user reads of it: `reference` makes the table of settings,
the JSON Schema and the default file of them. They are written anew by `nox -s codegen`.
"""

# Long because every setting has its meaning here, which is what users read.

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Port = Annotated[int, Meta(ge=0, le=65535)]

Count = Annotated[int, Meta(ge=0)]

Bytes = Annotated[int, Meta(ge=1)]

Seconds = Annotated[float, Meta(ge=0)]

Tier = Annotated[int, Meta(ge=1)]

Weight = Annotated[float, Meta(gt=0)]

SECRETS = frozenset({"upstream.token", "listen.keys", "store.url"})
"""Paths (`section.key`) whose value is never shown. Each can also come from a file: `…_file`."""

DEFAULT_CAP = 32768
"""The largest context length in tokens that requests cause if the settings name no other."""


class ListenSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The address for clients, and who may use it."""

    host: str = "127.0.0.1"
    """
    The address on which clients reach the gateway. An empty text, `0.0.0.0` and `::` are every
    interface.
    """
    port: Port = 11434
    """The port on which clients reach the gateway; 0 is any free port."""
    origins: tuple[str, ...] = ()
    """
    Browser origins that are allowed besides Ollama's defaults
    (docs/facts/ollama.md#origins-default).
    """
    proxies: tuple[str, ...] = ()
    """
    Addresses and networks of load balancers in front of the gateway, such as `10.0.0.0/8`. Their
    header `X-Forwarded-For` tells the client's address to the log, and to `POST /reload`.
    """
    keys: tuple[str, ...] = ()
    """Access keys, of which each request must send one. Without keys, no request needs one."""
    tls_certificate: str | None = None
    """A file with the certificate for clients, in PEM, and with those that lead to its root."""
    tls_key: str | None = None
    """A file with the certificate's key, in PEM, if the certificate's own file does not have it."""
    keys_file: str | None = None
    """A file with one access key a line; they are added to `listen.keys`."""

    def __repr__(self) -> str:
        """Show everything except the keys, which are shown as set or not set."""
        return _show_without(self, "keys")


class UpstreamSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The address of LM Studio, and its time limits."""

    url: str = "http://127.0.0.1:1234"
    """The address of LM Studio."""
    token: str | None = None
    """LM Studio's API token."""
    token_file: str | None = None
    """A file with LM Studio's API token, instead of `upstream.token`."""
    ca_file: str | None = None
    """A file with the certificates, in PEM, that LM Studio's certificate is checked with."""
    verify: bool = True
    """Whether LM Studio's certificate is checked. Without, anybody in between can read along."""
    connect_timeout_s: Seconds | None = 5.0
    """Seconds that connecting may take: name, TCP and TLS together."""
    first_byte_timeout_s: Seconds | None = 600.0
    """Seconds that LM Studio may take to the first byte of an answer."""
    silence_timeout_s: Seconds | None = 300.0
    """Seconds that LM Studio may send nothing within an answer."""
    max_connections: Count = 0
    """How many connections to LM Studio may be in use at a time; 0 is no limit."""
    idle_connection_s: Seconds = 4.0
    """
    Seconds that an unused connection is kept: fewer than the 5 after which LM Studio closes it.
    """

    def __repr__(self) -> str:
        """Show everything except the token, which is shown as set or not set."""
        return _show_without(self, "token")


class HostSettings(UpstreamSettings, frozen=True, kw_only=True):
    """
    One of several hosts, under a name of your own. It has every key of `[upstream]`, whose values
    hold where the host's own table has none.

    In `Settings` they are filled in already.
    """

    tier: Tier = 1
    """
    A host of a higher tier is used only if no host of a lower one is there that has the model.
    """
    slots: Count = 0
    """
    How many requests a loaded model of this host runs at a time; 0 stands for 4.
    """
    weight: Weight = 1.0
    """
    How much of the work this host gets among hosts that are equally busy: twice the weight, twice
    the requests.
    """
    models: tuple[str, ...] = ()
    """
    The models of this host that are used, as patterns such as `qwen/*`; one that begins with `!`
    leaves models out. Without patterns all of them are used.
    """

    def __repr__(self) -> str:
        """Show everything except the token, which is shown as set or not set."""
        return _show_without(self, "token")


class FleetSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Several hosts as one."""

    list_wait_s: Seconds = 0.5
    """
    Seconds that a list, or the search for a model, waits for hosts that are silent; after them
    these hosts count as they were last seen.
    """
    forget_s: Seconds = 600.0
    """Seconds for which the models of a host that is away stay listed."""
    session_s: Seconds = 86400.0
    """
    Seconds for which the host is remembered that gave an answer its identifier, so that a request
    that goes on from the answer goes there.
    """


class KeySettings(msgspec.Struct, frozen=True, kw_only=True):
    """One access key with a name: its secret, and what it may do."""

    secret_file: str | None = None
    """A file whose only line is the secret. Nobody else should be able to read it."""
    digest: str | None = None
    """The secret's SHA-256 in hexadecimal, in place of a file, as `olgate keys add` writes it."""
    models: tuple[str, ...] = ()
    """
    Patterns of models that the key may use, such as `qwen/*`; with `!` in front, of those that it
    may not. Other models do not exist for it. Without patterns it may use all.
    """
    routes: tuple[str, ...] = ()
    """Patterns of paths that the key may use, such as `/api/chat` and `/v1/*`; none is all."""
    max_running: Count = 0
    """How many requests may run with the key at a time; 0 is no limit."""
    requests_per_minute: Count = 0
    """How many requests the key may begin within a minute; 0 is no limit."""
    tokens_per_minute: Count = 0
    """
    After how many tokens of prompts and answers within a minute the key must wait; 0 is no limit.
    """
    admin: bool = False
    """Whether the key may have settings reloaded, and whatever else changes the gateway."""


class AnswerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The form of answers, where Ollama's clients have different needs."""

    thinking: Literal["field", "merge", "drop"] = "field"
    """Where thinking goes: into its own `field`, `merge`d into the text, or nowhere (`drop`)."""
    think_tags: Literal["split", "keep"] = "split"
    """
    Whether thinking that arrives as text between tags is `split` from the text, or `keep`
    leaves it there (docs/facts/lmstudio.md#think-tags).
    """
    defaults: Literal["absent", "ollama"] = "absent"
    """
    Sampling options that a request leaves out: `absent` leaves them to LM Studio's settings of
    the model, `ollama` sends Ollama's defaults.
    """
    show_num_ctx: Literal["set", "loaded"] = "set"
    """
    Whether `parameters` of show hold a `num_ctx` only where one was `set`, or also that of the
    `loaded` instance, which Continue reads there (docs/facts/clients.md#parameters-and-template).
    """
    stated_context: Literal["model", "reachable"] = "model"
    """
    Which context length show and tags state: the `model`'s own, or the `reachable` one, which a
    request can really have: that of a loaded instance, or up to `models.context_cap`.
    """
    openai: Literal["lmstudio", "ollama"] = "lmstudio"
    """
    Whether answers below `/v1` are LM Studio's own, or have Ollama's names and forms (`ollama`):
    chat, completions, embeddings, lists of models, and errors
    (docs/facts/ollama.md#v1-chat). `/v1/responses` and `/v1/messages` stay LM Studio's.
    """
    version: Annotated[str, Meta(pattern=r"^\d+(\.\d+){1,3}\Z")] = "0.34.4"
    """
    The Ollama version that clients are told. Whole numbers with dots only: several clients
    compare the parts as numbers.
    """
    wrong_model: Literal["error", "warn"] = "error"
    """
    What happens when another model answers than the one that was asked: an `error`, or `warn`
    in a header.
    """
    early_headers_s: Seconds | None = None
    """
    Seconds after which a streamed answer sends its status and headers without content, for
    clients that time out without them. A later failure is an error line. If this is not set, a
    failure keeps its own status.
    """
    sign_of_life_s: Seconds = 15.0
    """
    Seconds without a byte after which an event stream below `/v1` gets a comment, for clients and
    proxies that time out. It is sent after the answer has begun. 0 sends none.
    """


class ModelSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How models are loaded, kept and listed."""

    keep_alive: str = "5m"
    """
    How long a model that the gateway loaded stays loaded after its last request: a Go duration
    such as `5m`, or whole seconds. Negative is forever, 0 unloads at once.
    """
    context_length: Count | None = None
    """
    Context length for requests without `num_ctx`. If it is not set, or 0, LM Studio's own
    default applies.
    """
    context_cap: Count | None = None
    """
    The largest context length that a request can make the gateway load; 0 is the model's own
    limit. If it is not set, it is 32768, or `models.context_length` if that is more.
    """
    context_policy: Literal["grow", "exact", "ignore"] = "grow"
    """
    `grow` loads a model again for more context, `exact` also for less, `ignore` ignores
    `num_ctx`.
    """
    grow_for_prompt: bool = True
    """
    Whether a prompt that LM Studio refuses for its length has an own model loaded once with more
    context, up to `models.context_cap`, before the client sees anything.
    """
    unknown: str = "refuse"
    """
    What an unknown model name gets on `/v1`, for clients with names of their own: `refuse` is a
    404, `nearest` the most similar model if exactly one is similar, and any other text is the name
    of the model that serves instead.
    """
    make_room: bool = True
    """Whether a load that lacks memory first unloads idle models that the gateway loaded."""
    evict_others: bool = False
    """Whether a load first unloads idle models that others loaded."""
    load_timeout_s: Seconds = 300.0
    """Seconds that a load may take, and that a request waits for a model."""
    max_queue: Count = 512
    """How many requests may wait for models that are being loaded."""
    max_loaded: Count = 0
    """
    How many models the gateway has loaded at a time; 0 is no limit. Models that others loaded do
    not count.
    """
    catalogue_ttl_s: Seconds = 5.0
    """
    Seconds for which the model list is cached. A loaded model is trusted up to 12 times as
    long, for requests that run on it, while the list is refreshed in the background. 0 disables
    the cache.
    """
    insert_architectures: tuple[str, ...] = ()
    """Further architectures that support fill-in-the-middle."""

    @property
    def most_context(self) -> int:
        """
        The largest context length in tokens that a request can cause, 0 for no limit.

        A cap that is not set never takes away from the operator's own `context_length`.

        >>> ModelSettings().most_context, ModelSettings(context_length=65536).most_context
        (32768, 65536)
        >>> ModelSettings(context_length=65536, context_cap=16384).most_context
        16384
        """
        if self.context_cap is not None:
            return self.context_cap
        return max(DEFAULT_CAP, self.context_length or 0)


class PlacementSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which of several hosts serves a request; with one host nothing of it is used."""

    spread: Literal["grow", "queue"] = "grow"
    """
    What happens when all slots of the hosts that have a model loaded are taken: `grow` loads it on
    another host if one is idle, `queue` waits.
    """
    retry_percent: Annotated[int, Meta(ge=0, le=100)] = 20
    """How many of 100 running requests may be retries on another host at a time."""
    retry_least: Count = 3
    """
    How many retries are allowed at a time, however few requests run. With 0 of both there are
    none.
    """


class DownloadSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the gateway polls a download in LM Studio."""

    poll_interval_s: Annotated[float, Meta(ge=0.01, le=60)] = 1.0
    """Seconds between two polls of a download that a client waits for."""
    stall_timeout_s: Seconds | None = 600.0
    """Seconds without progress after which a pull ends with an error; a pause is no stall."""
    away_timeout_s: Seconds = 60.0
    """Seconds without LM Studio after which a pull ends with an error."""
    to: tuple[str, ...] = ("best",)
    """
    Where a pull downloads a model if there are several hosts: to the `best` one, to `all`, or to
    the hosts of these names.
    """


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The place of the store, which holds aliases and loaded instances."""

    path: str | None = None
    """
    The SQLite file for derived models and for instances that the gateway loaded; `:memory:`
    keeps nothing. If no file is named, the command `olgate` uses `olgate.sqlite3` in the
    platform's data folder.
    """
    url: str | None = None
    """
    A Redis or Valkey instead of the file, for gateways on several machines: `redis://HOST:PORT/DB`,
    `rediss://` for TLS, `unix://PATH`, `redis+sentinel://HOST,HOST/SERVICE`, or
    `redis+cluster://HOST`. It needs the extra `olgate[redis]`.
    """
    url_file: str | None = None
    """A file with the URL of `store.url`, which may have a password in it."""
    prefix: str = "olgate"
    """
    The first part of all keys in Redis. Gateways with the same one share what is there; use another
    one for another group of gateways.
    """
    lease_s: Annotated[float, Meta(ge=0.2, le=3600)] = 10.0
    """
    Seconds after which the others on a Redis take a gateway for dead that is not heard of; they
    take over what it loaded. Use the same for all gateways of a store.
    """
    timeout_s: Annotated[float, Meta(ge=0.05, le=60)] = 2.0
    """Seconds that Redis may take for an answer; then it counts as away."""

    def __repr__(self) -> str:
        """Show everything except the URL, which may have a password in it."""
        return _show_without(self, "url")


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Limits on one request and on the shutdown."""

    body_bytes: Bytes = 256 * 1024 * 1024
    """The largest request body in bytes."""
    bodies_total: Bytes = 512 * 1024 * 1024
    """
    Bytes of all request bodies that may be in memory at a time, unpacked ones as they are unpacked.
    A body beyond that waits. One body alone is never refused. A translation holds a large body
    twice, for which there are 64 MiB more.
    """
    bodies_wait_s: Seconds = 30.0
    """Seconds that a body waits for room before it is refused; 0 is no limit."""
    text_bytes: Bytes = 32 * 1024 * 1024
    """The largest text of a body that is translated, such as an image in base64."""
    json_bytes: Bytes = 2 * 1024 * 1024
    """The largest value that is read as a whole, such as options, or a call's arguments."""
    header_bytes: Bytes = 1024 * 1024
    """
    The largest request line and headers together, in bytes; the default is Go's limit, and so
    Ollama's.
    """
    headers: Bytes = 256
    """The largest number of headers."""
    header_s: Seconds = 60.0
    """Seconds in which the head of a request must arrive; 0 is no limit."""
    body_s: Seconds = 60.0
    """Seconds in which at least each further KiB of a body must arrive; 0 is no limit."""
    json_depth: Bytes = 200
    """The number of levels to which the values of a body may nest."""
    messages: Bytes = 10_000
    """The largest number of messages in a body."""
    images: Bytes = 200
    """The largest number of images in a body."""
    tool_calls: Bytes = 1000
    """The largest number of tool calls in an answer of LM Studio, and of pieces in one event."""
    list_s: Seconds = 10.0
    """
    Seconds that LM Studio's model list may take; after them, clients get the list as it was last
    seen, or an error. 0 is no limit. A load waits for a slow list as long as a load may take.
    """
    health_s: Seconds = 5.0
    """Seconds that `/health` waits for LM Studio; 0 is no limit."""
    drain_s: Seconds = 30.0
    """Seconds that running answers may take to finish at shutdown; 0 cuts them at once."""


class RouteSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Paths beyond Ollama's; each of them can be disabled."""

    health: bool = True
    """Whether `/health` is served."""
    open_health: bool = True
    """Whether `/health` needs no key if keys are set."""
    metrics: bool = True
    """Whether `/metrics` is served, and anything is counted for it."""
    console: bool = True
    """Whether the page at `/olgate/` is served: with a key, or without keys on this machine."""
    reload: bool = True
    """Whether callers on this machine may have the settings read anew with `POST /reload`."""
    lmstudio: bool = True
    """Whether LM Studio's own routes, `/api/v0/*` and `/api/v1/*`, are passed through."""


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The log on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level of a line that is written."""
    format: Literal["text", "json"] = "text"
    """The format of lines: `text`, or one JSON object a line."""
    bodies: bool = False
    """Whether error texts of LM Studio and of exceptions, which can quote a request, are logged."""


class InspectSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The last exchanges with their bodies, kept in memory for `olgate inspect`."""

    requests: Count = 0
    """
    How many exchanges are kept, with what clients and LM Studio said; 0 keeps none. They are shown
    to callers on this machine, or with a key if keys are set.
    """
    body_bytes: Bytes = 1024 * 1024
    """
    Bytes that are kept of each body. A longer request is left out, and a longer answer is kept up
    to there.
    """


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
    hosts: dict[str, HostSettings] = {}
    """
    Several hosts behind one gateway, each in a table `[hosts.NAME]`. Without any, the host of
    `upstream.url` is the only one.
    """
    keys: dict[str, KeySettings] = {}
    """
    Access keys with names, each in a table `[keys.NAME]`. With any, each request needs one of them
    or of `listen.keys`.
    """
    fleet: FleetSettings = FleetSettings()
    answers: AnswerSettings = AnswerSettings()
    models: ModelSettings = ModelSettings()
    placement: PlacementSettings = PlacementSettings()
    downloads: DownloadSettings = DownloadSettings()
    pull: dict[str, str] = {}
    """
    Models' names, and where `/api/pull` downloads each: a key of LM Studio's online catalogue, or a
    link to Hugging Face.
    """
    aliases: dict[str, str] = {}
    """Your own names for models, and the model that each stands for: a name or LM Studio's key."""
    store: StoreSettings = StoreSettings()
    limits: LimitSettings = LimitSettings()
    routes: RouteSettings = RouteSettings()
    log: LogSettings = LogSettings()
    inspect: InspectSettings = InspectSettings()


def secret_shown(secret: object) -> str:
    """Say whether a secret is set, and nothing else about it."""
    return "set" if secret else "not set"
