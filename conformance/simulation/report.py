"""
The results of simulations as tables and a picture, and their places in the docs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .batch import Outcome
from .simulating import Result

PAGE = Path("docs/fleet.md")
PICTURE = Path("docs/fleet.svg")
BEGIN = "<!-- simulation: written by `nox -s simulate -- --write` -->"
END = "<!-- end of the simulation -->"

QUEUE_PAGE = Path("docs/queue.md")
QUEUE_BEGIN = "<!-- queue: written by `nox -s simulate -- --write` -->"
QUEUE_END = "<!-- end of the queue -->"

_QUEUE_HEAD = (
    "slots",
    "people",
    "order",
    "chats",
    "wait of a chat, p50 (s)",
    "longest (s)",
    "one slot's time (s)",
    "the batch takes (s)",
)
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
    rows = [
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
        for result in results
    ]
    return _in_columns(_HEAD, rows)


def queue_table(outcomes: Sequence[Outcome]) -> str:
    """Return a Markdown table of how long chats wait, one row for each run."""
    rows = [
        (
            str(outcome.scene.slots),
            str(outcome.scene.people),
            outcome.order,
            str(len(outcome.waits)),
            f"{outcome.wait(0.5):.2f}",
            f"{max(outcome.waits):.2f}",
            f"{outcome.slot_s:.2f}",
            f"{outcome.ended_at:.0f}",
        )
        for outcome in outcomes
    ]
    return _in_columns(_QUEUE_HEAD, rows)


def _in_columns(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("-" * len(cell) for cell in head), *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
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
    """Put the table and the picture of fleets into the docs, between the marks."""
    draw(results, PICTURE)
    _put(PAGE, BEGIN, END, table(results))


def write_queue(outcomes: Sequence[Outcome]) -> None:
    """Put the table of the queue into its page, between the marks."""
    _put(QUEUE_PAGE, QUEUE_BEGIN, QUEUE_END, queue_table(outcomes))


def _put(page: Path, begin: str, end: str, text: str) -> None:
    """Replace what is between two marks of a page; the rest stays."""
    before, _, rest = page.read_text("utf-8").partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", "utf-8")
