"""
The requests that wait for a slot, as `olgate status` and `olgate ps` tell of them.
"""

from collections.abc import Mapping
from typing import Any


def queue_text(health: Mapping[str, Any]) -> str:
    """
    Return how many requests wait, by what `/health` says; "" if it does not say it.

    >>> queue_text({"queue": {"waiting": 3, "interactive": 1, "batch": 2}})
    '3 requests wait for a slot (1 interactive, 2 batch)'
    >>> queue_text({"queue": {"waiting": 0}}), queue_text({})
    ('no request waits for a slot', '')
    """
    queue = health.get("queue")
    if not isinstance(queue, Mapping):
        return ""
    waiting = queue.get("waiting")
    if not waiting:
        return "no request waits for a slot"
    classes = f"{queue.get('interactive')} interactive, {queue.get('batch')} batch"
    return f"{waiting} request{'s wait' if waiting != 1 else ' waits'} for a slot ({classes})"
