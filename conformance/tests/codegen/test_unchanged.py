"""A run of the generator is left out only when nothing that it reads or writes has changed."""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path

import pytest

from codegen import unchanged
from codegen.__main__ import main


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a source, a generated file and a file that has nothing to do with either."""
    for name in ("specs/a.yaml", "gateway/plans/a.py", "specs/notes.txt", "COVERAGE.md"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("one", "utf-8")
    return tmp_path


def test_a_project_that_was_never_generated_is_not_unchanged(project: Path) -> None:
    """There is no fingerprint yet."""
    assert not unchanged.is_unchanged(project)


def test_what_was_remembered_is_unchanged(project: Path) -> None:
    """Nothing was touched, or nothing that matters."""
    unchanged.remember(project)
    (project / "specs/notes.txt").write_text("two", "utf-8")

    assert unchanged.is_unchanged(project)


@pytest.mark.parametrize("name", ["specs/a.yaml", "gateway/plans/a.py", "COVERAGE.md"])
def test_a_change_of_a_source_or_a_result_is_seen(project: Path, name: str) -> None:
    """Of its content, not of its time: git sets times as it likes."""
    unchanged.remember(project)
    (project / name).write_text("two", "utf-8")

    assert not unchanged.is_unchanged(project)


def test_a_file_more_or_less_is_seen(project: Path) -> None:
    """A stale generated file would otherwise stay."""
    unchanged.remember(project)
    extra = project / "gateway/plans/b.py"
    extra.write_text("", "utf-8")
    assert not unchanged.is_unchanged(project)
    extra.unlink()
    (project / "specs/a.yaml").unlink()
    assert not unchanged.is_unchanged(project)


def test_another_version_of_a_tool_is_seen(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new formatter writes other text from the same rules."""
    unchanged.remember(project)
    monkeypatch.setattr(metadata, "version", lambda _name: "0")

    assert not unchanged.is_unchanged(project)


@pytest.mark.parametrize("mode", ["--check", "--lint"])
def test_checks_never_trust_the_fingerprint(tmp_path: Path, mode: str) -> None:
    """A project whose fingerprint is right and whose rules are broken still fails."""
    project = tmp_path / "project"
    shutil.copytree(Path(__file__).parent / "project", project)
    mapping = next((project / "specs/mappings").glob("*.yaml"))
    mapping.write_text(mapping.read_text("utf-8") + "\nnonsense: 1\n", "utf-8")
    unchanged.remember(project)

    assert 0 == main(["--root", str(project)])
    assert 1 == main([mode, "--root", str(project)])
