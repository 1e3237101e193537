"""URLs taken apart: where a connection leads to, what `Host` says, what a target begins with."""

import pytest

from gateway.faults import StartProblem
from gateway.upstream.address import Address, Origin, read_address


@pytest.mark.parametrize(
    ("url", "address"),
    [
        (
            "http://127.0.0.1:1234",
            Address(Origin("http", "127.0.0.1", 1234), b"127.0.0.1:1234", b""),
        ),
        ("https://mac.local", Address(Origin("https", "mac.local", 443), b"mac.local", b"")),
        ("http://mac.local:80/", Address(Origin("http", "mac.local", 80), b"mac.local", b"")),
        ("http://[::1]:99/x/", Address(Origin("http", "::1", 99), b"[::1]:99", b"/x")),
        (
            "http://b\xfccher.local/\xfc%20b",
            Address(Origin("http", "b\xfccher.local", 80), b"xn--bcher-kva.local", b"/%C3%BC%20b"),
        ),
    ],
)
def test_a_url_is_taken_apart(url: str, address: Address) -> None:
    """Whatever the settings let through."""
    assert address == read_address(url)


def test_a_name_that_no_header_can_hold_is_a_problem_of_the_start() -> None:
    """It is said in one sentence, and not as a traceback."""
    with pytest.raises(StartProblem, match=r"upstream\.url"):
        read_address("http://" + "\xfc" * 70)
