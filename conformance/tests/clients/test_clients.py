"""Every client of the roster is content, but for what the roster says and why."""

from conformance.clients.pair import Pair, failures_of, names_of
from conformance.clients.roster import Client
from conformance.tests.clients.conftest import required


def test_the_client_is_content(pair: Pair, client: Client) -> None:
    """
    All scenarios run, and those fail that are known to.

    An answer that a client leaves early is left upstream too.
    """
    command = required(client.command)
    drive = pair.drive_and_leave if client.leaves_one else pair.drive
    outcomes = drive(command)
    failed = failures_of(outcomes)
    unknown = {name: why for name, why in failed.items() if name not in client.deviations}
    assert {} == unknown
    healed = sorted(set(client.deviations) - set(failed))
    assert [] == healed, f"take these out of the deviations of {client.key}: they pass"
    assert client.scenarios.split() == names_of(outcomes)
