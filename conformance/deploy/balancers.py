"""
HAProxy and nginx as processes, with the files of deploy/ in which only addresses are replaced.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from conformance.runner.processes import ROOT, STOP_LIMIT_S
from conformance.runner.restartable import Server, running

HAPROXY_FILE = ROOT / "deploy" / "haproxy" / "haproxy.cfg"
NGINX_FILE = ROOT / "deploy" / "nginx" / "nginx.conf"
SBIN = ("/usr/sbin", "/usr/local/sbin")
"""Where Debian has both, which is not in everybody's PATH."""


class MissingProgramError(Exception):
    """A program is not on this machine; the text says which, and how to get it."""


def find_program(name: str) -> str:
    """Return a program's path. Raises MissingProgramError when it is not installed."""
    found = shutil.which(name) or next(
        (f"{folder}/{name}" for folder in SBIN if Path(folder, name).exists()), None
    )
    if found is None:
        raise MissingProgramError(f"{name} not found: install Debian's package {name}")
    return found


def haproxy_text(port: int, gateways: Sequence[str], admin: Path) -> str:
    """Return deploy/haproxy/haproxy.cfg for a port of 127.0.0.1 and the addresses of gateways."""
    text = HAPROXY_FILE.read_text("utf-8")
    text = _once(r"^  bind :11434$", f"  bind 127.0.0.1:{port}", text)
    text = _once(r"/var/lib/haproxy/admin\.sock", str(admin), text)
    servers = [f"  server gateway-{n} {address}\n" for n, address in enumerate(gateways, 1)]
    return _once(r"(^  server gateway-\d+ \S+\n)+", "".join(servers), text)


def nginx_text(port: int, gateways: Sequence[str], folder: Path) -> str:
    """
    Return deploy/nginx/nginx.conf for a port of 127.0.0.1 and the addresses of gateways.

    Its process number and its files for bodies go into a folder that the test can write.
    """
    text = NGINX_FILE.read_text("utf-8")
    text = _once(r"^    listen 11434;$", f"    listen 127.0.0.1:{port};", text)
    text = _once(r"^pid \S+;$", f"pid {folder}/nginx.pid;", text)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"  {kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    text = _once(r"^http \{\n", f"http {{\n{paths}", text)
    found = re.search(r"^    server \S+ (.+;)$", text, re.MULTILINE)
    assert found is not None
    servers = [f"    server {address} {found[1]}\n" for address in gateways]
    return _once(r"(^    server \S+ max_fails.+;\n)+", "".join(servers), text)


def _once(pattern: str, by: str, text: str) -> str:
    changed, times = re.subn(pattern, lambda _: by, text, count=2, flags=re.MULTILINE)
    if times != 1:
        raise ValueError(f"{pattern!r} is {times} times in the file of deploy/, not once")
    return changed


@dataclass(frozen=True)
class Balancer:
    """A running balancer, and how HAProxy's is ordered about."""

    server: Server
    admin: Path | None = None

    @property
    def url(self) -> str:
        """The address for clients."""
        return self.server.url

    def order(self, command: str) -> str:
        """Send a command to HAProxy's own socket; return what it says."""
        assert self.admin is not None
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(STOP_LIMIT_S)
            line.connect(str(self.admin))
            line.sendall(f"{command}\n".encode())
            parts = []
            while part := line.recv(65536):
                parts.append(part)
        return b"".join(parts).decode()

    def state_of(self, server: str) -> str:
        """Return HAProxy's word for the state of a gateway: `UP`, `DOWN`, `DRAIN`, `MAINT`."""
        head, *rows = self.order("show stat").lstrip("# ").splitlines()
        place = head.split(",").index("status")
        for row in rows:
            if row.startswith(f"gateways,{server},"):
                return row.split(",")[place].split()[0]
        raise ValueError(f"HAProxy knows no gateway {server!r}")


@contextlib.contextmanager
def open_haproxy(gateways: Sequence[str], folder: Path) -> Iterator[Balancer]:
    """
    Run HAProxy in front of gateways, which are `HOST:PORT`; end it with the block.

    Raises MissingProgramError when there is none.
    """
    file = folder / "haproxy.cfg"
    server = Server("haproxy", [find_program("haproxy"), "-f", str(file)], folder / "haproxy.log")
    # A path of a socket has at most 107 bytes, and folders of tests have long names.
    with tempfile.TemporaryDirectory(prefix="olgate") as short:
        admin = Path(short, "admin")
        file.write_text(haproxy_text(server.port, gateways, admin), "utf-8")
        with running(server):
            yield Balancer(server, admin)


@contextlib.contextmanager
def open_nginx(gateways: Sequence[str], folder: Path) -> Iterator[Balancer]:
    """Do the same with nginx."""
    file = folder / "nginx.conf"
    flags = ["-c", str(file), "-p", str(folder), "-e", "stderr", "-g", "daemon off;"]
    server = Server("nginx", [find_program("nginx"), *flags], folder / "nginx.log")
    file.write_text(nginx_text(server.port, gateways, folder), "utf-8")
    with running(server):
        yield Balancer(server)
