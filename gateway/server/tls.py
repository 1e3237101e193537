"""
TLS for clients: the certificate, its reload, and what is said of one that cannot be used.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable

from ..faults import StartProblem
from ..observability.journal import get_logger
from ..settings.schema import ListenSettings, Settings
from ..settings.sources import SettingsProblem

EXPIRES_SOON_S = 14 * 24 * 3600
"""Seconds before its end from which on a certificate's end is told."""

_EXPIRED, _NOT_YET_VALID = 10, 9
"""OpenSSL's codes for a certificate whose time is over, or has not begun."""

_PLAIN_HTTP = b"Client sent an HTTP request to an HTTPS server.\n"
_FOR_PLAIN_HTTP = (
    b"HTTP/1.0 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(_PLAIN_HTTP), _PLAIN_HTTP)
)
"""What Go's server answers, and so Ollama behind one, to HTTP on a TLS port."""


class TlsProblem(StartProblem):
    """A certificate or a key cannot be used; one sentence names the file and the reason."""


class _Encrypted(Exception):
    """A key wants a password, and nobody is there to type one."""


class ServerTls:
    """The TLS context for clients; a reload puts another certificate into it."""

    def __init__(self, listen: ListenSettings) -> None:
        """Read the certificate and the key. Raises TlsProblem."""
        self.context = _read(listen)
        _tell_end(self.context, listen)

    def prepare(self, settings: Settings) -> Callable[[], None]:
        """Prepare another certificate. Raises SettingsProblem when it cannot be used."""
        listen = settings.listen
        try:
            context = _read(listen)
        except TlsProblem as problem:
            raise SettingsProblem(str(problem)) from None

        def use() -> None:
            # Connections that are open keep the certificate with which they began.
            _load(self.context, listen)
            _tell_end(context, listen)

        return use


def open_tls(listen: ListenSettings) -> ServerTls | None:
    """Return TLS for clients, None if no certificate is set. Raises TlsProblem."""
    if listen.tls_certificate is None:
        if listen.tls_key is not None:
            raise TlsProblem("listen.tls_key is set, but listen.tls_certificate is not")
        return None
    return ServerTls(listen)


def _read(listen: ListenSettings) -> ssl.SSLContext:
    context = _ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _load(context, listen)
    return context


def _load(context: ssl.SSLContext, listen: ListenSettings) -> None:
    """Put a certificate and its key into a context. Raises TlsProblem."""
    certificate, key = listen.tls_certificate, listen.tls_key
    if certificate is None:
        raise TlsProblem("listen.tls_certificate is no longer set, which needs a restart")
    for name, file in (("tls_certificate", certificate), ("tls_key", key)):
        try:
            if file is not None:
                with open(file, "rb"):
                    pass
        except OSError as failure:
            raise TlsProblem(
                f"listen.{name}: the file {file} cannot be read: {failure.strerror}"
            ) from None
    try:
        context.load_cert_chain(certificate, key, password=_ask_nobody)
    except _Encrypted:
        raise TlsProblem(
            f"listen.tls_key: the key in {key or certificate} has a password: "
            "write it to a file without one"
        ) from None
    except ssl.SSLError as failure:
        if failure.reason == "KEY_VALUES_MISMATCH":
            told = f"the key in {key or certificate} does not belong to the certificate in"
            raise TlsProblem(f"listen.tls_key: {told} {certificate}") from None
        where = f"{certificate} and {key}" if key else f"{certificate}"
        raise TlsProblem(
            f"listen.tls_certificate: expected a certificate and its key, in PEM, in {where} "
            f"({failure.reason or 'unreadable'})"
        ) from None


def _ask_nobody() -> str:
    raise _Encrypted


def _tell_end(context: ssl.SSLContext, listen: ListenSettings) -> None:
    """Log that a certificate is no longer or not yet valid, or that its end is near."""
    assert listen.tls_certificate is not None
    log, file = get_logger(), listen.tls_certificate
    try:
        ends_at = _end_of(context, file)
    except ssl.SSLCertVerificationError as failure:
        if failure.verify_code == _EXPIRED:
            log.warning("the certificate for clients has expired", file=file)
        elif failure.verify_code == _NOT_YET_VALID:
            log.warning("the certificate for clients is not valid yet", file=file)
        return
    if ends_at is not None and (left_s := ends_at - time.time()) < EXPIRES_SOON_S:
        log.warning("the certificate for clients expires soon", file=file, left_s=round(left_s))


def _end_of(context: ssl.SSLContext, certificate: str) -> float | None:
    """
    Return when a certificate ends, in seconds since the epoch; None if that cannot be known.

    The library tells it to a client of a handshake only, so there is one within the process.
    Raises SSLCertVerificationError for one that is not valid now.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    # The certificate is trusted as it is: who issued it does not matter here.
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(certificate)
    there, here = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        client.wrap_bio(there, here),
        context.wrap_bio(here, there, server_side=True),
    )
    for side in (*sides, *sides):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    found = sides[0].getpeercert()
    ends = found.get("notAfter") if found else None
    return ssl.cert_time_to_seconds(ends) if isinstance(ends, str) else None


class _ServerContext(ssl.SSLContext):
    """A context whose connections can write past TLS, as long as there is none."""

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Make one connection's side, which knows where its bytes go."""
        made = super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        if isinstance(made, _ServerSide):
            made.outgoing = outgoing
        return made


class _ServerSide(ssl.SSLObject):
    """The server's side of one connection, which answers plain HTTP instead of hanging up."""

    outgoing: ssl.MemoryBIO | None = None
    has_answered = False

    def do_handshake(self) -> None:
        """Shake hands; a client that speaks HTTP is told so, and is closed with its next bytes."""
        try:
            super().do_handshake()
        except ssl.SSLError as failure:
            if failure.reason != "HTTP_REQUEST" or self.has_answered or self.outgoing is None:
                raise
            self.has_answered = True
            self.outgoing.write(_FOR_PLAIN_HTTP)
            log = get_logger()
            log.info("plain HTTP on the TLS port")
            # The loop sends what is there for a handshake that waits for the client.
            raise ssl.SSLWantReadError from None


_ServerContext.sslobject_class = _ServerSide
