"""The page of routes names every route, and only routes."""

from __future__ import annotations

from codegen.problem import Findings
from codegen.routes import page_of_routes
from codegen.rules import read_mappings
from codegen.spec import Specs
from conformance.tests.codegen.harness import FIXTURE, REPOSITORY


def test_every_operation_has_a_line() -> None:
    """Nothing is found in the project's own notes, and no route is left without a state."""
    findings = Findings()
    specs = Specs(REPOSITORY / "specs", REPOSITORY, findings)
    files = read_mappings(REPOSITORY / "specs" / "mappings", REPOSITORY, findings)
    page = page_of_routes(specs, "ollama", {file.name: file for file in files}, findings)

    assert page is not None
    assert [] == findings.problems
    assert "not served" not in page
    for operation in specs.operations("ollama"):
        assert f"| `{operation.method.upper()} {operation.path}` |" in page


def test_a_deviation_of_no_route_is_found() -> None:
    """Without the mappings nothing is served; without the operations no deviation has a place."""
    findings = Findings()
    specs = Specs(REPOSITORY / "specs", REPOSITORY, findings)
    specs.operations = lambda api: ()  # type: ignore[method-assign]
    page_of_routes(specs, "ollama", {}, findings)

    assert {"no-such-operation"} == {problem.check for problem in findings.problems}


def test_a_description_without_notes_has_no_page() -> None:
    """The page is for whoever deviates."""
    findings = Findings()

    assert (
        page_of_routes(Specs(FIXTURE / "specs", FIXTURE, findings), "ollama", {}, findings) is None
    )
