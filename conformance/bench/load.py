"""
Running the load generator: started with a job, and what came of it. Also what a stream is like.
"""

from __future__ import annotations

import subprocess
import sys

import msgspec

from conformance.bench.generator import Job, Yield

TOKENS = 200
PACE_S = 0.02
"""A stream's tokens, and the time between two of them."""


def start(job: Job) -> subprocess.Popen[bytes]:
    """Start the generator with a job."""
    process = subprocess.Popen(
        [sys.executable, "-m", "conformance.bench.generator"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(job))
    process.stdin.close()
    process.stdin = None
    return process


def finish(process: subprocess.Popen[bytes], job: Job) -> Yield:
    """Wait for its end; what went wrong is among the problems."""
    try:
        out, _ = process.communicate(timeout=job.limit_s + 30)
    except subprocess.TimeoutExpired:
        process.kill()
        return Yield(problems=["the load generator hung"])
    if process.returncode or not out:
        return Yield(problems=[f"the load generator failed with {process.returncode}"])
    return msgspec.json.decode(out, type=Yield)
