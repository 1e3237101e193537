"""
`olgate ps`: the models that are loaded, and until when.
"""

from datetime import UTC, datetime
from typing import Any, Unpack

import click

from .options import Flags, client_options

FOREVER_YEARS = 50
"""A time that is further away than this many years is shown as forever."""


@click.command("ps")
@client_options
def ps(key: str | None, as_json: bool, **flags: Unpack[Flags]) -> None:
    """
    List the models that LM Studio has loaded, and until when they stay.

    \b
    Example: olgate ps --json
    """
    from .lists import fetch_list
    from .queue import queue_text
    from .tables import print_table, show_size

    answer = fetch_list("/api/ps", key, flags, as_json=as_json)
    if answer is None:
        return
    found, homes, health = answer
    now = datetime.now(UTC)
    rows = [
        (
            str(one.get("name", "")),
            show_size(one.get("size") or 0),
            str(one.get("context_length") or "-"),
            show_until(str(one.get("expires_at") or ""), now),
            *host,
        )
        for host, shown in _by_host(found, homes)
        for one in shown.get("models") or []
    ]
    columns = ("NAME", "SIZE", "CONTEXT", "UNTIL")
    print_table(columns if homes is None else (*columns, "HOST"), rows)
    if health.get("queue", {}).get("waiting"):
        click.echo(queue_text(health))


def _by_host(
    found: dict[str, Any], homes: dict[str, dict[str, Any]] | None
) -> list[tuple[tuple[str, ...], dict[str, Any]]]:
    """Return each host's answer with its name, the whole answer without one for a single host."""
    if homes is None:
        return [((), found)]
    return [((host,), answer) for host, answer in homes.items()]


def show_until(expires_at: str, now: datetime) -> str:
    """
    Return a time of `/api/ps` as the span that is left.

    >>> now = datetime(2026, 1, 1, tzinfo=UTC)
    >>> show_until("2026-01-01T00:05:00Z", now), show_until("2318-01-01T00:00:00Z", now)
    ('5 minutes from now', 'forever')
    """
    from .tables import show_span

    try:
        at = datetime.fromisoformat(expires_at)
    except ValueError:
        return "-"
    left_s = (at - now).total_seconds()
    if left_s > FOREVER_YEARS * 365 * 86400:
        return "forever"
    return f"{show_span(left_s)} from now" if left_s >= 0 else "stopping"
