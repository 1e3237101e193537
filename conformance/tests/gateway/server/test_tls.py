"""TLS for clients, with real certificates: streams, reload, and everything that can be wrong."""

import asyncio
import datetime
import os
import ssl
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trustme

from conformance.soak.gateway import Gateway, run_gateway
from conformance.standin import StandIn
from conformance.standin.options import Options
from conformance.tests.gateway.support import chat
from gateway.server.tls import TlsProblem, open_tls
from gateway.settings.schema import ListenSettings

LOOPS = ["uvloop", "asyncio"]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class Pair:
    """A certificate and its key in files."""

    def __init__(self, folder: Path, issued: trustme.LeafCert) -> None:
        self.certificate, self.key = folder / "cert.pem", folder / "key.pem"
        self.write(issued)

    def write(self, issued: trustme.LeafCert) -> None:
        self.certificate.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
        self.key.write_bytes(issued.private_key_pem.bytes())

    @property
    def listen(self) -> ListenSettings:
        return ListenSettings(tls_certificate=str(self.certificate), tls_key=str(self.key))

    @property
    def environ(self) -> dict[str, str]:
        return {
            "OLGATE_LISTEN_TLS_CERTIFICATE": str(self.certificate),
            "OLGATE_LISTEN_TLS_KEY": str(self.key),
        }


@pytest.fixture
def pair(tmp_path: Path, authority: trustme.CA) -> Pair:
    return Pair(tmp_path, authority.issue_cert("127.0.0.1"))


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@asynccontextmanager
async def running(environ: Mapping[str, str], loop: str = "uvloop") -> AsyncIterator[Gateway]:
    """Run a gateway in front of a stand-in, with or without uvloop."""
    if loop == "asyncio":
        # A package of this name that cannot be imported hides the real one.
        hidden = Path(environ["OLGATE_LISTEN_TLS_CERTIFICATE"]).parent / "hidden"
        hidden.mkdir()
        (hidden / "uvloop.py").write_text("raise ImportError('hidden')\n")
        environ = {**environ, "PYTHONPATH": str(hidden)}
    async with StandIn(Options(rate=50)) as standin, run_gateway(standin.url, environ) as gateway:
        yield gateway


@pytest.mark.parametrize("loop", LOOPS)
async def test_answers_and_streams_arrive_over_tls(
    loop: str, pair: Pair, authority: trustme.CA
) -> None:
    """The certificate is checked by the client, and the address is told as https."""
    async with running(pair.environ, loop) as gateway:
        assert gateway.url.startswith("https://127.0.0.1:")
        async with httpx.AsyncClient(
            base_url=gateway.url, verify=trusting(authority), trust_env=False
        ) as client:
            version = await client.get("/api/version")
            streamed = await client.post("/api/chat", json=chat(stream=True))
        assert 200 == version.status_code
        assert '"done":true' in streamed.text.splitlines()[-1]


@pytest.mark.parametrize("loop", LOOPS)
async def test_each_part_of_a_stream_is_one_record(
    loop: str, pair: Pair, authority: trustme.CA
) -> None:
    """The head comes with the first line, and no line in two records."""
    async with running(pair.environ, loop) as gateway:
        records = await records_of_stream(int(gateway.url.rpartition(":")[2]), trusting(authority))
    assert records[0].startswith(b"HTTP/1.1 200")
    assert b'"done":false' in records[0]
    assert len(records) > 2
    assert all(record.endswith(b"\n\r\n") for record in records[:-1])


async def records_of_stream(port: int, context: ssl.SSLContext) -> list[bytes]:
    """Stream a chat; return what each record of TLS held. A read gives one record at most."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    side = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = b'{"model":"tiny-plain-1b-instruct","messages":[{"role":"user","content":"Why?"}]}'
    head = b"POST /api/chat HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    request = head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    records: list[bytes] = []
    is_asked = False
    try:
        while True:
            try:
                if not is_asked:
                    side.do_handshake()
                    side.write(request)
                    is_asked = True
                while record := side.read(65536):
                    records.append(record)
                return records
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
            except ssl.SSLError:
                return records
            data = await asyncio.wait_for(reader.read(65536), 20)
            if not data:
                return records
            incoming.write(data)
    finally:
        writer.close()


@pytest.mark.parametrize("loop", LOOPS)
async def test_http_on_the_tls_port_is_told_so(loop: str, pair: Pair) -> None:
    """In Go's words, and on one line of the log."""
    async with running(pair.environ, loop) as gateway:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", int(gateway.url.rpartition(":")[2])
        )
        writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        answer = await asyncio.wait_for(reader.readuntil(b"HTTPS server.\n"), 20)
        writer.close()
        await gateway.until_said("plain HTTP on the TLS port")
        assert not any("Traceback" in line for line in gateway.lines)
    assert answer.startswith(b"HTTP/1.0 400 Bad Request\r\n")


async def test_a_reload_takes_a_new_certificate(pair: Pair, authority: trustme.CA) -> None:
    """New connections get it; one that cannot be used changes nothing and is told."""
    async with running(pair.environ) as gateway:
        before = await certificate_of(gateway, authority)
        pair.write(authority.issue_cert("127.0.0.1", "new.test"))
        assert (0, "in force now: nothing has changed\n") == await reload(gateway, pair)
        after = await certificate_of(gateway, authority)
        pair.key.write_bytes(authority.issue_cert("127.0.0.1").private_key_pem.bytes())
        code, said = await reload(gateway, pair)
        assert after == await certificate_of(gateway, authority)
    assert "new.test" not in before
    assert "new.test" in after
    assert 1 == code
    assert "does not belong to the certificate" in said


async def certificate_of(gateway: Gateway, authority: trustme.CA) -> str:
    """Return the names in the certificate that a new connection gets."""
    _, writer = await asyncio.open_connection(
        "127.0.0.1", int(gateway.url.rpartition(":")[2]), ssl=trusting(authority)
    )
    found = str(writer.get_extra_info("peercert")["subjectAltName"])
    writer.close()
    return found


async def reload(gateway: Gateway, pair: Pair) -> tuple[int | None, str]:
    """Run `olgate reload`, which trusts the gateway's own certificate."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "reload", "--port", gateway.url.rpartition(":")[2]),
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **pair.environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


def test_what_cannot_be_used_gets_one_sentence(pair: Pair, authority: trustme.CA) -> None:
    """The setting, the file and the reason."""
    problems: list[str] = []
    key = pair.key.read_bytes()
    for text in (authority.issue_cert("a").private_key_pem.bytes(), b"none"):
        pair.key.write_bytes(text)
        problems.append(problem_of(pair.listen))
    pair.key.write_bytes(key)
    problems.append(problem_of(ListenSettings(tls_key=str(pair.key))))
    pair.key.unlink()
    problems.append(problem_of(pair.listen))

    assert (
        f"listen.tls_key: the key in {pair.key} does not belong to the certificate in "
        in (problems[0])
    )
    assert problems[1].startswith("listen.tls_certificate: expected a certificate and its key, in ")
    assert "listen.tls_key is set, but listen.tls_certificate is not" == problems[2]
    assert problems[3].startswith(f"listen.tls_key: the file {pair.key} cannot be read: No such")


def test_a_key_with_a_password_is_refused(pair: Pair) -> None:
    """Nobody is asked for it."""
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    pair.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    assert f"listen.tls_key: the key in {pair.key} has a password" in problem_of(pair.listen)


def problem_of(listen: ListenSettings) -> str:
    with pytest.raises(TlsProblem) as caught:
        open_tls(listen)
    return str(caught.value)


@pytest.mark.parametrize(
    ("days", "event"),
    [
        (-1, "the certificate for clients has expired"),
        (3, "the certificate for clients expires soon"),
        (60, None),
    ],
)
async def test_the_end_of_a_certificate_is_told_at_the_start(
    days: int, event: str | None, tmp_path: Path, authority: trustme.CA
) -> None:
    """Two weeks before it, and once it is over."""
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    pair = Pair(tmp_path, authority.issue_cert("127.0.0.1", not_after=end))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "serve", "--port", "0"),
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "OLGATE_STORE_PATH": ":memory:",
            **pair.environ,
        },
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    said = b""
    try:
        async with asyncio.timeout(30):
            while b"listening on" not in said:
                line = await process.stderr.readline()
                assert line, said
                said += line
    finally:
        process.kill()
        await process.wait()
    assert (b"certificate" in said) == (event is not None)
    assert event is None or event.encode() in said
