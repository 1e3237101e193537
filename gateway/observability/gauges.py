"""
The gauges: what is so at the moment at which the metrics are read. Nothing is counted here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from platform import python_version

from prometheus_client import CollectorRegistry, Gauge

from .version import find_version


class Gauges:
    """The gauges of one application. Each shows what a function returns; `refresh` asks them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Stand in `registry`, with nothing to watch yet but the process."""
        self._registry = registry
        self._hosts: Callable[[], Mapping[str, bool | None]] = dict
        self._host_slots: Callable[[], Mapping[str, int]] = dict
        self._waits: dict[str, Callable[[], int]] = {}
        self._show(
            "olgate_running_tasks",
            "Tasks of the event loop, also when the gateway is idle.",
            lambda: len(asyncio.all_tasks()),
        )
        self._bodies = self._made(
            "olgate_bodies_bytes", "Bytes of request bodies that are held now."
        )
        self._waiting_bodies = self._made(
            "olgate_waiting_bodies", "Request bodies that wait for room in memory."
        )
        self._waiting = self._made(
            "olgate_waiting_requests", "Requests that wait now, by what they wait for.", "reason"
        )
        self._up = self._made(
            "olgate_upstream_up",
            "Whether a host answered when it was last asked; absent if it was not asked yet.",
            "host",
        )
        self._slots = self._made(
            "olgate_slots",
            "Requests that the loaded models of a host run at once, all of them together.",
            "host",
        )
        self._made(
            "olgate_build_info", "Always 1; the labels say what runs.", "version", "python"
        ).labels(find_version() or "not installed", python_version()).set(1)

    def watch_running(self, requests: Callable[[], int], streams: Callable[[], int]) -> None:
        """Show how many requests are served, and how many streamed answers are being sent."""
        self._show(
            "olgate_running_requests",
            "Requests that are served now, this one included.",
            requests,
        )
        self._show("olgate_running_streams", "Streamed answers that are being sent now.", streams)

    def watch_bodies(self, held: Callable[[], int], waiting: Callable[[], int]) -> None:
        """Show the bytes of bodies that are held, and the number of bodies that wait for room."""
        self._bodies.set_function(held)
        self._waiting_bodies.set_function(waiting)

    def watch_waiting(self, reason: str, waiting: Callable[[], int]) -> None:
        """Show how many requests wait for something: `load`, or `slot`."""
        self._waits[reason] = waiting

    def watch_hosts(self, hosts: Callable[[], Mapping[str, bool | None]]) -> None:
        """Show whether each host answers, None if that is not known."""
        self._hosts = hosts

    def watch_slots(self, slots: Callable[[], Mapping[str, int]]) -> None:
        """Show how many requests the loaded models of each host run at once."""
        self._host_slots = slots

    def host_names(self) -> list[str]:
        """Return the names of the hosts that are watched."""
        return list(self._hosts())

    def refresh(self) -> None:
        """Ask what is watched, for the gauges whose labels come and go."""
        for reason, waiting in self._waits.items():
            self._waiting.labels(reason).set(waiting())
        self._up.clear()
        for name, is_up in self._hosts().items():
            if is_up is not None:
                self._up.labels(name).set(is_up)
        self._slots.clear()
        for name, slots in self._host_slots().items():
            self._slots.labels(name).set(slots)

    def _show(self, name: str, text: str, value: Callable[[], float]) -> None:
        self._made(name, text).set_function(value)

    def _made(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self._registry)
