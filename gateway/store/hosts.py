"""
One name for each host in the store, in whichever way its address was written.

What a gateway loaded must still be its own when the setting changes from `localhost` to
`127.0.0.1`.
"""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import urlsplit

_PORTS: Final = {"http": 80, "https": 443}
_THIS_MACHINE: Final = "localhost"


def host_identity(url: str) -> str:
    """
    Return the name under which the store has the host of a URL.

    Letter case, the default port and a slash at the end don't count. Every loopback address is one
    host, and so is an address that means every interface. A text that is not a URL stays as it is.

    >>> host_identity("HTTP://[::1]:1234/") == host_identity("http://localhost:1234")
    True
    >>> host_identity("https://Studio.local:443/lm/")
    'https://studio.local/lm'
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        return url
    if not parts.scheme or not parts.hostname:
        return url
    host = parts.hostname.removesuffix(".")
    if _is_this_machine(host):
        host = _THIS_MACHINE
    elif ":" in host:
        host = f"[{host}]"
    shown = "" if port in (None, _PORTS.get(parts.scheme)) else f":{port}"
    return f"{parts.scheme}://{host}{shown}{parts.path.rstrip('/')}"


def _is_this_machine(host: str) -> bool:
    if host == _THIS_MACHINE or host.endswith(f".{_THIS_MACHINE}"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_unspecified)
