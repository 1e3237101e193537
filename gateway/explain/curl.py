"""
A line of curl as a request: the options that people and documents use, and no others.

The line is only read. A file that it names as its body (`-d @FILE`) is read, too.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from urllib.parse import urlsplit

from .asked import Asked
from .problems import NotExplained

_DATA = ("-d", "--data", "--data-ascii", "--data-raw", "--data-binary", "--json")
_WITH_VALUE = (
    *("-o", "--output", "-m", "--max-time", "--connect-timeout", "-u", "--user", "-A"),
    *("--user-agent", "-w", "--write-out", "--retry", "-x", "--proxy", "--cacert"),
)
"""Options with a value that changes nothing of what is explained."""
_ALONE = (
    *("-s", "--silent", "-S", "--show-error", "-N", "--no-buffer", "-k", "--insecure", "-v"),
    *("--verbose", "-i", "--include", "-f", "--fail", "-L", "--location", "--compressed"),
    *("--http1.1", "--http2", "-#", "--progress-bar", "--fail-with-body", "-g", "--globoff"),
)
_PACKED = frozenset("sSNkvifLg")
"""Letters that may stand together behind one dash, as in `-sSN`."""


def read_curl(line: str, folder: Path | None = None) -> Asked:
    r"""
    Return the request that a line of curl would send.

    >>> asked = read_curl("curl http://localhost:11434/api/chat -d '{\"model\": \"m\"}'")
    >>> asked.method, asked.path, asked.body
    ('POST', '/api/chat', b'{"model": "m"}')

    `folder` is where the files of `-d @FILE` are; None if none may be read. Raises NotExplained.
    """
    words = _words(line)
    method, url, headers, data = "", "", dict[str, str](), list[bytes]()
    is_json = False
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if name in _DATA or word.startswith(("-d", "-H", "-X")):
            if not name.startswith("--") and len(name) > 2:
                name, value, equals = word[:2], word[2:], "="
            if not equals:
                value = _next(words, name)
        if name in _DATA:
            is_json = is_json or name == "--json"
            data.append(_data(value, folder, is_raw=name == "--data-raw", keeps=name in _WHOLE))
        elif name in ("-H", "--header"):
            text = value or _next(words, name)
            key, _, rest = text.partition(":")
            headers[key.strip().lower()] = rest.strip()
        elif name in ("-X", "--request"):
            method = value or _next(words, name)
        elif name == "--url":
            url = value or _next(words, name)
        elif name in ("-G", "--get", "-F", "--form", "-T", "--upload-file", "-K", "--config"):
            raise NotExplained(
                f"the curl line has {name}, which is not read here; give the body as JSON and the "
                "route with --route"
            )
        elif name in ("-I", "--head"):
            method = "HEAD"
        elif name in _WITH_VALUE:
            if not equals:
                _next(words, name)
        elif name in _ALONE or (_is_packed(word)):
            continue
        elif word.startswith("-") and len(word) > 1:
            raise NotExplained(
                f"the curl line has the option {name}, which is not read here; leave it out, or "
                "give the body as JSON and the route with --route"
            )
        elif url:
            raise NotExplained(f"the curl line has two addresses: {url} and {word}; quote its body")
        else:
            url = word
    if not url:
        raise NotExplained("the curl line has no address, such as http://localhost:11434/api/chat")
    parts = urlsplit(url if "://" in url else f"http://{url}")
    body = (b"" if is_json else b"&").join(data) if data else None
    return Asked(
        method=method.upper() or ("POST" if data else "GET"),
        path=parts.path or "/",
        query=parts.query,
        headers=headers,
        body=body,
        source="a curl line",
    )


_WHOLE = ("--data-binary", "--json")


def _words(line: str) -> list[str]:
    try:
        # Windows' shells and documents end a line that goes on with other signs.
        words = shlex.split(line.replace("\\\r\n", " ").replace("\\\n", " ").replace("^\n", " "))
    except ValueError as problem:
        raise NotExplained(
            f"the curl line can't be read ({problem}); put the body between single quotes"
        ) from None
    words = words[1:] if words and words[0] in ("$", "%", ">") else words
    if not words or Path(words[0]).name not in ("curl", "curl.exe"):
        raise NotExplained("the line does not begin with curl")
    return words[1:]


def _next(words: list[str], name: str) -> str:
    if not words:
        raise NotExplained(f"the curl line ends after {name}, which needs a value")
    return words.pop(0)


def _is_packed(word: str) -> bool:
    return word.startswith("-") and not word.startswith("--") and set(word[1:]) <= _PACKED


def _data(value: str, folder: Path | None, *, is_raw: bool, keeps: bool) -> bytes:
    if is_raw or not value.startswith("@"):
        return value.encode("utf-8", "surrogateescape")
    if value == "@-":
        raise NotExplained("the curl line takes its body from a pipe (@-); put it into a file")
    if folder is None:
        raise NotExplained(
            f"the curl line takes its body from the file {value[1:]}, and no file is read here; "
            "paste the body in its place"
        )
    path = folder / value[1:]
    try:
        found = path.read_bytes()
    except OSError as problem:
        raise NotExplained(
            f"the file of the curl line's body, {path}, can't be read: {problem.strerror}"
        ) from None
    return found if keeps else found.replace(b"\r", b"").replace(b"\n", b"")
