"""
LM Studio: one host, several hosts, and which of them serves a request.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from .kinds import Count, Seconds, Tier, Weight, shown_without


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
        return shown_without(self, "token")


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
    How many requests a loaded model of this host runs at a time; 0 stands for what the host says
    of it, and for 4 if it says nothing.
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
        return shown_without(self, "token")


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
