"""
The further ports of the settings (`[[listen.more]]`), each of which stands for a key.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from .hints import TABLES_OF_PORTS
from .schema import ListenSettings, PortSettings
from .values import is_key_name, read_host


class Address(NamedTuple):
    """An address of the gateway, as if it were the only one; `port` is None for the main one."""

    listen: ListenSettings
    port: PortSettings | None = None


def read_ports(ports: tuple[PortSettings, ...]) -> tuple[PortSettings, ...]:
    """Read hosts and names. Raises ValueError with what is accepted."""
    read: list[PortSettings] = []
    for each in ports:
        if not is_key_name(each.key):
            raise ValueError(f"{TABLES_OF_PORTS} ({each.key!r} cannot be one)")
        if each.host is not None:
            each = msgspec.structs.replace(each, host=read_host(each.host))
        if each.port and (each.host, each.port) in [(one.host, one.port) for one in read]:
            raise ValueError(f"{TABLES_OF_PORTS} (port {each.port} is there twice)")
        read.append(each)
    return tuple(read)


def addresses_of(listen: ListenSettings) -> Iterator[Address]:
    """Yield every address of the gateway, the main one first."""
    yield Address(listen)
    for port in listen.more:
        keeps_tls = {} if port.tls else {"tls_certificate": None, "tls_key": None}
        host = listen.host if port.host is None else port.host
        own = msgspec.structs.replace(listen, host=host, port=port.port, more=(), **keeps_tls)
        yield Address(own, port)
