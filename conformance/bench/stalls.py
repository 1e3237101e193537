"""
How long other requests wait while a server reads one large body, or answers with one, by its kind.

A small request is made again and again on a connection of its own, before and while a large one is
served. Their ratio depends less on the machine than their times do.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from urllib.parse import urlsplit

import msgspec

from conformance.bench.servers import Target
from conformance.bench.wire import EMBEDDER, MODEL

PROBE = "/api/version"
IDLE_PROBES = 200
PAUSE_S = 0.002
_PATIENCE_S = 300.0
_TEXTS = 2048
"""So many vectors are 33 MB of LM Studio's answer."""


class Stall(msgspec.Struct, frozen=True):
    """What others waited, in milliseconds, while a body of one kind was served."""

    target: str
    kind: str
    megabytes: float
    status: int
    took_ms: float
    idle_p99_ms: float
    p99_ms: float
    most_ms: float


def requests(megabytes: int) -> dict[str, tuple[str, bytes]]:
    """Return the path and the body of a request of each kind."""
    texts = json.dumps({"model": EMBEDDER, "input": ["a text"] * _TEXTS}).encode()
    chats = {kind: ("/api/chat", body) for kind, body in bodies(megabytes).items()}
    return {**chats, f"{_TEXTS:,} texts for vectors": ("/api/embed", texts)}


def bodies(megabytes: int) -> dict[str, bytes]:
    """Return a body of each kind; all are for `/api/chat`."""
    size = megabytes * 1_000_000
    start = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]})[:-1]
    head = start.encode()
    calls = [{"function": {"name": "f", "arguments": {}}}] * 20_000
    pairs = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": calls},
        *({"role": "tool", "content": "1"} for _ in range(5000)),
    ]
    messages = [{"role": "user", "content": "hi " * (size // 30_000), "odd": 1}] * 10_000
    return {
        "broken at its end": head + b',"x":[' + b"1," * (size // 2) + b"1]!",
        "unknown key": head + b',"x":[' + b'{"a":[1,"b"]},' * (size // 14) + b"1]}",
        "deep and flat": head + b',"x":[' + b"[[[[[]]]]]," * (size // 11) + b"1]}",
        "escapes": head + b',"keep_alive":"1m","x":"\\ud83d' + b"\\n" * (size // 2) + b'"}',
        "10,000 odd messages": json.dumps({"model": MODEL, "messages": messages}).encode(),
        "5,000 tool results": json.dumps({"model": MODEL, "messages": pairs}).encode(),
        "one long text": json.dumps(
            {"model": MODEL, "messages": [{"role": "user", "content": "x" * size}]}
        ).encode(),
    }


class _Prober:
    """Asks for something small, again and again, and keeps how long each answer took."""

    def __init__(self, host: str, port: int) -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=_PATIENCE_S)
        self._is_over = threading.Event()
        self.waits: list[float] = []

    def probe(self) -> None:
        """Ask once."""
        began = time.perf_counter()
        self._connection.request("GET", PROBE)
        self._connection.getresponse().read()
        self.waits.append(time.perf_counter() - began)
        time.sleep(PAUSE_S)

    def run(self) -> None:
        """Ask until `stop`."""
        while not self._is_over.is_set():
            self.probe()

    def stop(self) -> None:
        """End `run`."""
        self._is_over.set()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def measure(target: Target, megabytes: int) -> list[Stall]:
    """Return what others wait at a server of Ollama's API, for each kind of body."""
    where = urlsplit(target.url)
    assert where.hostname is not None
    assert where.port is not None
    sent = requests(megabytes)
    for path, body in sent.values():
        if path != "/api/chat":
            # The stand-in makes so many vectors once, and a server may load what reads them.
            _post(where.hostname, where.port, path, body)
    idle = _Prober(where.hostname, where.port)
    for _ in range(IDLE_PROBES):
        idle.probe()
    idle.close()
    found = []
    for kind, (path, body) in sent.items():
        prober = _Prober(where.hostname, where.port)
        probing = threading.Thread(target=prober.run)
        probing.start()
        began = time.perf_counter()
        status = _post(where.hostname, where.port, path, body)
        took = time.perf_counter() - began
        prober.stop()
        probing.join()
        prober.close()
        found.append(
            Stall(
                target.name,
                kind,
                len(body) / 1e6,
                status,
                took * 1e3,
                _p99(idle.waits) * 1e3,
                _p99(prober.waits) * 1e3,
                max(prober.waits) * 1e3,
            )
        )
    return found


def _post(host: str, port: int, path: str, body: bytes) -> int:
    connection = http.client.HTTPConnection(host, port, timeout=_PATIENCE_S)
    try:
        connection.request("POST", path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except (TimeoutError, OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def _p99(waits: list[float]) -> float:
    return sorted(waits)[int(len(waits) * 0.99)]
