"""
Parsers for the texts of single settings: addresses, durations, origins, tokens.

Each function converts a text, or a file, to a value. It raises ValueError for a text that it cannot
read; the error's text fits after the word "expected". `sources` chooses between sources.
"""

import re
from collections.abc import Iterable
from hashlib import sha256
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import UNSET

from ..wire.duration import parse_keep_alive, parse_setting


def read_duration(text: str) -> float | None:
    """
    Seconds of a Go duration or of a bare whole number of seconds; None (negative) is forever.

    Stricter than `duration.parse_setting`, which returns five minutes for an unreadable text: only
    Ollama's own variables are parsed so leniently (docs/facts/ollama.md#variables).

    >>> read_duration("1h30m"), read_duration("90"), read_duration("-1")
    (5400.0, 90.0, None)
    """
    if re.fullmatch(r"[+-]?[0-9]{1,19}", text):
        return parse_setting(text)
    try:
        seconds = parse_keep_alive(text)
    except ValueError:
        raise ValueError('a duration such as "5m" or "1h30m", or whole seconds') from None
    return None if seconds is UNSET else seconds


def read_ollama_host(text: str) -> tuple[str, int]:
    """
    Host and port of an OLLAMA_HOST value (docs/facts/ollama.md#ollama-host); never fails, as Ollama
    never does.

    An empty host is every interface. A bad port falls back to the default of the scheme.

    >>> read_ollama_host("0.0.0.0"), read_ollama_host(":1234"), read_ollama_host("http://a")
    (('0.0.0.0', 11434), ('', 1234), ('a', 80))
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = ("https", text) if text == "ollama.com" else ("http", text)
    default = {"http": 80 if separator else 11434, "https": 443}.get(scheme, 11434)
    authority = rest.partition("/")[0]
    host, port = _split_port(authority)
    if port is None:
        return _bare_address(authority) or "127.0.0.1", default
    number = int(port) if re.fullmatch(r"\+?[0-9]{1,9}", port) else -1
    return host, number if 0 <= number <= 65535 else default


def _split_port(authority: str) -> tuple[str, str | None]:
    """Split `host:port` and `[v6]:port`; the port is None if there is none."""
    if match := re.fullmatch(r"\[([^\[\]]*)\]:([^:\[\]]*)", authority):
        return match[1], match[2]
    host, colon, port = authority.partition(":")
    if colon and not re.search(r"[:\[\]]", host + port):
        return host, port
    return authority, None


def _bare_address(text: str) -> str:
    """Write an IP address in its short form without brackets; return any other text unchanged."""
    try:
        return str(ip_address(text.strip("[]")))
    except ValueError:
        return text


def read_host(text: str) -> str:
    """Read a host name or an address, in brackets or not; refuse a port or a path."""
    host = _bare_address(text.strip())
    if re.search(r"[/\s\[\]@?#]", host) or (":" in host and not re.search(r":.*:", host)):
        raise ValueError("a host name or address alone (the port is a separate setting)")
    return host


def read_upstream_url(text: str) -> str:
    """
    Normalise any part of a URL to `scheme://host[:port][/prefix]`.

    One of LM Studio's own paths at the end, as documentation shows them, is not a prefix.

    >>> read_upstream_url("mac.local"), read_upstream_url("http://10.0.0.2:1234/v1/models")
    ('http://mac.local:1234', 'http://10.0.0.2:1234')
    """
    wanted = "LM Studio's address, such as http://127.0.0.1:1234"
    text = text.strip()
    has_scheme = "://" in text
    try:
        parts = urlsplit(text if has_scheme else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(wanted) from None
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"{wanted} (http or https)")
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"{wanted}, without credentials (a token belongs in LM_API_TOKEN)")
    if not host or parts.query or parts.fragment or re.search(r"\s", text):
        raise ValueError(wanted)
    if port is None and not has_scheme:
        port = 1234
    path = _OWN_PATH.sub("", parts.path.rstrip("/")).rstrip("/")
    shown_host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown_host}{'' if port is None else f':{port}'}{path}"


_OWN_PATH = re.compile(
    r"/(v1|api/v0|api/v1)(/(models|chat|completions|embeddings|responses|messages)(/.*)?)?\Z"
    r"|/lmstudio-greeting\Z"
)


def read_token(text: str) -> str | None:
    """Read a token that fits into a header; an empty text means no token."""
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("a token of printable ASCII characters without spaces")
    return text or None


def read_keys(texts: Iterable[str]) -> tuple[str, ...]:
    """
    Read keys that fit into a header; empty ones are dropped.

    A list of nothing but empty keys is refused, because it would leave the gateway open.
    """
    given = tuple(text.strip() for text in texts)
    keys = tuple(text for text in given if text)
    if given and not keys:
        raise ValueError("at least one key that is not empty, or none at all")
    if not all(key.isascii() and key.isprintable() and " " not in key for key in keys):
        raise ValueError("keys of printable ASCII characters without spaces")
    return keys


def read_keys_file(file: Path) -> tuple[str, ...]:
    """
    Read a file of keys: one a line; empty lines and lines that begin with `#` are ignored.

    A file without a key is refused, because it would leave the gateway open. Raises OSError.
    """
    wanted = "one key a line, of printable ASCII characters without spaces"
    try:
        lines = file.read_text("utf-8-sig").splitlines()
        given = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
        keys = read_keys(given)
    except ValueError:
        raise ValueError(wanted) from None
    if not keys:
        raise ValueError(f"{wanted}, at least one,")
    return keys


def read_token_file(file: Path) -> str:
    """Read a file that holds a token and nothing else. Raises OSError."""
    wanted = "one token of printable ASCII characters without spaces"
    try:
        token = read_token(file.read_text("utf-8-sig").strip())
    except ValueError:
        raise ValueError(wanted) from None
    if token is None:
        raise ValueError(wanted)
    return token


def read_digest(text: str) -> str:
    """Return a SHA-256 in lower-case hexadecimal; a prefix `sha256:` is left out."""
    digest = text.strip().lower().removeprefix("sha256:")
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError("a SHA-256 of 64 hexadecimal digits, as `olgate keys add` writes it")
    return digest


def read_secret_file(file: Path) -> str:
    """Return the digest of the secret that a file has in its only line. Raises OSError."""
    wanted = "one line with a secret of printable ASCII characters without spaces"
    try:
        (secret,) = read_keys([file.read_text("utf-8-sig").strip()])
    except ValueError:
        raise ValueError(wanted) from None
    return digest_of(secret)


_KEY_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
"""A key's name goes into labels of metrics and into log lines; a number is a key without a name."""


def is_key_name(text: str) -> bool:
    """Return whether a text can be a key's name."""
    return _KEY_NAME.fullmatch(text) is not None


def digest_of(secret: str) -> str:
    """Return the digest under which a secret is kept: its SHA-256 in hexadecimal."""
    return sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def read_file_name(text: str) -> str:
    """Return the path of a file; `~` is the user's home directory."""
    if not text.strip():
        raise ValueError("the path of a file")
    return str(Path(text).expanduser())


def read_keep_alive(text: str) -> str:
    """Check that a text is a duration, and return it unchanged."""
    read_duration(text)
    return text


def read_origins(origins: Iterable[str]) -> tuple[str, ...]:
    """
    Drop empty origins; refuse those with which Ollama does not start
    (docs/facts/ollama.md#origins-setting).
    """
    kept = tuple(origin.strip() for origin in origins if origin.strip())
    for origin in kept:
        if origin.count("*") > 1 or ("*" not in origin and "://" not in origin):
            raise ValueError(
                "origins such as https://example.com or https://*.example.com, "
                f"at most one * in each; {origin!r} is none"
            )
    return kept


def read_networks(texts: Iterable[str]) -> tuple[str, ...]:
    """
    Return addresses and networks in their usual form; an address is a network of its own.

    >>> read_networks(["127.0.0.1", "10.1.2.3/8"])
    ('127.0.0.1/32', '10.0.0.0/8')
    """
    kept = [text.strip() for text in texts if text.strip()]
    try:
        return tuple(str(ip_network(text, strict=False)) for text in kept)
    except ValueError as problem:
        raise ValueError(
            f"addresses and networks such as 127.0.0.1 and 10.0.0.0/8; {problem}"
        ) from None


def read_store_path(text: str) -> str | None:
    """
    Return the path of the store, None for `:memory:`; `~` is the user's home directory.

    >>> read_store_path(":memory:")
    """
    if not text.strip():
        raise ValueError("the path of a file, or :memory:")
    return None if text == ":memory:" else str(Path(text).expanduser())


STORE_SCHEMES = (
    "redis",
    "rediss",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)
"""
The first words of a shared store's URL. Those with a plus are olgate's own, since redis-py has none
for them.
"""


def read_store_url(text: str) -> str:
    """
    Read the URL of a shared store. Only its first word is looked at here.

    >>> read_store_url(" redis://cache:6379/0 ")
    'redis://cache:6379/0'
    """
    url = text.strip()
    scheme, separator, rest = url.partition("://")
    if not separator or not rest or scheme.lower() not in STORE_SCHEMES:
        raise ValueError(
            f"a URL that begins with {', '.join(f'{one}://' for one in STORE_SCHEMES)}"
        )
    return f"{scheme.lower()}://{rest}"


def read_store_url_file(file: Path) -> str:
    """Read the URL of a shared store from a file, which has nothing else in it."""
    return read_store_url(file.read_text(encoding="utf-8"))


def read_prefix(text: str) -> str:
    """Read the first part of keys in a shared store."""
    if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", text) is None:
        raise ValueError("1 to 64 letters, digits, dots, hyphens and underscores")
    return text
