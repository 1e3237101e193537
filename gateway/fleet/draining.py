"""
Hosts that are drained: they get no new requests, and end those that run there.

What is loaded on a drained host stays loaded for as long as its keep-alive says. Draining belongs
to one process: it outlasts a reload of settings, and ends with the process.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..faults import Refusal
from ..observability.journal import get_logger
from .host import Host, find_host

_ONLY = (
    "this gateway has one host, and a drained one would leave its requests nowhere to go: stop the "
    "gateway instead, which lets running requests end"
)


class Draining:
    """The drained hosts of a fleet."""

    def __init__(self) -> None:
        self.numbers: frozenset[int] = frozenset()
        """The numbers of the drained hosts."""
        self._names: set[str] = set()
        self._hosts: Sequence[Host] = ()
        self._is_one = True
        self._log = get_logger()

    def use(self, hosts: Sequence[Host], *, is_one: bool) -> None:
        """Have these hosts from now on; a host that stays, stays drained."""
        self._hosts, self._is_one = hosts, is_one
        self._names = set() if is_one else self._names & {host.name for host in hosts}
        self._count()

    def has(self, host: Host) -> bool:
        """Return whether a host is drained."""
        return host.number in self.numbers

    def begin(self, name: str) -> Host:
        """
        Give a host no new requests from now on, and return it.

        Raises Refusal if there is no such host (404), or only one (409).
        """
        host = find_host(self._hosts, name)
        if self._is_one:
            raise Refusal(409, _ONLY)
        if name not in self._names:
            self._names.add(name)
            self._count()
            self._log.info("the host is drained", host=name, running=host.running)
        return host

    def end(self, name: str) -> Host:
        """Give a host requests again, and return it. Raises Refusal (404) if there is no such."""
        host = find_host(self._hosts, name)
        if name in self._names:
            self._names.discard(name)
            self._count()
            self._log.info("the host is drained no more", host=name)
        return host

    def refuse(self, host: Host) -> None:
        """
        Refuse a request that is about to use a model of a host. Raises Refusal (503) if drained.

        A drained host is only chosen where no other has the model, or the request names the host.
        """
        if host.number in self.numbers:
            raise Refusal(
                503,
                f"the host {host.name} is drained, and no other one may serve this request: take "
                f"it back with `olgate undrain {host.name}`",
            )

    def _count(self) -> None:
        self.numbers = frozenset(host.number for host in self._hosts if host.name in self._names)
