"""
`python -m gateway.settings`: write what is made from the schema of the settings.

These are the tables of docs/settings.md, docs/settings.toml and docs/settings.schema.json.
`--check` compares instead, and exits with 1 on any difference.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from . import reference

DOCS = Path(__file__).parents[2] / "docs"


def made_files(docs: Path) -> dict[Path, str]:
    """Return each file that is made from the schema, with its text."""
    page = docs / "settings.md"
    schema = json.dumps(reference.json_schema(), indent=2, ensure_ascii=False) + "\n"
    return {
        page: reference.with_table(page.read_text("utf-8")),
        docs / "settings.toml": reference.default_file(),
        docs / "settings.schema.json": schema,
    }


def main(arguments: list[str] | None = None, docs: Path = DOCS) -> int:
    """Write or compare the files; return the exit code."""
    parser = argparse.ArgumentParser(prog="gateway.settings", description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when a file is stale")
    options = parser.parse_args(arguments)
    stale = {
        path: text
        for path, text in made_files(docs).items()
        if not path.exists() or path.read_text("utf-8") != text
    }
    if not options.check:
        for path, text in stale.items():
            path.write_text(text, encoding="utf-8", newline="\n")
        print(f"settings: {len(stale)} files changed")
        return 0
    for path in stale:
        print(f"{path}: differs from gateway/settings/tables", file=sys.stderr)
    if stale:
        print("run `nox -s codegen` and commit the result", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
