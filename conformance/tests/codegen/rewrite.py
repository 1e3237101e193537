"""
`python -m conformance.tests.codegen.rewrite`: state anew what the generator's tests expect.

Run it after a deliberate change of words, of the fixture project or of the emitted code, and read
the difference before committing it; no test ever writes. It renews the `expect:` of every bad file
that no longer holds, and the golden module.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from codegen.generator import Generator
from conformance.tests.codegen.bad_file import bad_files, read_bad
from conformance.tests.codegen.harness import HERE, copy_fixture, reading_once

GOLDEN = HERE / "golden" / "measure.py.txt"
GOLDEN_SOURCE = "gateway/plans/measure.py"


def main() -> int:
    """Rewrite what differs and name it; return 0."""
    with tempfile.TemporaryDirectory() as folder, reading_once():
        root = copy_fixture(Path(folder))
        for path in bad_files():
            bad = read_bad(path)
            printed = bad.told(root)[1]
            if not bad.expects(printed):
                head = path.read_text(encoding="utf-8").partition("\nexpect: |\n")[0]
                lines = "".join(f"  {line}\n" for line in printed.splitlines())
                path.write_text(f"{head}\nexpect: |\n{lines}", encoding="utf-8", newline="\n")
                print(path.relative_to(HERE))
        text = Generator(root).generate().texts[GOLDEN_SOURCE]
        if not GOLDEN.exists() or GOLDEN.read_text(encoding="utf-8") != text:
            GOLDEN.parent.mkdir(exist_ok=True)
            GOLDEN.write_text(text, encoding="utf-8", newline="\n")
            print(GOLDEN.relative_to(HERE))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
