"""
The hosts of a gateway.

With one host nothing of this room is entered for a request: its own catalogue and lifecycle serve.
"""

from __future__ import annotations

from ..settings.hosts import hosts_of
from ..settings.schema import Settings
from .host import Host, Names


class Fleet:
    """All hosts, in the order of the settings."""

    def __init__(self, settings: Settings, names: Names) -> None:
        """Make the hosts of the settings; nothing is opened yet."""
        self.names = names
        self.hosts: tuple[Host, ...] = tuple(
            Host(name, of_host, settings, names, number)
            for number, (name, of_host) in enumerate(hosts_of(settings).items())
        )
        self.first = self.hosts[0]
        """The host of every request, if there is only one."""

    async def start(self, *, tells_of_hosts: bool) -> None:
        """Adopt the instances that an earlier process left, and with `tells_of_hosts` log hosts."""
        await self.names.aliases.refresh()
        for host in self.hosts:
            await host.start()
            if tells_of_hosts:
                host.presence.start()

    async def aclose(self) -> None:
        """Stop timers and close connections."""
        for host in self.hosts:
            await host.aclose()
