"""The page of routes names every route, and only routes."""

from __future__ import annotations

from pathlib import Path

import pytest

from codegen.compiler.coverage import Coverage, Passage
from codegen.descriptions.checks import check_descriptions
from codegen.descriptions.problem import Findings
from codegen.descriptions.spec import Specs
from codegen.output.routes_page import PASSED_ON, page_of_routes, routes_passed_on
from codegen.rules.reader import read_mappings
from conformance.tests.codegen.harness import FIXTURE, REPOSITORY


def test_every_operation_has_a_line() -> None:
    """Nothing is found in the project's own notes, and no route is left without a state."""
    findings = Findings()
    specs = Specs(REPOSITORY / "specs", REPOSITORY, findings)
    files = read_mappings(REPOSITORY / "specs" / "mappings", REPOSITORY, findings)
    coverage = Coverage(specs, findings)
    page = page_of_routes(specs, "ollama", {file.name: file for file in files}, coverage)

    assert page is not None
    assert [] == findings.problems
    assert "not served" not in page
    for operation in specs.operations("ollama"):
        assert f"| `{operation.method.upper()} {operation.path}` |" in page


def test_a_deviation_of_no_route_is_found() -> None:
    """Without the mappings nothing is served; without the operations no deviation has a place."""
    findings = Findings()
    specs = Specs(REPOSITORY / "specs", REPOSITORY, findings)
    specs.operations = lambda api: ()  # type: ignore[method-assign]  # none is described
    check_descriptions(specs, findings)

    assert {"no-such-operation"} == {problem.check for problem in findings.problems}


def test_a_description_without_notes_has_no_page() -> None:
    """The page is for whoever deviates."""
    findings = Findings()
    specs = Specs(FIXTURE / "specs", FIXTURE, findings)

    assert page_of_routes(specs, "ollama", {}, Coverage(specs, findings)) is None


def test_a_change_is_shown_with_its_reason() -> None:
    """The page links to the fact from where it is; COVERAGE.md does so from the root."""
    findings = Findings()
    specs = Specs(REPOSITORY / "specs", REPOSITORY, findings)
    coverage = Coverage(specs, findings)
    files = read_mappings(REPOSITORY / "specs" / "mappings", REPOSITORY, findings)
    why = "it is refused (docs/facts/lmstudio.md#tool-choice)"
    change = Passage("request", ("tools", "tool_choice"), "changed in the", why)
    coverage.note_passages(files[0], "`POST /v1/x`", [change])

    page = page_of_routes(specs, "ollama", {}, coverage) or ""
    shown = "changed in the request: `tools`, `tool_choice` | it is refused"
    assert f"| `POST /v1/x` | {shown} ([tool-choice](facts/lmstudio.md#tool-choice)) |" in page
    assert f"| {shown} ([tool-choice](docs/facts/lmstudio.md#tool-choice)) |" in coverage.page()


NOT_OLLAMAS = {
    "POST /v1/decisions": "LM Studio's own clients ask for it (docs/facts/lmstudio.md#systemone)",
    "POST /v1/messages/count_tokens": "Ollama does not have it (docs/facts/ollama.md#routes)",
}
"""Routes below /v1 that are described and that Ollama does not have, and how that is known."""


def test_what_is_passed_on_is_what_openai_describes() -> None:
    """A route of LM Studio's that is described, and that Ollama has too, is in the table."""
    findings = Findings()
    specs = Specs(REPOSITORY / "specs", REPOSITORY, findings)

    def routes(api: str) -> set[str]:
        return {f"{one.method.upper()} {one.path.split('{')[0]}" for one in specs.operations(api)}

    found = {f"{method} {path.split('{')[0]}" for method, path in routes_passed_on(specs, "ollama")}

    assert [] == findings.problems
    # What Ollama's own description has is served by a plan, and not passed on.
    assert set() == found & routes("ollama")
    assert set(NOT_OLLAMAS) == routes("openai") - found - routes("ollama")


@pytest.mark.parametrize("route", ["post /v1/x", "POST v1/x", "POST", "FETCH /v1/x"])
def test_a_route_passed_on_is_method_and_path(tmp_path: Path, route: str) -> None:
    """Anything else would be no route that a request could have."""
    (tmp_path / "ollama.yaml").write_text(f"{PASSED_ON}:\n  {route}: passed on\n", "utf-8")
    findings = Findings()
    check_descriptions(Specs(tmp_path, tmp_path, findings), findings)

    assert [f"`{route}` is no route: write `GET /path`"] == [
        problem.message for problem in findings.problems
    ]
