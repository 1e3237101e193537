"""
How models are loaded, kept, listed and downloaded.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from .kinds import Count, Seconds

DEFAULT_CAP = 32768
"""The largest context length in tokens that requests cause if the settings name no other."""


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
