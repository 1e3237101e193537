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
    >>> queue_text({"queue": {"waiting": 0, "processes": 3, "counted": 2}})
    'no request waits for a slot, as far as 2 of 3 processes say'
    """
    queue = health.get("queue")
    if not isinstance(queue, Mapping):
        return ""
    waiting = queue.get("waiting")
    counted, processes = queue.get("counted"), queue.get("processes")
    known = "" if counted == processes else f", as far as {counted} of {processes} processes say"
    if not waiting:
        return f"no request waits for a slot{known}"
    classes = f"{queue.get('interactive')} interactive, {queue.get('batch')} batch"
    wait = "s wait" if waiting != 1 else " waits"
    return f"{waiting} request{wait} for a slot ({classes}){known}"
