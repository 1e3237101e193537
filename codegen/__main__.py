"""
`python -m codegen`: write what the specs and rules say.

`--check` compares instead and exits with 1 on any difference; `--lint` only looks for problems.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from codegen.descriptions.problem import GenerationFailed, render
from codegen.generator import Generator

ROOT = Path(__file__).parent.parent


def main(arguments: list[str] | None = None) -> int:
    """Run the generator; return the exit code."""
    parser = argparse.ArgumentParser(prog="codegen", description=__doc__)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="fail when a generated file is stale")
    mode.add_argument("--lint", action="store_true", help="report problems, write nothing")
    parser.add_argument("--root", type=Path, default=ROOT, help="the project's folder")
    options = parser.parse_args(arguments)
    root: Path = options.root.resolve()
    try:
        files = Generator(root).generate(lint_only=options.lint)
    except GenerationFailed as failure:
        print(render(failure.problems, root), file=sys.stderr)
        print(f"{len(failure.problems)} problem(s)", file=sys.stderr)
        return 1
    if options.lint:
        return 0
    return files.compare(root) if options.check else files.write(root)


if __name__ == "__main__":
    raise SystemExit(main())
