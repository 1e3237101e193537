"""Memory of large bodies goes back to the system, and bodies grow without copies of themselves."""

import subprocess
import sys

import pytest

from gateway.server.memory import tune_allocator

CHILD = """
import random
from io import BytesIO
from pathlib import Path

from gateway.server.memory import tune_allocator

tune_allocator()


def used():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


dice = random.Random(1)
piece = b"x" * 250_000
before = used()
held, small = [], []
for _ in range(120):
    body = BytesIO()
    for _ in range(dice.randint(4, 80)):
        body.write(piece)
    held.append(body.getvalue())
    small.append([bytes(dice.randint(100, 4000)) for _ in range(20)])
    if len(held) > 10:
        held.pop(dice.randrange(10))
del body
held.clear()
small = small[-5:]
print(used() - before)
"""
ONE_BODY = 20_000_000


@pytest.mark.skipif(not tune_allocator(), reason="another C library than glibc")
def test_large_bodies_leave_no_memory_behind() -> None:
    """Of bodies up to 20 MB between small things, less than one stays: without it, five."""
    ran = subprocess.run([sys.executable, "-c", CHILD], check=True, capture_output=True, text=True)
    assert int(ran.stdout) < ONE_BODY


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    """They have other allocators."""
    monkeypatch.setattr(sys, "platform", platform)
    assert not tune_allocator()
