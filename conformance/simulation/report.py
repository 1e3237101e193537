"""
The results of simulations as a table and a picture, and their place in docs/fleet.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .simulating import Result

PAGE = Path("docs/fleet.md")
PICTURE = Path("docs/fleet.svg")
BEGIN = "<!-- simulation: written by `nox -s simulate -- --write` -->"
END = "<!-- end of the simulation -->"

_HEAD = (
    "hosts",
    "policy",
    "first token, p50 (s)",
    "p99 (s)",
    "prompt tokens in a cache",
    "loads",
    "moved",
    "cut",
    "one decision (µs)",
)


def table(results: Sequence[Result]) -> str:
    """Return a Markdown table, one row for each run."""
    rows = [_HEAD, tuple("-" * len(cell) for cell in _HEAD)]
    for result in results:
        rows.append(
            (
                f"{result.plan.hosts:,}",
                result.policy,
                f"{result.first_token(0.5):.2f}",
                f"{result.first_token(0.99):.2f}",
                f"{result.hits:.0%}",
                f"{result.loads:,}",
                f"{result.moved:,}",
                f"{result.failed:,}",
                f"{result.deciding_us():.0f}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    )


def draw(results: Sequence[Result], path: Path) -> None:
    """Draw for each number of hosts which share of requests had its first token by when, as SVG."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "olgate"
    from matplotlib import pyplot

    counts = sorted({result.plan.hosts for result in results})
    figure, axes = pyplot.subplots(
        1, len(counts), figsize=(4 * len(counts), 3.6), squeeze=False, sharey=True
    )
    shares = [place / 200 for place in range(200)]
    for axis, hosts in zip(axes[0], counts, strict=True):
        for result in results:
            if result.plan.hosts == hosts:
                times = [max(result.first_token(share), 0.01) for share in shares]
                axis.plot(times, [100 * share for share in shares], label=result.policy)
        axis.set_title(f"{hosts:,} hosts")
        axis.set_xscale("log")
        axis.set_xlabel("s until the first token")
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("% of requests")
    axes[0, 0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


def write(results: Sequence[Result]) -> None:
    """Put the table and the picture into the docs, between the marks; the rest stays."""
    draw(results, PICTURE)
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table(results)}\n\n{END}{after}", "utf-8")
