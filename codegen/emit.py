"""
Printing: modules decided elsewhere become text through templates, formatted by ruff.

Undefined names raise. Nothing is decided here or in a template.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from codegen import ir
from codegen.structs import header_for

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

    def mapping(self, module: ir.Module) -> str:
        """Return the text of a compiled mapping."""
        template = self._environment.get_template("mapping.py.j2")
        return template.render(module=module, header=header_for(Path(module.source)))

    def endpoints(self, modules: list[ir.Module]) -> str:
        """Return the text of the endpoint table."""
        template = self._environment.get_template("endpoints.py.j2")
        endpoints = [endpoint for module in modules for endpoint in module.endpoints]
        return template.render(
            header=header_for(Path("specs/mappings")),
            endpoints=endpoints,
            modules=sorted({endpoint.module for endpoint in endpoints}),
        )


def format_python(files: dict[str, str]) -> dict[str, str]:
    """Return Python texts sorted and formatted by ruff, as the project's own files are."""
    formatted = {}
    for name, text in files.items():
        sorted_text = _ruff(
            ["check", "--select", "I,F401,UP,RUF", "--ignore", "RUF001", "--fix", "-q"], name, text
        )
        formatted[name] = _ruff(["format", "-q"], name, sorted_text)
    return formatted


def _ruff(arguments: list[str], name: str, text: str) -> str:
    command = [sys.executable, "-m", "ruff", *arguments, *RUFF, "--stdin-filename", name, "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1) or (not done.stdout and text):
        raise RuntimeError(f"ruff could not read the generated {name}: {done.stderr}")
    return done.stdout
