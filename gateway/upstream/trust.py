"""
Whose certificates are trusted when LM Studio is called over TLS.
"""

from __future__ import annotations

import ssl
from functools import lru_cache

from ..faults import StartProblem


class TrustProblem(StartProblem):
    """The file of trusted certificates cannot be used."""


@lru_cache(maxsize=8)
def trusting(ca_file: str | None = None, verify: bool = True) -> ssl.SSLContext:
    """
    Return a context that trusts the certificates of a file, or else those of the system.

    They are read once: that costs more than a connection. Without `verify`, every certificate is
    accepted, whatever its name is. Raises TrustProblem.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError:
        raise TrustProblem(f"expected certificates in PEM in {ca_file}") from None
    except OSError as failure:
        raise TrustProblem(f"the file {ca_file} cannot be read: {failure.strerror}") from None
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
