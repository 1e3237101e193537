"""
Pins every crate of the driver in Rust: `python -m conformance.clients.crates`.

A lock file of cargo's names its registry by host, so what it would fix stands in Cargo.toml
instead: under a target that no machine is, where cargo heeds a version but builds nothing for it.
Run this after a change of the dependencies above the mark; only pins are written here.
"""

import shutil
import sys
import tempfile
import tomllib
from pathlib import Path

from conformance.clients.toolchain import SOURCES, find, list_crates, pinned_crates, run_tool

MARK = "[target.'cfg(any())'.dependencies]\n"


def main() -> int:
    """Let cargo choose anew what Cargo.toml leaves open, and write it there; return 0."""
    (cargo,) = find("cargo")
    manifest = SOURCES / "rust" / "Cargo.toml"
    named = manifest.read_text("utf-8").partition(MARK)[0]
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(SOURCES / "rust", folder, dirs_exist_ok=True)
        copy = Path(folder, "Cargo.toml")
        copy.write_text(named, "utf-8")
        run_tool([cargo, "generate-lockfile", "--quiet"], Path(folder))
        crates = list_crates(Path(folder, "Cargo.lock")) - pinned_crates(tomllib.loads(named))
    manifest.write_text(named + MARK + "".join(map(pin_line, sorted(crates))), "utf-8")
    return 0


def pin_line(crate: tuple[str, str]) -> str:
    """Return the line that pins a crate; its key has the version, for there may be two of it."""
    name, version = crate
    key = f"{name}-{version.replace('.', '-')}"
    shown = f'package = "{name}", version = "={version}", default-features = false'
    return f"{key} = {{ {shown} }}\n"


if __name__ == "__main__":
    sys.exit(main())
