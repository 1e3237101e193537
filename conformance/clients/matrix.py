"""
The table of compatibility: what clients and cases came to in a run, as a page.

Nothing is run here: the outcomes come from `__main__`, and a page says only what they say.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from conformance.clients.pair import Outcome
from conformance.clients.roster import Client
from conformance.schemas.targets import Target, Totals

TOPICS: Mapping[str, str] = {
    "missing model": r"^missing_",
    "left early": r"abort",
    "broken off": r"breaks_off",
    "tools, streamed": r"tools.*stream|stream.*tools",
    "tools": r"tool|agent|_and_call",
    "thinking": r"think|reason",
    "pictures": r"image|vision",
    "structured": r"format|structured|json|schema|output_",
    "embed, old": r"embeddings_legacy",
    "embed": r"embed",
    "pull": r"pull",
    "load, unload": r"unload|and_stop|keep_?alive",
    "ps": r"^ps$|list_running",
    "list": r"^(list|models|list_models|ollama_models|validate_model_on_init)$",
    "show": r"^show|model_info|window_from_show",
    "other": r"version|heartbeat|cp_and_rm|create_model|create_copy_delete",
    "chat": r"^generateText$",
    "generate": r"generate|complet|^llm$|llm_",
    "chat, streamed": r"(?<!no_)stream",
}
"""What scenarios are about, by their names: the first pattern that is found in one counts."""
OTHERS = "chat"
COLUMNS = (
    "list",
    "show",
    "chat",
    "chat, streamed",
    "tools",
    "tools, streamed",
    "structured",
    "thinking",
    "pictures",
    "generate",
    "embed",
    "embed, old",
    "pull",
    "ps",
    "load, unload",
    "missing model",
    "left early",
    "broken off",
    "other",
)
HEAD = """\
# Compatibility

`nox -s clients -- --write` writes this page from the results of a run.
The gateway ran with the stand-in for LM Studio.
Only the form of answers was judged, not a model.
"""


@dataclass
class ClientResult:
    """What a client came to: its outcomes, or why it was not run."""

    client: Client
    outcomes: Sequence[Outcome] = ()
    not_run: str = ""


@dataclass
class CaseResult:
    """What the cases of an endpoint came to."""

    passed: int = 0
    known: dict[str, str] = field(default_factory=dict)
    """Runs that fail as listed, each with its reason."""
    wrong: list[str] = field(default_factory=list)


def topic_of(scenario: str) -> str:
    """Return what a scenario is about."""
    found = (topic for topic, pattern in TOPICS.items() if re.search(pattern, scenario))
    return next(found, OTHERS)


def render_page(
    clients: Sequence[ClientResult],
    cases: Mapping[str, CaseResult],
    totals: Mapping[Target, Totals],
) -> str:
    """Return the page."""
    parts = [
        HEAD,
        render_clients(clients),
        render_deviations(clients),
        render_cases(cases),
        render_totals(totals),
    ]
    return "\n".join(part for part in parts if part)


def render_clients(results: Sequence[ClientResult]) -> str:
    """Return the clients by what their scenarios are about: how many of how many passed."""
    lines = [
        "## Clients",
        "",
        "A cell says how many of the scenarios that ran have passed. A cell is empty if the client",
        "or its driver does not do this.",
        "",
        table_row(["client", "version", *COLUMNS]),
        table_row(["---"] * (2 + len(COLUMNS))),
    ]
    for result in results:
        names = [result.client.name, result.client.version()]
        if result.not_run:
            names[1] += ", not run"
        lines.append(table_row([*names, *(cell_of(result, topic) for topic in COLUMNS)]))
    return "\n".join(lines) + "\n"


def cell_of(result: ClientResult, topic: str) -> str:
    """Return what a client came to in one topic."""
    about = [one for one in result.outcomes if topic_of(one.name) == topic]
    passed = sum(one.ok for one in about)
    return f"{passed}/{len(about)}" if about else ""


def render_deviations(results: Sequence[ClientResult]) -> str:
    """Return what did not pass or did not run, and why."""
    lines = ["### What does not pass", ""]
    for result in results:
        if result.not_run:
            lines.append(f"- {result.client.name}: not run: {result.not_run}.")
        for one in result.outcomes:
            if not one.ok:
                reason = result.client.deviations.get(one.name, f"unexpected: {one.detail}")
                lines.append(f"- {result.client.name}, `{one.name}`: {' '.join(reason.split())}.")
    return "\n".join(lines if len(lines) > 2 else [*lines, "Nothing."]) + "\n"


def render_cases(results: Mapping[str, CaseResult]) -> str:
    """Return the endpoints with how many runs of cases passed, and what fails as known."""
    lines = [
        "## Endpoints",
        "",
        "A run is a case with one way of cutting the upstream's answer into pieces.",
        "",
        table_row(["cases", "passed", "known to fail", "wrong"]),
        table_row(["---"] * 4),
    ]
    for name, result in sorted(results.items()):
        counts = (result.passed, len(result.known), len(result.wrong))
        lines.append(table_row([f"`{name}`", *map(str, counts)]))
    known = {name: why for result in results.values() for name, why in result.known.items()}
    if known:
        lines += ["", "### Cases known to fail", ""]
        lines += [f"- `{name}`: {why}" for name, why in sorted(known.items())]
    return "\n".join(lines) + "\n"


def render_totals(totals: Mapping[Target, Totals]) -> str:
    """Return what requests made from the descriptions came to."""
    lines = [
        "## Requests made from the descriptions",
        "",
        "schemathesis makes valid and invalid requests from a description, and checks the answers.",
        "An answer's body is checked if the description has a schema for it.",
        "`conformance/schemas/known_upstream.txt` lists the known differences of LM Studio.",
        "",
        table_row(
            ["asked", "by", "operations", "requests", "answers read", "known findings", "failures"]
        ),
        table_row(["---"] * 7),
    ]
    for target, total in totals.items():
        by = ", ".join(f"`specs/{api}.yaml`" for api in target.apis)
        counts = (
            total.operations,
            total.requests,
            total.validated,
            total.known,
            total.failures,
        )
        lines.append(table_row([target.name, by, *map(str, counts)]))
    return "\n".join(lines) + "\n"


def table_row(cells: Sequence[str]) -> str:
    """Return a row of a table."""
    return f"| {' | '.join(cells)} |"
