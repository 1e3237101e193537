"""
Public vectors of HTTP/1.1 requests, read from the source packages that ship them.

They are downloaded when a test wants them, into a folder that is not part of the project. Two
packages have such files: a WSGI server with requests that are valid and requests that are not, and
the source of httptools with the fixtures of the C parser that it grew from.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[4] / "build" / "vectors"
SOURCES = {"gunicorn": "23.0.0", "httptools": "0.7.1"}
_MESSAGE = re.compile(r'\{\s*\.name\s*=\s*"(?P<name>[^"]*)"(?P<fields>.*?)\n  ?\}', re.DOTALL)
_STRINGS = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPES = {"r": "\r", "n": "\n", "t": "\t", "0": "\0", '"': '"', "\\": "\\", "f": "\f"}


class Unavailable(Exception):
    """A package cannot be downloaded here."""


@dataclass(frozen=True)
class Vector:
    """One request, or several on one connection, and whether a server should take it."""

    name: str
    data: bytes
    is_valid: bool
    method: str = ""
    target: str = ""
    body: bytes | None = None
    """What the application must see of a valid one, where the suite says so."""


def server_vectors() -> list[Vector]:
    """Return the requests of the WSGI server's suite."""
    found = []
    for path in sorted((_source("gunicorn") / "tests" / "requests").glob("*/*.http")):
        text = path.read_bytes().replace(b"\n", b"")
        for written, meant in ((b"\\r", b"\r"), (b"\\n", b"\n"), (b"\\t", b"\t"), (b"\\0", b"\0")):
            text = text.replace(written, meant)
        kind = path.parent.name
        found.append(Vector(f"{kind}/{path.stem}", text, is_valid=kind == "valid"))
    return found


def parser_vectors() -> list[Vector]:
    """Return the requests among the parser's fixtures; all of them are valid to it."""
    path = _source("httptools") / "vendor" / "http-parser" / "test.c"
    text = path.read_text("latin-1")
    start = text.index("const struct message requests[]")
    found = []
    for message in _MESSAGE.finditer(text, start, text.index("const struct message responses[]")):
        fields = message["fields"]
        raw = _text_of(fields, "raw")
        if not raw:
            continue
        method = re.search(r"\.method\s*=\s*HTTP_(\w+)", fields)
        found.append(
            Vector(
                message["name"],
                raw.encode("latin-1"),
                is_valid=True,
                method=(method[1] if method else "").replace("MSEARCH", "M-SEARCH"),
                target=_text_of(fields, "request_url"),
                body=_text_of(fields, "body").encode("latin-1"),
            )
        )
    return found


def _text_of(fields: str, name: str) -> str:
    """Return the value of a field: C strings that stand one after the other."""
    found = re.search(rf"\.{name}\s*=\s*((?:\"(?:[^\"\\]|\\.)*\"\s*)+)", fields)
    if found is None:
        return ""
    whole = "".join(_STRINGS.findall(found[1]))

    def meant(escape: re.Match[str]) -> str:
        if escape[1].startswith("x"):
            return chr(int(escape[1][1:], 16))
        return _ESCAPES[escape[1]]

    return re.sub(r"\\(x[0-9a-fA-F]{2}|.)", meant, whole)


def _source(name: str) -> Path:
    """Return the unpacked source of a package. Raises Unavailable."""
    version = SOURCES[name]
    folder = FOLDER / f"{name}-{version}"
    if not folder.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary"]
        command += [":all:", "--dest", str(FOLDER), f"{name}=={version}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        archive = FOLDER / f"{name}-{version}.tar.gz"
        # Only the archive is wanted: whether it can be built here does not matter.
        if not archive.exists():
            raise Unavailable(f"{name} {version} cannot be downloaded: {done.stderr[-300:]}")
        with tarfile.open(archive) as opened:
            opened.extractall(FOLDER, filter="data")
    return folder
