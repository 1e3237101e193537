"""
Programs that judge files of deploy/, compiled from their Go modules.
"""

from __future__ import annotations

from pathlib import Path

from conformance.clients.toolchain import CACHE, EXE, GO_FLAGS, GO_HERE, find, run_tool


def build_go_program(package: str, version: str) -> Path:
    """
    Return a program, compiled from its package at a fixed version, now or in another run.

    Raises MissingToolError when there is no Go, and InstallError when it can't be built.
    """
    (go,) = find("go")
    name = package.rsplit("/", 1)[-1]
    folder = CACHE / "golang" / f"{package.replace('/', '-')}-{version}"
    program = folder / f"{name}{EXE}"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        flags = [flag for flag in GO_FLAGS if not flag.startswith("-mod")]
        environment = {**GO_HERE, "GOBIN": str(folder), "CGO_ENABLED": "0"}
        run_tool([go, "install", *flags, f"{package}@{version}"], folder, environment)
    return program
