"""
Checks that need the whole project: parts that nothing uses, operations that no mapping serves, and
documents that are not valid OpenAPI.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing.exceptions import Unresolvable

from codegen.compiler.builder import Project
from codegen.compiler.declared import declared
from codegen.compiler.needs import check_marks
from codegen.descriptions.facts import CITATION, FOLDER, Facts
from codegen.descriptions.problem import Findings, Position, did_you_mean
from codegen.descriptions.signatures import Signature
from codegen.descriptions.source import Mapping, Sequence, Value, plain
from codegen.descriptions.spec import Specs
from codegen.rules.model import SHARED

SERVED = "ollama"


def validate_documents(specs: Specs, facts: Facts, findings: Findings) -> None:
    """
    Report what is wrong with the specs themselves, whether or not a rule uses it.

    Those that call themselves OpenAPI must be valid OpenAPI 3.1; in all of them references lead
    somewhere, and notes of how the wire differs from documents cite a fact that is there.
    """
    for api, document in specs.documents.items():
        _check_notes(specs, facts, findings, api, document)
        if "openapi" not in document:
            continue
        validator = OpenAPIV31SpecValidator(cast("dict[str, Any]", plain(document)))
        try:
            for error in validator.iter_errors():
                where = "/".join(str(part) for part in error.absolute_path)
                findings.add(
                    "not-openapi",
                    _position_at(document, error.absolute_path),
                    f"{where}: {error.message.splitlines()[0][:200]}",
                )
        except Unresolvable:
            # A reference that leads nowhere was reported at its own position.
            continue


def _position_at(value: Value, path: Iterable[str | int]) -> Position:
    position = value.position
    for part in path:
        if isinstance(value, Mapping) and str(part) in value:
            position = value.key(str(part)).position
            value = value.entries[str(part)][1]
        elif isinstance(value, Sequence) and isinstance(part, int):
            value = value.items[part]
            position = value.position
    return position


def check_project(project: Project) -> None:
    """Report dead transforms and shared rules, and endpoints of the spec that no plan serves."""
    for name, signature in project.transforms.items():
        if name not in project.used_transforms:
            project.findings.add("unused-transform", _place(signature), f"no rule calls `{name}`")
        if not signature.documented:
            project.findings.add(
                "undocumented-transform",
                _place(signature),
                f"`{name}` needs a docstring that says what it does, with one example",
            )
    for name, signature in project.steps.items():
        if name not in project.used_steps:
            project.findings.add("unused-step", _place(signature), f"no plan runs `{name}`")
    _check_annotations(project)
    shared = project.files.get(SHARED)
    if shared is not None:
        for kind, items in (("shape", shared.shapes), ("table", shared.tables)):
            for name, item in items.items():
                if name not in project.used_shared:
                    project.findings.add(
                        f"unused-{kind}", item.position, f"no mapping uses the {kind} `{name}`"
                    )
    _check_served(project)
    check_marks(project)


def _check_annotations(project: Project) -> None:
    """Types of transforms and steps are such as rules can be checked against."""
    for kind, found in (("transform", project.transforms), ("step", project.steps)):
        for signature in found.values():
            texts = {
                item.name: item.annotation for item in signature.parameters if item.name != "run"
            }
            if kind == "transform":
                texts["its result"] = signature.returns
            for name, text in texts.items():
                if not declared(text, project.specs).is_readable:
                    project.findings.add(
                        "unreadable-type",
                        _place(signature),
                        f"`{signature.name}` declares {name} as `{text}`, a type that no "
                        "description has",
                    )


def _place(signature: Signature) -> Position:
    return Position(signature.file, signature.line, 1)


def _check_notes(specs: Specs, facts: Facts, findings: Findings, api: str, value: Value) -> None:
    """Follow every reference, and have every `x-wire` note cite a fact that is there."""
    if isinstance(value, Sequence):
        for item in value:
            _check_notes(specs, facts, findings, api, item)
    elif isinstance(value, Mapping):
        specs.follow(api, value)
        for key, item in value.items():
            if key.text == "x-wire":
                _check_proof(facts, findings, str(plain(item)), item.position)
            _check_notes(specs, facts, findings, api, item)


def check_reasons(project: Project, facts: Facts) -> None:
    """Have what is changed of what is passed on cite the fact that makes it necessary."""
    for file in project.files.values():
        patch, instead = file.patch, file.instead
        changes = patch.reasoned if patch is not None else ()
        for one in (*changes, *((instead,) if instead is not None else ())):
            _check_proof(facts, project.findings, one.why, one.why_position, "reason")


def _check_proof(
    facts: Facts, findings: Findings, note: str, position: Position, what: str = "note"
) -> None:
    cited = list(CITATION.finditer(note))
    if not cited:
        findings.add(
            "wire-unproved",
            position,
            f"this {what} cites no fact",
            hint="say where it stands, such as `(docs/facts/lmstudio.md#unknown-path)`",
        )
    for citation in cited:
        page, anchor = citation.groups()
        if page not in facts.pages():
            hint = did_you_mean(page, facts.pages())
        elif anchor not in facts.anchors(page):
            hint = did_you_mean(anchor, facts.anchors(page))
        else:
            continue
        findings.add(
            "wire-unproved",
            position,
            f"`{citation.group()}`: no such fact",
            hint=hint or f"a fact is an anchor on a page of {FOLDER}/",
        )


def _check_served(project: Project) -> None:
    served: set[str] = set()
    for file in project.files.values():
        passed = file.passthrough
        for name, place in (
            *file.operations,
            *((*passed.operations, *passed.below) if passed is not None else ()),
        ):
            if name in served:
                project.findings.add(
                    "endpoint-served-twice", place, f"{name} is served by another mapping too"
                )
            served.add(name)
    for operation in project.specs.operations(SERVED):
        if operation.name not in served:
            project.findings.add(
                "endpoint-without-plan",
                operation.position,
                f"{operation.name} is described and no mapping serves it",
            )
