"""LM Studio over TLS: whose certificates are trusted, and what a refused one is told."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from gateway.faults import UpstreamFailure
from gateway.settings.schema import UpstreamSettings
from gateway.upstream.client import Upstream
from gateway.upstream.trust import TrustProblem, trusting

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


@asynccontextmanager
async def serving(issued: trustme.LeafCert) -> AsyncIterator[str]:
    """Serve one answer over TLS; yield the address by its number."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    issued.configure_cert(context)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def fetched(url: str, **settings: str | bool) -> bytes | str:
    """Return the body, or the words of the failure, which is `tls`."""
    upstream = Upstream(UpstreamSettings(url=url, **settings))  # type: ignore[arg-type]  # of any key
    try:
        return await upstream.fetch("GET", "/v1/models")
    except UpstreamFailure as failure:
        return f"{failure.fault}: {failure}"
    finally:
        await upstream.aclose()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(tmp_path: Path, authority: trustme.CA) -> str:
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return str(file)


async def test_a_certificate_of_the_file_is_trusted(authority: trustme.CA, ca_file: str) -> None:
    """And not without the file; nobody asks when it is not to be checked."""
    async with serving(authority.issue_cert("127.0.0.1")) as url:
        assert b"{}" == await fetched(url, ca_file=ca_file)
        assert b"{}" == await fetched(url, verify=False)
        refused = await fetched(url)

    assert isinstance(refused, str)
    assert refused.startswith("tls: ")
    assert "the certificate of " in refused
    assert "unable to get local issuer certificate (upstream.ca_file names" in refused


@pytest.mark.parametrize("kind", ["expired", "other"])
async def test_a_certificate_that_is_over_or_of_another_name_is_refused(
    kind: str, authority: trustme.CA, ca_file: str
) -> None:
    """The sentence says which of the two."""
    issued = authority.issue_cert("other.test")
    if kind == "expired":
        ended = datetime.now(UTC) - timedelta(days=1)
        issued = authority.issue_cert("127.0.0.1", not_after=ended)
    async with serving(issued) as url:
        refused = await fetched(url, ca_file=ca_file)

    assert ("certificate has expired" if kind == "expired" else "IP address mismatch") in refused


def test_a_file_that_cannot_be_used_is_told_at_the_start(tmp_path: Path) -> None:
    """One that is missing, and one that holds no certificate."""
    file = tmp_path / "ca.pem"
    with pytest.raises(TrustProblem, match=r"ca\.pem cannot be read: No such file"):
        Upstream(UpstreamSettings(ca_file=str(file)))
    file.write_text("none")
    with pytest.raises(TrustProblem, match="expected certificates in PEM"):
        Upstream(UpstreamSettings(ca_file=str(file)))
    assert ssl.CERT_NONE == trusting(None, verify=False).verify_mode
