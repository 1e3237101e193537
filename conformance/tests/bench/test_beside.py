"""
That other servers are run beside the gateway where they are there, and held against it.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import psutil
import pytest

from conformance.bench import beside, peers, report, servers
from conformance.bench.results import Cost, Paced, Results, Spread
from conformance.bench.servers import StartProblem

PEER = "ollama-lmstudio-proxy"


def paced(target: str, first_ms: float, cpu_us: float) -> Paced:
    """Return a row of one stream whose first tokens all take the same time."""
    spread = Spread(first_ms * 1e6, first_ms * 1e6, first_ms * 1e6)
    return Paced(
        target=target, streams=1, first_token=spread, token=spread, cpu_us_per_token=cpu_us
    )


def test_times_are_told_without_the_stand_ins_and_cpu_as_it_is() -> None:
    """A figure that only one of both has is left out."""
    results = Results(
        paced=[paced("direct", 1.0, 5.0), paced("olgate", 2.0, 30.0), paced("other", 5.0, 20.0)],
        requests=[Cost(target="olgate", task="tags", cpu_us=9.0, per_cpu_s=1.0, per_wall_s=1.0)],
    )

    found = {pair.what: pair for pair in beside.pairs(results, "other")}

    assert 0.25 == found["1 streams: first token p50, ms"].ratio
    assert 1.5 == found["1 streams: CPU per token, us"].ratio
    assert "tags: CPU, us" not in found
    told = report.tables(results)
    assert "### Beside other, in this run" in told
    assert "| 1 streams: first token p50, ms | 1.00   | 4.00  | 0.25x |" in told
    assert "### Beside olgate" not in told


def test_there_is_no_ratio_to_a_server_that_adds_nothing() -> None:
    """Noise can make it faster than the stand-in itself."""
    results = Results(
        paced=[paced("direct", 1.0, 5.0), paced("olgate", 2.0, 5.0), paced("other", 0.9, 5.0)]
    )

    found = {pair.what: pair.ratio for pair in beside.pairs(results, "other")}

    assert found["1 streams: first token p50, ms"] is None


@pytest.mark.skipif(os.name == "nt", reason="the program is a script with a line for its shell")
def test_a_program_on_path_is_run_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told where to listen and where LM Studio is."""
    program = tmp_path / PEER
    program.write_text(
        f"#!{sys.executable}\n"
        "import http.server, sys\n"
        "print(*sys.argv[1:], flush=True)\n"
        "host, port = sys.argv[sys.argv.index('--listen') + 1].split(':')\n"
        "http.server.HTTPServer((host, int(port)), http.server.BaseHTTPRequestHandler)"
        ".serve_forever()\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))

    with peers.started("http://127.0.0.1:9", tmp_path) as targets:
        (target,) = targets
        assert PEER == target.name
        assert psutil.pid_exists(target.pid)
        assert servers.found("it", target.url).pid == target.pid
    assert not psutil.pid_exists(target.pid)
    assert "--lmstudio-url http://127.0.0.1:9" in (tmp_path / f"{PEER}.log").read_text()

    program.write_text(f"#!{sys.executable}\nraise SystemExit('no licence')\n")
    with pytest.raises(StartProblem, match="no licence"), peers.started("http://x", tmp_path):
        pass
    program.unlink()
    with peers.started("http://x", tmp_path) as targets:
        assert [] == targets
