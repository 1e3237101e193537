"""
`python -m codegen`: write what the specs and rules say.

`--check` compares instead and exits with 1 on any difference; `--lint` only looks for problems.
Without either, a run does nothing when all is as the last run left it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from codegen.unchanged import is_unchanged, remember

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
    writes = not (options.check or options.lint)
    if writes and is_unchanged(root):
        print("codegen: nothing has changed since the last run")
        return 0
    # The generator's own imports take a second, which a run that has nothing to do spares.
    from codegen.descriptions.problem import GenerationFailed, render
    from codegen.generator import Generator

    try:
        files = Generator(root).generate(lint_only=options.lint)
    except GenerationFailed as failure:
        print(render(failure.problems, root), file=sys.stderr)
        print(f"{len(failure.problems)} problem(s)", file=sys.stderr)
        return 1
    if options.lint:
        return 0
    if options.check:
        return files.compare(root)
    files.write(root)
    remember(root)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
