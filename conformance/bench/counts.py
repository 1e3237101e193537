"""
Compares the gateway's instructions with those committed: `python -m conformance.bench.counts
[--write]`.

They depend on the build of Python and on valgrind, so `counts.json` has figures for each such pair
that somebody has counted with. Exit code 1: a figure is more than a few hundredths greater or less.
"""

from __future__ import annotations

import argparse
import platform
import sys
from pathlib import Path
from subprocess import check_output

import msgspec

from conformance.bench import instructions, servers
from conformance.bench.instructions import Counted
from conformance.bench.servers import StartProblem

FILE = Path("conformance/bench/counts.json")
NAME = "olgate"
MOST = 0.03
"""By this share a figure may differ. Seven runs of one build did by up to 0.029 for lists."""

Figures = dict[str, dict[str, int]]
"""Instructions of one request by the name of its row, by the name of the build."""


def main() -> int:
    """Count, and compare or write."""
    parser = argparse.ArgumentParser(prog="python -m conformance.bench.counts")
    parser.add_argument("--write", action="store_true", help="write the figures into the file")
    wants_to_write: bool = parser.parse_args().write
    if missing := instructions.missing():
        print(f"skipped: no {' and no '.join(missing)}: install Debian's package valgrind")
        return 1 if wants_to_write else 0
    name = build()
    committed = read()
    if name not in committed and not wants_to_write:
        print(f"skipped: no figures are committed for {name}; --write adds them")
        return 0
    try:
        counted = _count()
        told, moved = compared(committed.get(name, {}), counted)
        if moved and not wants_to_write:
            # A busy machine cuts reads otherwise; a change of the code is there both times.
            print(f"{told}\ncounted once more, since some moved: {', '.join(moved)}", flush=True)
            told, still = compared(committed.get(name, {}), _count())
            moved = [label for label in moved if label in still]
    except StartProblem as problem:
        print(f"counts: {problem}", file=sys.stderr)
        return 1
    if wants_to_write:
        found = {label: round(each) for label, each in counted.each.items()}
        FILE.write_bytes(
            msgspec.json.format(
                msgspec.json.encode(committed | {name: found}, order="sorted"), indent=2
            )
            + b"\n"
        )
    print(f"instructions of a request in user mode, {name}\n{told}")
    if moved and not wants_to_write:
        print(
            f"moved by more than {MOST:.0%}: {', '.join(moved)}; `nox -s instructions -- --write`"
        )
        return 1
    return 0


def _count() -> Counted:
    return instructions.count(NAME, "ollama", servers.gateway_arguments)


def build() -> str:
    """Return what instructions depend on, apart from the code and the pinned libraries."""
    valgrind = check_output(["valgrind", "--version"], text=True).strip()
    version = " ".join(sys.version.split())
    return f"{platform.python_implementation()} {version}, {platform.machine()}, {valgrind}"


def read() -> Figures:
    """Return the committed figures."""
    return msgspec.json.decode(FILE.read_bytes(), type=Figures)


def compared(committed: dict[str, int], counted: Counted) -> tuple[str, list[str]]:
    """
    Return a line for each row, and the rows that differ by more than `MOST`.

    A row that was not committed differs, and so does one that is no longer counted.
    """
    lines, moved = [], []
    for label in {**committed, **counted.each}:
        old, new = committed.get(label), counted.each.get(label)
        change = new / old - 1 if old and new else None
        if change is None or abs(change) > MOST:
            moved.append(label)
        lines.append(
            f"{label:30}"
            + "".join(f"{each:15,.0f}" if each else f"{'-':>15}" for each in (old, new))
            + (f"{change:+9.2%}" if change is not None else "")
        )
    return "\n".join([f"{'':30}{'committed':>15}{'now':>15}", *lines]), moved


if __name__ == "__main__":
    sys.exit(main())
