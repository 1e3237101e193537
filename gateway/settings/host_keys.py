"""
The settings of one host as advice names them: those of `[upstream]`, or of its own table.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import urlsplit

from .paths import HOSTS
from .schema import Settings

UPSTREAM = "upstream"


class HostKeys(NamedTuple):
    """The names of one host's settings; `table` is where they are looked up."""

    table: str = UPSTREAM

    def key(self, name: str) -> str:
        """
        Return the path of a setting.

        >>> HostKeys().key("url"), HostKeys("hosts.den").key("url")
        ('upstream.url', 'hosts.den.url')
        """
        return f"{self.table}.{name}"

    @property
    def address(self) -> str:
        """The ways to state the address, for `set … to …`."""
        if self.table == UPSTREAM:
            return "--upstream (upstream.url, LMSTUDIO_URL)"
        return self.key("url")

    @property
    def token(self) -> str:
        """The ways to state LM Studio's token, for `set … to …`."""
        return "LM_API_TOKEN (upstream.token)" if self.table == UPSTREAM else self.key("token")


UPSTREAM_KEYS: Final = HostKeys()
"""The names of the settings of the only host."""


def name_of(url: str) -> str:
    """
    Return the name of a host that has none: where it is.

    >>> name_of("http://studio.local:1234"), name_of("http://[::1]:1234/lm")
    ('studio.local:1234', '[::1]:1234:lm')
    """
    parts = urlsplit(url)
    return f"{parts.netloc}{parts.path.rstrip('/').replace('/', ':')}"[:64]


def keys_of(settings: Settings, name: str) -> HostKeys:
    """Return the names of a host's settings, by the host's name."""
    host = settings.hosts.get(name)
    # Addresses from a flag or a variable have no tables.
    return (
        UPSTREAM_KEYS if host is None or name == name_of(host.url) else HostKeys(f"{HOSTS}.{name}")
    )


def keys_at(settings: Settings, url: str) -> HostKeys:
    """Return the names of a host's settings, by the host's address."""
    for name, host in settings.hosts.items():
        if host.url.rstrip("/") == url.rstrip("/"):
            return keys_of(settings, name)
    return UPSTREAM_KEYS
