"""
Whether a run of the generator would find all as the last one left it.

Generating takes seconds, and `codegen serve` is how the gateway is started from a checkout. So a
run that wrote everything leaves a fingerprint of what it read and what it wrote. The next run does
nothing if the fingerprint is still right. `--check` and `--lint` never trust it.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

STAMP = ".codegen"
"""The file with the fingerprint, in the project's folder; git ignores it."""

SOURCES = ("specs", "codegen", "docs", "gateway", "COVERAGE.md")
"""What a run may read or write. Too much costs a run too many; too little would hide a change."""

KINDS = {".py", ".yaml", ".json", ".md", ".j2"}

TOOLS = ("datamodel-code-generator", "jinja2", "msgspec", "pyyaml", "ruamel.yaml", "ruff")
"""The packages whose version can change what is written."""


def is_unchanged(root: Path) -> bool:
    """Tell whether the project is as the last run that wrote everything left it."""
    stamp = root / STAMP
    return stamp.exists() and stamp.read_text("utf-8") == fingerprint(root)


def remember(root: Path) -> None:
    """Note that everything is written as the sources say."""
    (root / STAMP).write_text(fingerprint(root), "utf-8")


def fingerprint(root: Path) -> str:
    """Return a digest of the files, of the tools' versions and of Python's; about 0.1 s."""
    digest = hashlib.sha256(sys.version.encode())
    for tool in TOOLS:
        digest.update(f"{tool} {metadata.version(tool)}\0".encode())
    for path in _files(root):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _files(root: Path) -> Iterator[Path]:
    for source in SOURCES:
        top = root / source
        found = [top] if top.is_file() else top.rglob("*")
        yield from sorted(path for path in found if path.suffix in KINDS and path.is_file())
