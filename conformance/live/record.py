"""
`python -m conformance.live.record URL`: exchanges with a live LM Studio, written as fixtures.

This module decides what a fixture keeps, and writes its file. It writes no request headers, and so
no tokens. In answers, it replaces tokens, home directories and the user's name.
"""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from conformance.live.asking import Got, Unreachable, ask_all
from conformance.suite.fixture import Chunk, encode

KEPT = ("content-type", "cache-control", "x-powered-by")
TOKENS = (
    (re.compile(rb"\b(?:sk|lm|sk-lm)-[A-Za-z0-9_:-]{12,}"), b"(token)"),
    (re.compile(rb"(?i)\bbearer\s+[A-Za-z0-9._~+/=:-]{12,}"), b"Bearer (token)"),
    (re.compile(rb"(/(?:home|Users)/)[^/\s\"'\\]+"), rb"\1user"),
    (re.compile(rb"(?i)([a-z]:(?:\\{1,2}|/)Users(?:\\{1,2}|/))[^\\/\s\"']+"), rb"\1user"),
)


def scrub(data: bytes, names: Iterable[str] = ()) -> bytes:
    """
    Take tokens, homes and these names out of an answer.

    >>> scrub(b"no such file: /home/ada/models/x.gguf")
    b'no such file: /home/user/models/x.gguf'
    >>> scrub(b"token sk-lm-0123456789abcdef for ada", ["ada"])
    b'token (token) for user'
    """
    for pattern, instead in TOKENS:
        data = pattern.sub(instead, data)
    for name in names:
        data = re.sub(rb"\b" + re.escape(name.encode()) + rb"\b", b"user", data)
    return data


def scrub_chunks(chunks: Iterable[Chunk], names: Iterable[str] = ()) -> list[Chunk]:
    """Scrub chunk by chunk; what stands across a boundary costs that answer its boundaries."""
    names = list(names)
    before = list(chunks)
    after = [(ms, scrub(data, names)) for ms, data in before]
    whole = scrub(b"".join(data for _, data in before), names)
    if whole != b"".join(data for _, data in after):
        return [(before[0][0], whole)]
    return after


def guess_version(answers: Iterable[Got]) -> str:
    """Return `0.4` where the newer list is answered, else `0.3`: LM Studio tells no more."""
    newer = any(
        got.asked.path == "/api/v1/models" and b'"models"' in got.body[:200] and got.status == 200
        for got in answers
    )
    return "0.4" if newer else "0.3"


def as_fixture(got: Got, version: str, names: Iterable[str] = ()) -> str:
    """Return the text of a fixture file."""
    chunks = scrub_chunks(got.chunks, names)
    request: dict[str, Any] = {"path": got.asked.path}
    if got.asked.method != "POST":
        request["method"] = got.asked.method
    if got.asked.body is not None:
        request["body"] = got.asked.body
    kept = {name: got.headers[name] for name in KEPT if name in got.headers}
    lines = [
        "# yaml-language-server: $schema=../../suite/fixture.schema.json",
        "provenance:",
        f"  lmstudio: {_show(version)}",
        "  follows: recorded from a live host",
        f"request: {_show(request)}",
        "response:",
        f"  status: {got.status}",
        f"  headers: {_show(kept)}",
        "  chunks:" if chunks else "  chunks: []",
        *(f"    - [{ms}, {_show(encode(data))}]" for ms, data in chunks),
    ]
    return "\n".join(lines) + "\n"


def _show(value: Any) -> str:
    # JSON is YAML but for two line ends that YAML folds; those are written as escapes.
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("\x85", "\\u0085").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def write_all(
    answers: Iterable[Got], folder: Path, version: str, names: Iterable[str] = ()
) -> list[Path]:
    """Write one file per answer below `folder/lmstudio-VERSION`; return their paths."""
    home = folder / f"lmstudio-{version}"
    home.mkdir(parents=True, exist_ok=True)
    written = []
    for got in answers:
        path = home / f"{got.asked.name}.yaml"
        path.write_text(as_fixture(got, version, names), "utf-8", newline="\n")
        written.append(path)
    return written


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("url")
@click.option(
    "--version", "stamp", help="LM Studio's version; by default 0.4 or 0.3, by its answers"
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("recorded"), show_default=True)
@click.option("--model", help="chat model to ask; by default one that is loaded")
@click.option("--embedding", help="embedding model to ask; by default one that is loaded")
def main(url: str, stamp: str | None, out: Path, model: str | None, embedding: str | None) -> None:
    """Record exchanges with the LM Studio at URL; a token comes from LM_API_TOKEN."""
    try:
        answers = asyncio.run(ask_all(url, os.environ.get("LM_API_TOKEN"), model, embedding))
    except Unreachable as error:
        click.echo(f"nothing recorded: {error}; is LM Studio's server started?")
        sys.exit(1)
    for path in write_all(answers, out, stamp or guess_version(answers), [getpass.getuser()]):
        click.echo(path)
    click.echo("look through the files before you pass them on")


if __name__ == "__main__":
    main()
