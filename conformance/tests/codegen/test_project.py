"""
The fixture project, which uses every verb of the rule language, generates good code.

Its golden module is renewed by `python -m conformance.tests.codegen.rewrite` and by nothing else.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from codegen.descriptions.problem import Findings
from codegen.descriptions.source import Mapping
from codegen.generator import Files, Generator
from codegen.rules.construct import Construct
from codegen.rules.grammar import constructs
from codegen.rules.reader import Reader, read_mappings
from conformance.tests.codegen.harness import (
    FIXTURE,
    REPOSITORY,
    problems_of,
    written,
)
from conformance.tests.codegen.rewrite import GOLDEN, GOLDEN_SOURCE


@pytest.fixture(scope="module")
def generated(project: Path) -> Files:
    """Generate the fixture project into its copy."""
    files = Generator(project).generate()
    written(files, project)
    return files


def test_the_project_has_no_problems(project: Path) -> None:
    """Nothing is wrong with the specs and rules that the bad files spoil."""
    assert () == problems_of(project, documents=True)


def test_the_project_uses_every_key_of_the_grammar(monkeypatch: pytest.MonkeyPatch) -> None:
    """A verb that the fixture does not use would be emitted unseen."""
    seen: set[tuple[str, str]] = set()
    check = Reader._check_keys

    def note(self: Reader, declared: Construct, node: Mapping) -> None:
        seen.update((declared.name, key.text) for key, _ in node.items())
        check(self, declared, node)

    monkeypatch.setattr(Reader, "_check_keys", note)
    read_mappings(FIXTURE / "specs" / "mappings", FIXTURE, Findings())

    every = {(construct.name, key) for construct in constructs() for key in construct.entries}
    assert set() == every - seen


def test_generated_python_compiles(generated: Files) -> None:
    """Every module is Python, and there is one for each API and mapping."""
    modules = {name: text for name, text in generated.texts.items() if name.endswith(".py")}

    for name, text in modules.items():
        compile(text, name, "exec")

    apis = {"internal", "ollama", "openai"}
    mappings = {path.stem for path in (FIXTURE / "specs" / "mappings").glob("*.yaml")}
    expected = {"__init__", "endpoints", *apis, *mappings}
    assert expected == {Path(name).stem for name in modules}


def test_one_module_reads_as_it_should(generated: Files) -> None:
    """The code of one small mapping is what a person would write; its golden file shows it."""
    assert GOLDEN.read_text(encoding="utf-8") == generated.texts[GOLDEN_SOURCE]


@pytest.mark.usefixtures("generated")
def test_the_text_does_not_depend_on_the_run(project: Path, tmp_path: Path) -> None:
    """Hash seeds and the folder where the generator runs change nothing."""
    command = [sys.executable, "-m", "codegen", "--check", "--root", str(project)]
    runs = [
        subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(REPOSITORY)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed, folder in (("1", REPOSITORY), ("4711", tmp_path))
    ]

    told = [run.communicate()[1] for run in runs]

    assert ["", ""] == told
    assert [0, 0] == [run.returncode for run in runs]


@pytest.mark.usefixtures("generated")
@pytest.mark.parametrize("command", [("check",), ("format", "--check")], ids=lambda words: words[0])
def test_generated_code_passes_ruff(project: Path, command: tuple[str, ...]) -> None:
    """The project's own rules of style hold for generated code as they stand in pyproject.toml."""
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "--no-cache", "gateway"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, done.stdout


@pytest.mark.usefixtures("generated")
def test_generated_code_passes_strict_typing(
    project: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """What the rules check in their own terms, the type checker confirms in Python's."""
    cache = getattr(request.config, "cache", None)
    folder = cache.mkdir("codegen-types") if cache is not None else tmp_path
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", str(folder), "-p", "gateway"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, done.stdout + done.stderr


def test_writing_twice_changes_nothing(
    project: Path, generated: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second run finds all as it is; a stale module is told of, then deleted."""
    stale = project / "gateway" / "plans" / "stale.py"

    assert 0 == generated.compare(project)
    stale.write_text("")
    assert 1 == generated.compare(project)
    assert "gateway/plans/stale.py: differs" in capsys.readouterr().err
    generated.write(project)
    assert "1 changed" in capsys.readouterr().out
    assert not stale.exists()
