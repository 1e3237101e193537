"""
Checks that need the whole project: what nothing uses, what nobody serves, documents that are no
OpenAPI.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from openapi_spec_validator import OpenAPIV31SpecValidator

from codegen.mapping import SHARED, Project
from codegen.problem import Findings, Position
from codegen.source import load, plain

SERVED = "ollama"


def validate_documents(root: Path, findings: Findings) -> None:
    """Report every spec that is not valid OpenAPI 3.1."""
    for path in sorted((root / "specs").glob("*.yaml")):
        document = load(path, root, findings)
        if "openapi" not in document:
            continue
        for error in OpenAPIV31SpecValidator(cast("dict[str, Any]", plain(document))).iter_errors():
            where = "/".join(str(part) for part in error.absolute_path)
            findings.add(
                "not-openapi",
                Position(path.relative_to(root).as_posix(), 1, 1),
                f"{where}: {error.message[:200]}",
            )


def check_project(project: Project) -> None:
    """Report dead transforms and shared rules, and endpoints of the spec that no plan serves."""
    transforms_file = "gateway/transforms"
    for name, signature in project.transforms.items():
        if name not in project.used_transforms:
            project.findings.add(
                "unused-transform", Position(transforms_file, 1, 1), f"no rule calls `{name}`"
            )
        if not signature.documented:
            project.findings.add(
                "undocumented-transform",
                Position(transforms_file, 1, 1),
                f"`{name}` needs a docstring that says what it does, with one example",
            )
    for name in project.steps:
        if name not in project.used_steps:
            project.findings.add(
                "unused-step", Position("gateway/steps.py", 1, 1), f"no plan runs `{name}`"
            )
    shared = project.files.get(SHARED)
    if shared is not None:
        for kind, items in (("shape", shared.shapes), ("table", shared.tables)):
            for name, item in items.items():
                if name not in project.used_shared:
                    project.findings.add(
                        f"unused-{kind}", item.position, f"no mapping uses the {kind} `{name}`"
                    )
    _check_served(project)


def _check_served(project: Project) -> None:
    served = {name for file in project.files.values() for name, _ in file.operations}
    for operation in project.specs.operations(SERVED):
        if operation.name not in served:
            project.findings.add(
                "endpoint-without-plan",
                operation.position,
                f"{operation.name} is described and no mapping serves it",
            )
