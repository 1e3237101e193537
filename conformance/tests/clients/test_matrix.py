"""The table of compatibility says what ran, and nothing else."""

from collections import Counter

import pytest

from conformance.clients.__main__ import list_findings
from conformance.clients.matrix import (
    COLUMNS,
    CaseResult,
    ClientResult,
    render_page,
    render_totals,
    topic_of,
)
from conformance.clients.pair import Outcome
from conformance.clients.roster import CLIENTS, Client
from conformance.schemas.ollama import Account, Finding
from conformance.schemas.targets import SHAPES, TARGETS, Ran, totals_of
from conformance.suite.known import Entry, KnownFailing


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
    page = render_page(results, cases, {})
    assert f"`model_info_tools`: {known.deviations['model_info_tools']}." in page
    assert "`run`: unexpected: no text." in page
    assert "not run: tool not found: install it." in page
    assert "| `chat` | 7 | 1 | 1 |" in page
    assert "- `chat/odd@whole`: It is odd." in page


def ran_of(operation: str, *checks: str) -> Ran:
    """Return a run of 8 answers, of which 5 were read by a schema, with findings of some checks."""
    findings = [Finding(operation, check, "anywhere", "wrong", "GET /", "200") for check in checks]
    account = Account(Counter({200: 6, 400: 2}), Counter({SHAPES: 5, "other": 8}), findings)
    known = KnownFailing([Entry("* manners *", "LM Studio's own", "list:1")])
    return Ran(TARGETS[2], operation, account, known)


def test_the_totals_are_those_counted() -> None:
    """Operations, answers and findings are added up; a known finding is no failure."""
    done = [ran_of("load"), ran_of("unload", "manners", "manners", "shapes")]
    done[0].account.troubles.append("no answer")
    page = render_totals(totals_of(done))

    row = "| stand-in | `specs/lmstudio.yaml`, `specs/openai.yaml` | 2 | 16 | 10 | 2 | 2 |"
    assert [row] == [line for line in page.splitlines() if line.startswith("| stand-in")]


def test_a_finding_that_is_not_known_is_wrong() -> None:
    """It is told with its operation; what is known is not."""
    (told,) = list_findings([ran_of("load", "manners"), ran_of("unload", "manners", "shapes")])

    assert told.startswith("stand-in: unload: not as described")
    assert "unload shapes anywhere" in told
    assert "manners" not in told
