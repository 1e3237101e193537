"""The limit of open files, on systems that state what they do not allow."""

import sys
from types import ModuleType

import pytest

from gateway.server.open_files import OPEN_FILES, raise_limit

INFINITY = 2**63 - 1


class Resource(ModuleType):
    """`resource` of a system that allows `allowed` files, whatever hard limit it states."""

    RLIMIT_NOFILE = 8
    RLIM_INFINITY = INFINITY

    def __init__(self, soft: int, hard: int, allowed: int) -> None:
        super().__init__("resource")
        self.limits = (soft, hard)
        self.allowed = allowed

    def getrlimit(self, _number: int) -> tuple[int, int]:
        """Return the soft and the hard limit."""
        return self.limits

    def setrlimit(self, _number: int, limits: tuple[int, int]) -> None:
        """Refuse what is above the allowed number, as macOS does with EINVAL."""
        if limits[0] > self.allowed:
            raise ValueError("current limit exceeds maximum limit")
        self.limits = limits


@pytest.mark.parametrize(
    ("soft", "hard", "allowed", "least"),
    [
        pytest.param(1024, 1048576, 1048576, OPEN_FILES, id="linux"),
        pytest.param(1024, 4096, 4096, 4096, id="a low hard limit"),
        pytest.param(256, INFINITY, 245760, OPEN_FILES, id="macos"),
        pytest.param(256, INFINITY, 24576, 18432, id="an older macos"),
        pytest.param(256, INFINITY, 10240, 7680, id="a small macos"),
        pytest.param(256, INFINITY, 256, 256, id="nothing more is allowed"),
        pytest.param(100000, INFINITY, 256, 100000, id="enough already"),
        pytest.param(INFINITY, INFINITY, 256, OPEN_FILES, id="no limit"),
    ],
)
def test_the_limit_is_raised_as_far_as_the_system_allows(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, allowed: int, least: int
) -> None:
    """macOS states no hard limit and refuses more than it allows: smaller numbers are tried."""
    system = Resource(soft, hard, allowed)
    monkeypatch.setitem(sys.modules, "resource", system)

    limit = raise_limit()

    assert least <= limit
    assert limit in (system.limits[0], OPEN_FILES)
    assert hard == system.limits[1]


def test_a_system_without_limits_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has no such module."""
    monkeypatch.setitem(sys.modules, "resource", None)
    assert OPEN_FILES == raise_limit()
