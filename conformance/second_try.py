"""
Run pytest, and the few tests that failed once more: `python -m conformance.second_try [OPTIONS]`.

A machine that checks changes is small and noisy, and the tests drive real servers and sockets on
it. A test that fails in one of many thousands of runs must not refuse a sound change, and must not
be hidden either: the tests that passed at the second try only are named at the end.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Final

import pytest

FEW: Final = 5
"""Above this number of failed tests, the change is to blame and there is no second try."""

FAILED: Final = pytest.ExitCode.TESTS_FAILED


class FailedTests:
    """A plugin that notes which tests failed."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test once, whether it failed itself or its fixtures did."""
        if report.failed and report.nodeid not in self.names:
            self.names.append(report.nodeid)


def main(
    options: Sequence[str],
    *,
    first: Callable[[list[str], FailedTests], int] = lambda options, failed: int(
        pytest.main(options, plugins=[failed])
    ),
    second: Callable[[list[str]], int] = lambda names: (
        subprocess.run([sys.executable, "-m", "pytest", *names], check=False).returncode
    ),
) -> int:
    """Run pytest with these options, and return its exit code, or that of the second try."""
    failed = FailedTests()
    code = first(list(options), failed)
    if code != FAILED or not 0 < len(failed.names) <= FEW:
        return code
    print(f"\n{len(failed.names)} failed; they are tried once more, by themselves", flush=True)
    code = second(failed.names)
    if code == 0:
        print("\nunsteady, passed at the second try only: mend them")
        for name in failed.names:
            print(f"  {name}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
