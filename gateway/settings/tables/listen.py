"""
The address for clients, and who may use it.
"""

from __future__ import annotations

import msgspec

from .kinds import Port, shown_without


class PortSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A further port, at which every caller has one of the keys with names without sending it."""

    port: Port
    """The port; 0 is any free port."""
    key: str
    """The name of the key that the port stands for."""
    host: str | None = None
    """The address of the port. If it is not set, it is `listen.host`."""
    tls: bool = True
    """Whether the port speaks TLS as the main one does, if `listen.tls_certificate` is set."""


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
    more: tuple[PortSettings, ...] = ()
    """
    Further ports for clients that cannot send a key, each in a table `[[listen.more]]` with its
    `port` and the name of the `key` that it stands for. It may have a `host` of its own, and
    `tls = false` if the main port speaks TLS and this one must not. Only the file can have them.
    """

    def __repr__(self) -> str:
        """Show everything except the keys, which are shown as set or not set."""
        return shown_without(self, "keys")
