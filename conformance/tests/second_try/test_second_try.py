"""A test that fails once is named; one that fails twice fails the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance import second_try
from conformance.second_try import FEW, FailedTests

UNSTEADY = """
from pathlib import Path

def test_unsteady():
    seen = Path(__file__).with_suffix(".seen")
    was_seen = seen.exists()
    seen.touch()
    assert was_seen

def test_steady():
    pass
"""


@pytest.fixture
def tests(tmp_path: Path) -> Path:
    """Return an empty project's file of tests."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n", "utf-8")
    return tmp_path / "test_it.py"


def run(tests: Path, capfd: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    """Run the file as the module does; return the exit code and what was printed."""
    code = second_try.main([str(tests), f"--rootdir={tests.parent}", "-p", "no:asyncio", *options])
    return code, capfd.readouterr().out


def test_an_unsteady_test_is_named(tests: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The run passes, and says which test needs mending."""
    tests.write_text(UNSTEADY, "utf-8")
    names: list[str] = []

    def again(failed: list[str]) -> int:
        names.extend(failed)
        return int(pytest.main([str(tests), f"--rootdir={tests.parent}", "-p", "no:asyncio"]))

    code = second_try.main(
        [str(tests), f"--rootdir={tests.parent}", "-p", "no:asyncio"], second=again
    )
    said = capfd.readouterr().out

    assert 0 == code
    assert ["test_it.py::test_unsteady"] == names
    assert "passed at the second try only: mend them\n  test_it.py::test_unsteady" in said


def test_what_fails_twice_fails(tests: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It is not named as unsteady."""
    tests.write_text("def test_it():\n    assert False\n", "utf-8")

    code, said = run(tests, capfd)

    assert 0 != code
    assert "second try only" not in said


def test_many_failures_are_not_tried_again() -> None:
    """The change is to blame for them."""

    def first(_: list[str], failed: FailedTests) -> int:
        failed.names.extend(f"test {number}" for number in range(FEW + 1))
        return 1

    def second(_: list[str]) -> int:
        raise AssertionError("a second try")

    assert 1 == second_try.main([], first=first, second=second)


@pytest.mark.parametrize("code", [0, 2, 3, 4, 5])
def test_other_ends_are_not_tried_again(code: int) -> None:
    """An interrupted run, a wrong option, nothing collected: they are the run's result."""

    def second(_: list[str]) -> int:
        raise AssertionError("a second try")

    assert code == second_try.main([], first=lambda _, failed: code, second=second)
