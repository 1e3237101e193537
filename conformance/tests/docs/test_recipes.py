"""CONTRIBUTING.md works as it stands: its recipes are applied to a copy, generated and run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.tests.docs.recipes import BadRecipe, Recipe, read_recipes

ROOT = Path(__file__).parents[3]
COPIED = ("codegen", "conformance", "docs", "gateway", "specs", "COVERAGE.md", "pyproject.toml")
LIMIT_S = 300
RECIPES = read_recipes((ROOT / "CONTRIBUTING.md").read_text("utf-8"))
MOST = 9
"""How many lines of data a recipe for an option, a field, a repair or a case may change."""


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project with all recipes applied and the code generated."""
    root = tmp_path_factory.mktemp("recipes")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, root / name)
    for recipe in RECIPES:
        for patch in recipe.patches:
            patch.apply(root)
    done = run(root, "codegen")
    assert 0 == done.returncode, done.stderr
    return root


def run(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m COMMAND` in a copy of the project, with the copy's own packages."""
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def cases_of(recipe: Recipe) -> list[str]:
    """Return the names of the cases that a recipe writes."""
    return [
        line.removeprefix("+- case: ")
        for patch in recipe.patches
        for hunk in patch.hunks
        for line in hunk
        if line.startswith("+- case: ")
    ]


def test_the_recipes_are_there() -> None:
    """A page without blocks would pass everything below."""
    titles = [recipe.title for recipe in RECIPES]

    expected = ["an option of chat", "a field of show", "a repair of responses", "an endpoint"]
    assert [*expected, "a case"] == titles


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.title)
def test_a_recipe_ends_with_a_case_and_is_short(recipe: Recipe) -> None:
    """Only an endpoint may take more than nine lines."""
    assert cases_of(recipe)
    assert (None if recipe.title == "an endpoint" else MOST) == recipe.most
    assert recipe.most is None or recipe.changed_lines <= recipe.most


def test_the_cases_pass_when_all_is_applied(changed: Path) -> None:
    """A case that streams is run once for each way of cutting the stream."""
    names = [name for recipe in RECIPES for name in cases_of(recipe)]

    done = run(changed, "conformance", "run", *names)

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "0 wrong" in done.stdout


def test_every_case_is_found(changed: Path) -> None:
    """A name that the runner does not know would be a case that never runs."""
    names = [name for recipe in RECIPES for name in cases_of(recipe)]

    done = run(changed, "conformance", "list", *names)

    assert set(names) == set(done.stdout.splitlines()) & set(names)


def test_the_files_are_sound(changed: Path) -> None:
    """The cases fit the schema, and use what exists."""
    done = run(changed, "conformance", "check")

    assert 0 == done.returncode, done.stdout + done.stderr


PAGE = """
<!-- recipe: a thing, at most 2 changed lines -->

   ```diff file=a.txt
    one
   @@
   -three
   +THREE
   ```
"""


def test_a_patch_changes_what_it_names(tmp_path: Path) -> None:
    """Lines left out stay as they are."""
    (tmp_path / "a.txt").write_text("three\none\ntwo\nthree\n")
    [recipe] = read_recipes(PAGE)

    recipe.patches[0].apply(tmp_path)

    assert (2, 2) == (recipe.most, recipe.changed_lines)
    assert "three\none\ntwo\nTHREE\n" == (tmp_path / "a.txt").read_text()


@pytest.mark.parametrize(
    ("page", "told"),
    [
        (PAGE.replace("-three", "-four"), "not there"),
        (PAGE.replace("    one", "    nine"), "not there"),
        (PAGE.replace("a.txt", "b.txt"), "does not exist"),
        (PAGE.replace("a.txt", "a.txt new"), "exists already"),
        (PAGE.replace("   +THREE", "   THREE"), "begins with none"),
        (PAGE.replace("   ```\n", ""), "no end"),
        (PAGE.replace("<!-- recipe: a thing, at most 2 changed lines -->", ""), "before the first"),
    ],
)
def test_a_recipe_that_does_not_fit_is_told(tmp_path: Path, page: str, told: str) -> None:
    """A recipe that no longer fits the project fails the build."""
    (tmp_path / "a.txt").write_text("one\ntwo\nthree\none\n")

    with pytest.raises(BadRecipe, match=told):
        read_recipes(page)[0].patches[0].apply(tmp_path)
