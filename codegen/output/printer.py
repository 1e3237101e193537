"""
Prints compiled modules through templates, and has ruff format the text.

An undefined name in a template raises. Nothing is decided here or in a template.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from codegen.compiler import ir, runtime
from codegen.output import python
from codegen.output.go_rules import GoRules
from codegen.output.structs import header_for

TEMPLATES = Path(__file__).parent / "templates"
RUFF = (
    *("--isolated", "--target-version", "py311", "--line-length", "100"),
    *("--config", "lint.isort.known-first-party = ['gateway']"),
)
"""Stated here and not read from files: the text must not depend on where the generator runs, nor
on what has been generated before."""


class Printer:
    """Renders generated modules."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(TEMPLATES),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,  # it prints Python, not HTML
        )
        self._environment.filters |= {
            "imports": python.imports,
            "python": python.expression,
            "parameter": python.parameter,
            "lines": python.statements,
        }

    def mapping(self, module: ir.Module) -> str:
        """Return the text of a compiled mapping."""
        template = self._environment.get_template("mapping.py.j2")
        return template.render(module=module, header=header_for(Path(module.source)))

    def endpoints(
        self, modules: list[ir.Module], rules: GoRules, passed_on: Sequence[tuple[str, str]]
    ) -> str:
        """Return the text of the endpoint table and of the tables of what is passed on."""
        template = self._environment.get_template("endpoints.py.j2")
        endpoints = [endpoint for module in modules for endpoint in module.endpoints]
        passthrough = [row for module in modules for row in module.passed_on]
        references = {runtime.FINAL, runtime.ENDPOINT, runtime.GO_RULES}
        if passthrough:
            references.add(runtime.PASSED_ON)
        changing = [row for row in passthrough if row.request or row.answer or row.stream]
        if changing:
            references.add(runtime.CHANGE)
        rewriting = [row for row in passthrough if row.rewrites]
        if rewriting:
            references.add(runtime.REWRITE)
        if any(row.missing or row.lacking for row in passthrough):
            references.add(runtime.REFUSAL)
        changing += rewriting
        changing += [row for row in passthrough if row.instead is not None]
        references |= {runtime.plan(row.module) for row in changing}
        references |= {runtime.plan(endpoint.module) for endpoint in endpoints}
        needs = [row.needs for row in endpoints] + [row.needs for row in passthrough]
        if any(needs):
            references.add(runtime.NEEDS)
        if rules.checks:
            references.add(runtime.TRANSFORMS)
        if any(endpoint.request is not None for endpoint in endpoints):
            references |= {runtime.MSGSPEC, runtime.structs("ollama"), runtime.BODY_READER}
        if not all(endpoint.reads_body for endpoint in endpoints):
            references.add(runtime.UNREAD_BODY)
        return template.render(
            header=header_for(Path("specs/mappings")),
            endpoints=endpoints,
            rules=rules,
            references=references,
            passed_on=passed_on,
            passthrough=passthrough,
        )


def format_python(files: dict[str, str]) -> dict[str, str]:
    """
    Return Python texts sorted and formatted by ruff, as the project's own files are.

    Raises RuntimeError, with what ruff says, when a text is no Python.
    """
    with TemporaryDirectory() as folder:
        paths = {name: Path(folder) / name for name in files}
        for name, path in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files[name], encoding="utf-8", newline="\n")
        _ruff("check", "--select", "I,UP,RUF", "--ignore", "RUF001", "--fix", folder=folder)
        told = _ruff("format", folder=folder)
        if told:
            raise RuntimeError(f"ruff could not read what was generated: {told}")
        return {name: path.read_text(encoding="utf-8") for name, path in paths.items()}


def _ruff(*arguments: str, folder: str) -> str:
    """Run ruff over a folder; return what it complains of."""
    command = [sys.executable, "-m", "ruff", *arguments, "--quiet", "--no-cache", *RUFF, folder]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr
