"""
Which rooms may import which libraries, and where endpoint paths may stand, read as text.

Who may import whom among our own packages is held by import-linter; see `test_rooms`.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from codegen.generator import PACKAGES
from conformance.tests.codegen.harness import REPOSITORY

ONLY_IN = {
    "litestar": {"gateway/app.py"},
    "httpx": {"gateway/upstream/httpx_transport.py"},
    "aiohappyeyeballs": {"gateway/upstream/dialing.py"},
    "opentelemetry": {"gateway/observability/tracing.py"},
    "httptools": {
        "gateway/upstream/connection.py",
        "gateway/upstream/incoming.py",
        "gateway/server/parsing.py",
    },
}
"""Libraries that one layer wraps, so that exchanging one stays a matter of that layer."""

WITH_PATHS = {
    "gateway/server/routes.py": "names /health, which no client API describes",
    "gateway/server/keys.py": "knows which route takes a key in a header of its own",
    "gateway/observability/metrics.py": "answers /metrics, which no client API describes",
    "gateway/observability/tracing.py": "gives calls of LM Studio the conventions' names",
    "gateway/server/dialects.py": "tells the dialects that it speaks by the start of their paths",
    "gateway/cli/acting.py": "completes names by asking as a client does",
    "gateway/console/actions.py": "asks the gateway itself, as a client does",
    "gateway/cli/models.py": "asks the running gateway as a client does",
    "gateway/cli/ps.py": "asks the running gateway as a client does",
    "gateway/explain/files.py": "reads cases, whose default path begins with /api/",
    "gateway/upstream/identity.py": "asks an unknown server for the lists that tell servers apart",
}
"""Hand-written features that know endpoint paths, and why each must."""

GENERATED = set(PACKAGES)

ENDPOINT_PATH = re.compile(r"^/(api|v1|health|metrics)(/|$)")


def sources(*folders: str) -> list[str]:
    """Return the Python files below some folders, tests and generated code aside."""
    return [
        path.relative_to(REPOSITORY).as_posix()
        for folder in folders
        for path in sorted((REPOSITORY / folder).rglob("*.py"))
        if "tests" not in path.parts and not GENERATED & set(path.parts)
    ]


@cache
def parsed(path: Path) -> ast.Module:
    """Parse a file."""
    return ast.parse(path.read_text(encoding="utf-8"), path.name)


def imports_of(name: str) -> Iterator[str]:
    """Yield every module that a file imports, wherever in it."""
    for node in ast.walk(parsed(REPOSITORY / name)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = ".".join(Path(name).parent.parts[: len(Path(name).parts) - node.level])
            base = f"{package}.{node.module or ''}" if node.level else node.module or ""
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def packages_of(name: str) -> set[str]:
    """Return the top packages that a file imports."""
    return {module.partition(".")[0] for module in imports_of(name)}


def texts_of(name: str) -> Iterator[tuple[int, str]]:
    """Yield every text of a file that is no docstring, with its line."""
    tree = parsed(REPOSITORY / name)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in docstrings:
            if isinstance(node.value, str):
                yield node.lineno, node.value
            elif isinstance(node.value, bytes):
                yield node.lineno, node.value.decode("latin-1")


def importing(packages: set[str], *folders: str) -> dict[str, set[str]]:
    """Return which files below some folders import which of these packages."""
    names = sources(*folders)
    assert names
    return {name: found for name in names if (found := packages_of(name) & packages)}


def test_generated_code_runs_alone() -> None:
    """Generated code needs msgspec, the standard library and the gateway's own modules."""
    names = [
        path.relative_to(REPOSITORY).as_posix()
        for package in PACKAGES
        for path in sorted((REPOSITORY / "gateway" / package).glob("*.py"))
    ]
    known = {"__future__", "collections", "functools", "gateway", "msgspec", "typing"}

    assert len(names) > 10
    assert {} == {name: strange for name in names if (strange := packages_of(name) - known)}


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_stays_in_its_layer(library: str) -> None:
    """Of the gateway, only the layer that wraps a library imports it."""
    users = set(importing({library}, "gateway"))

    assert users
    assert users <= ONLY_IN[library]


def test_only_named_features_know_endpoint_paths() -> None:
    """An endpoint is described in a spec; a path elsewhere is a special case that must be named."""
    knowing = {
        name
        for name in sources("gateway")
        if not name.startswith("gateway/transforms/")
        and any(ENDPOINT_PATH.match(text) for _, text in texts_of(name))
    }

    assert set(WITH_PATHS) == knowing


def test_the_rules_above_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that breaks every rule is caught by every reader used here."""
    bad = tmp_path / "gateway" / "bad.py"
    bad.parent.mkdir()
    lines = ['"""/api/docs are fine."""', "def f():", "    from codegen import spec"]
    bad.write_text("\n".join([*lines, '    return b"/api/tags"']))
    monkeypatch.setattr(f"{__name__}.REPOSITORY", tmp_path)

    assert ["gateway/bad.py"] == sources("gateway")
    assert {"codegen"} == packages_of("gateway/bad.py")
    assert [(4, "/api/tags")] == list(texts_of("gateway/bad.py"))
