"""Fixtures of the generator's tests: fresh copies, and reading each text only once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.tests.codegen.harness import copy_fixture, copy_real, reading_once


@pytest.fixture(autouse=True, scope="module")
def _reading_once() -> Iterator[None]:
    with reading_once():
        yield


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the fixture project; a test that edits it puts it back."""
    return copy_fixture(tmp_path_factory.mktemp("fixture"))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the real specs and rules; a test that edits it puts it back."""
    return copy_real(tmp_path_factory.mktemp("real"))
