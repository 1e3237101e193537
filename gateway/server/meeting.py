"""
Where the processes of one gateway ask each other: a port of this machine for each of them.

The supervisor opens the ports before it starts workers and keeps them, so that a worker that is
started again is found at the port of the one before it. Whoever asks must know a secret, which
workers inherit and nobody else has.
"""

from __future__ import annotations

import socket
from secrets import token_bytes


class Meeting:
    """The ports of all workers by their numbers, and the secret."""

    def __init__(self, count: int) -> None:
        """Open a port for each of `count` workers. Raises OSError."""
        self.secret = token_bytes(32)
        self._listeners: list[socket.socket | None] = []
        self.ports: list[int] = []
        for _ in range(count):
            listener = socket.create_server(("127.0.0.1", 0))
            self._listeners.append(listener)
            self.ports.append(listener.getsockname()[1])

    def take(self, number: int) -> socket.socket:
        """Return the listener of a worker, which closes it, and close those of the others here."""
        own = self._listeners[number]
        assert own is not None, "it is taken once"
        self._listeners[number] = None
        self.close()
        return own

    def close(self) -> None:
        """Close all listeners in this process that nobody has taken."""
        for number, listener in enumerate(self._listeners):
            if listener is not None:
                listener.close()
                self._listeners[number] = None
