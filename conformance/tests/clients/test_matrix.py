"""The table of compatibility says what ran, and nothing else."""

import pytest

from conformance.clients.matrix import COLUMNS, CaseResult, ClientResult, render_page, topic_of
from conformance.clients.pair import Outcome
from conformance.clients.roster import CLIENTS, Client


@pytest.mark.parametrize("listed", CLIENTS, ids=[client.key for client in CLIENTS])
def test_each_scenario_has_a_column(listed: Client) -> None:
    """No scenario of any client is left out of the table."""
    assert set(map(topic_of, listed.scenarios.split())) <= set(COLUMNS)


def test_each_client_names_its_version() -> None:
    """Versions are found in the lists of packages, for clients that are not installed too."""
    assert [] == [client.key for client in CLIENTS if not client.version()[:1].isdigit()]


def test_deviations_are_scenarios() -> None:
    """A reason is given only for what is run."""
    for client in CLIENTS:
        assert set() == set(client.deviations) - set(client.scenarios.split())


@pytest.mark.parametrize("listed", CLIENTS, ids=[client.key for client in CLIENTS])
def test_what_is_left_out_says_why(listed: Client) -> None:
    """A client is either in the default set, or has a reason not to be."""
    assert listed.is_default == (not listed.left_out)


def test_the_page_tells_what_failed_and_what_did_not_run() -> None:
    """A known deviation shows its reason, an unknown one its detail, a missing tool its name."""
    known = next(client for client in CLIENTS if client.key == "python_litellm")
    outcomes = [
        Outcome("show", True, ""),
        Outcome("model_info_tools", False, "exit code 1"),
        Outcome("run", False, "no text"),
    ]
    results = [
        ClientResult(known, outcomes),
        ClientResult(CLIENTS[0], not_run="tool not found: install it"),
    ]
    cases = {"chat": CaseResult(7, {"chat/odd@whole": "It is odd."}, ["chat/new@whole"])}
    page = render_page(results, cases)
    assert f"`model_info_tools`: {known.deviations['model_info_tools']}." in page
    assert "`run`: unexpected: no text." in page
    assert "not run: tool not found: install it." in page
    assert "| `chat` | 7 | 1 | 1 |" in page
    assert "- `chat/odd@whole`: It is odd." in page
