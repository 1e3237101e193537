"""
What the generator's tests share: copies of projects, edits of them, and what the generator says.

No test stands here, and nothing that knows a single check.
"""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from codegen.compiler.lint import validate_documents
from codegen.descriptions import signatures, source
from codegen.descriptions.facts import Facts
from codegen.descriptions.problem import Findings, GenerationFailed, Problem
from codegen.descriptions.signatures import Signature
from codegen.descriptions.spec import Specs
from codegen.generator import PACKAGES, Files, Generator
from conformance.runner.client import ask
from conformance.runner.runner import Bench

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[2]
FIXTURE = HERE / "project"

RUNTIME = (
    "engine/__init__.py",
    "engine/endpoint.py",
    "engine/limits.py",
    "explain/__init__.py",
    "faults.py",
    "observability/__init__.py",
    "observability/journal.py",
    "observability/lines.py",
    "observability/record.py",
    "settings/__init__.py",
    "settings/schema.py",
    *(
        f"settings/tables/{path.name}"
        for path in sorted((REPOSITORY / "gateway" / "settings" / "tables").glob("*.py"))
    ),
    "runtime/__init__.py",
    "runtime/outcome.py",
    "runtime/needs.py",
    "runtime/patching.py",
    "runtime/values.py",
    "transforms/rewriter.py",
    *(f"wire/{path.name}" for path in sorted((REPOSITORY / "gateway" / "wire").glob("*.py"))),
)
"""The gateway's own modules that generated code stands on; the fixture project borrows them."""

Known = tuple[str, bytes]

_documents: dict[Known, tuple[source.Mapping, tuple[Problem, ...]]] = {}
_signatures: dict[tuple[str, tuple[bytes, ...]], dict[str, Signature]] = {}
_specs: dict[tuple[Known, ...], Specs] = {}


def load_once(path: Path, root: Path, findings: Findings) -> source.Mapping:
    """Read a file as the generator does, each text of it only once: reading takes most time."""
    key = _known(path, root)
    if key not in _documents:
        own = Findings()
        _documents[key] = source.load(path, root, own), tuple(own.problems)
    document, problems = _documents[key]
    findings.problems.extend(problems)
    return document


def sign_once(path: Path, root: Path) -> dict[str, Signature]:
    """Read the signatures of transforms or steps as the generator does, each text only once."""
    modules = sorted(path.glob("*.py")) if path.is_dir() else [path]
    key = (path.relative_to(root).as_posix(), tuple(module.read_bytes() for module in modules))
    if key not in _signatures:
        _signatures[key] = signatures.read_signatures(path, root)
    return _signatures[key]


def specs_once(folder: Path, root: Path, findings: Findings) -> Specs:
    """Return the specs of a project; those without problems keep what they have worked out."""
    key = tuple(_known(path, root) for path in sorted(folder.glob("*.yaml")))
    specs = Specs(folder, root, findings)
    known = _specs.get(key)
    if known is not None and not known._findings.problems:
        specs._structs, specs._components = known._structs, known._components
        specs._operations = known._operations
    else:
        _specs[key] = specs
    return specs


def _known(path: Path, root: Path) -> Known:
    return path.relative_to(root).as_posix(), path.read_bytes()


@contextmanager
def reading_once() -> Iterator[None]:
    """Let the generator read no text twice: it is run some hundred times here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("codegen.descriptions.spec.load", load_once)
        patch.setattr("codegen.rules.reader.load", load_once)
        patch.setattr("codegen.generator.read_signatures", sign_once)
        patch.setattr("codegen.generator.Specs", specs_once)
        yield


def copy_fixture(folder: Path) -> Path:
    """Return a copy of the fixture project, with what it borrows from the gateway."""
    root = folder / "project"
    shutil.copytree(FIXTURE, root, ignore=shutil.ignore_patterns("__pycache__"))
    for name in RUNTIME:
        (root / "gateway" / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / "gateway" / name, root / "gateway" / name)
    shutil.copy(REPOSITORY / "pyproject.toml", root)
    return root


def copy_real(folder: Path) -> Path:
    """Return a copy of what the generator reads of the real project."""
    root = folder / "real"
    shutil.copytree(REPOSITORY / "specs", root / "specs")
    shutil.copytree(REPOSITORY / "docs" / "facts", root / "docs" / "facts")
    ignored = shutil.ignore_patterns("__pycache__", *PACKAGES)
    shutil.copytree(REPOSITORY / "gateway", root / "gateway", ignore=ignored)
    return root


@contextmanager
def edited(root: Path, texts: Mapping[str, str]) -> Iterator[None]:
    """Have other texts in some files of a copy; afterwards all is as it was."""
    before = {
        name: (root / name).read_text(encoding="utf-8") if (root / name).exists() else None
        for name in texts
    }
    try:
        for name, text in texts.items():
            (root / name).write_text(text, encoding="utf-8")
        yield
    finally:
        for name, old in before.items():
            if old is None:
                (root / name).unlink()
            else:
                (root / name).write_text(old, encoding="utf-8")


def replaced(root: Path, name: str, old: str, new: str) -> str:
    """Return a file's text with one passage exchanged; the passage must stand there once."""
    text = (root / name).read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{name} holds {text.count(old)} times: {old}"
    return text.replace(old, new)


def problems_of(root: Path, *, documents: bool = False) -> tuple[Problem, ...]:
    """
    Return what the generator finds in a project.

    `documents` also validates the specs as OpenAPI, as a whole run does; that is slow.
    """
    generator = Generator(root)
    if documents:
        validate_documents(generator.specs, Facts(root), generator.findings)
    try:
        generator.compile()
    except GenerationFailed as failure:
        return failure.problems
    return ()


def written(files: Files, root: Path) -> None:
    """Write generated files without the note that the command prints."""
    for name, text in files.texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


def with_gateway(root: Path, folder: Path) -> Path:
    """
    Return a copy of the real gateway, generated anew of a project's specs and rules.

    It is a fresh one each time: what was compiled of generated code must not outlive an edit.
    """
    ignored = shutil.ignore_patterns("__pycache__", *PACKAGES)
    shutil.copytree(REPOSITORY / "gateway", folder / "gateway", ignore=ignored)
    shutil.copytree(root / "gateway", folder / "gateway", dirs_exist_ok=True)
    written(Generator(root).generate(), folder)
    return folder


@dataclass(frozen=True)
class Serving:
    """A gateway that serves, and the stand-in behind it."""

    bench: Bench

    def sent_for(self, path: str, body: object) -> dict[str, Any]:
        """Send a request, which must be answered with 200; return what LM Studio was sent."""
        pair = self.bench.submit(self.bench.pair_for)
        self.bench.submit(pair.control.reset)
        content = json.dumps(body).encode()
        answer = self.bench.submit(lambda: ask(pair.gateway_url, "POST", path, body=content))
        assert answer.status == 200, answer.body
        seen = self.bench.submit(pair.control.seen)
        (sent,) = [one for one in seen if one.path == "/v1/chat/completions"]
        found: dict[str, Any] = json.loads(sent.body)
        return found


@contextmanager
def serving(root: Path) -> Iterator[Serving]:
    """Serve a project's own `gateway`, with the stand-in behind it."""
    with gateway_of(root) as modules, Bench() as bench:
        assert str(root) in str(modules["chat"].__file__)
        yield Serving(bench)


@contextmanager
def gateway_of(root: Path) -> Iterator[Mapping[str, ModuleType]]:
    """
    Import a project's own `gateway` in place of the real one, for as long as the context lasts.

    Yields its modules by name: `context`, `faults`, `outcome`, `run`, and the generated ones.
    """
    real = {name: module for name, module in sys.modules.items() if _is_gateway(name)}
    for name in real:
        del sys.modules[name]
    sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    try:
        names = {
            "context": "gateway.runtime.context",
            "faults": "gateway.faults",
            "outcome": "gateway.runtime.outcome",
            "run": "gateway.engine.run",
        }
        names |= {
            path.stem: f"gateway.{package}.{path.stem}"
            for package in PACKAGES
            for path in sorted((root / "gateway" / package).glob("[a-z]*.py"))
        }
        yield {name: importlib.import_module(full) for name, full in names.items()}
    finally:
        sys.path.remove(str(root))
        for name in [name for name in sys.modules if _is_gateway(name)]:
            del sys.modules[name]
        sys.modules.update(real)


def _is_gateway(name: str) -> bool:
    return name == "gateway" or name.startswith("gateway.")
