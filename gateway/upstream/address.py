"""
Where LM Studio is: a URL taken apart into what a connection, a `Host` header and a target need.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote, urlsplit

from ..faults import StartProblem

_PORTS = {"http": 80, "https": 443}
_PATH_SAFE = "/%:@!$&'()*+,;=~-._"
"""Characters that are not escaped in a path; `%` is one, as it begins an existing escape."""


class Origin(NamedTuple):
    """Where connections lead to."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        """Return it as people write it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


class Address(NamedTuple):
    """A URL's origin, the value of its `Host` header, and the path that targets begin with."""

    origin: Origin
    host_header: bytes
    path: bytes


def read_address(url: str) -> Address:
    """
    Take the URL of a server apart, as the settings have normalised it.

    The default port of a scheme is left out of `host_header`; `path` has no slash at its end.
    Raises StartProblem for a host name that no `Host` header can hold.

    >>> read_address("http://[::1]:1234/lm studio/")
    Address(origin=Origin(scheme='http', host='::1', port=1234), host_header=b'[::1]:1234', \
path=b'/lm%20studio')
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or _PORTS[parts.scheme]
    try:
        written = host.encode("ascii" if host.isascii() else "idna")
    except UnicodeError:
        raise StartProblem(f"upstream.url: {host!r} is not the name of a host") from None
    if ":" in host:
        written = b"[%b]" % written
    if port != _PORTS[parts.scheme]:
        written += b":%d" % port
    path = quote(parts.path, safe=_PATH_SAFE).rstrip("/").encode("ascii")
    return Address(Origin(parts.scheme, host, port), written, path)
