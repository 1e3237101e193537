"""What surrounds the code names only what exists: workflow, templates, hooks, links, commands."""

from __future__ import annotations

import ast
import importlib.util
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[3]
NOXFILE = (ROOT / "noxfile.py").read_text("utf-8")
WORKFLOW = ".github/workflows/ci.yml"
TEMPLATES = sorted(
    path for path in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml"
)
PAGES = sorted(
    path
    for pattern in ("*.md", ".github/*.md", "docs/**/*.md", "conformance/**/*.md")
    for path in ROOT.glob(pattern)
)
MODULES = {path.name for path in (ROOT / "gateway").rglob("*.py")}
NOT_HERE = {
    "utils.py",  # a module that must not exist
    "gateway/plans/context.py",  # of an example
    "conformance/cases/context/",  # of the same example
    "specs/mappings/context.yaml",  # of the same example
    "GitHubCopilotChat/",  # the beginning of a user agent
}
FIELDS = {"markdown", "textarea", "input", "dropdown", "checkboxes"}
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_PATH = re.compile(r"`((?:[\w.-]+/)*(?:[\w-]+\.py|[\w-]+/)|(?:[\w.-]+/)+[\w-]+\.yaml)`")
_SESSIONS = re.compile(r"\b(?:nox|noxfile\.py) (?:-s|--sessions) ((?:[a-z][a-z-]* ?)+)")


def load(path: str | Path) -> Any:
    """Return a YAML file's value; YAML 1.2, so `on` is a word."""
    return YAML(typ="safe").load(ROOT / path)


def sessions() -> set[str]:
    """Return the names of all nox sessions, read from the noxfile as text."""
    names = set()
    for node in ast.parse(NOXFILE).body:
        if not isinstance(node, ast.FunctionDef):
            continue
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "nox.session":
                given = {item.arg: item.value for item in decorator.keywords}
                name = given.get("name")
                names.add(name.value if isinstance(name, ast.Constant) else node.name)
    return {str(name) for name in names}


def default_sessions() -> set[str]:
    """Return the names of the sessions that `nox` alone runs, read from the noxfile as text."""
    listed = re.search(r"^nox\.options\.sessions = (\[.*?\])", NOXFILE, re.MULTILINE | re.DOTALL)
    assert listed
    return set(ast.literal_eval(listed[1]))


def commands(value: Any) -> Iterator[str]:
    """Yield every `run` of a workflow."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "run" and isinstance(inner, str):
                yield inner
            else:
                yield from commands(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from commands(inner)


def named_sessions(text: str) -> set[str]:
    """Return the sessions that a text tells nox to run."""
    return {name for found in _SESSIONS.finditer(text) for name in found[1].split()}


def heading_anchors(path: Path) -> set[str]:
    """Return the anchors of a page, as the repository's host makes them from headings."""
    text = re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    made = set(re.findall(r'<a (?:id|name)="([^"]+)"', text))
    for heading in re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", heading.lower())
        made.add(words.replace(" ", "-"))
    return made


def test_the_sessions_are_read() -> None:
    """Otherwise everything below would pass."""
    assert {"dev", "lint", "tests", "upstream-diff"} <= sessions()
    assert {"lint", "types"} == named_sessions("run `nox -s lint types -- -k x`")


def test_the_workflow_names_sessions_that_exist() -> None:
    """And one of its jobs runs all that must hold."""
    runs = list(commands(load(WORKFLOW)["jobs"]))

    assert "bash .ci/run" in runs
    named = named_sessions("\n".join(runs))
    assert named
    assert set() == named - sessions()
    assert set() == named - default_sessions()
    assert set() == default_sessions() - sessions()


def test_what_must_hold_has_all_default_sessions() -> None:
    """`.ci/run` names them, as it runs some beside others; a new one is not forgotten there."""
    runs = (ROOT / ".ci/run").read_text("utf-8")

    assert default_sessions() | {"dev", "soak"} == named_sessions(runs)


def test_the_workflow_tries_what_the_package_claims() -> None:
    """A version is claimed by a classifier exactly if a job that counts runs it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    claimed = {
        found[1]
        for text in project["classifiers"]
        if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", text))
    }
    jobs = load(WORKFLOW)["jobs"]
    whole = {step["with"]["python-version"] for step in jobs["whole"]["steps"] if uses_python(step)}
    matrix = jobs["parts"]["strategy"]["matrix"]
    tried = {one["python"] for one in matrix["include"] if one["tried"]}

    assert claimed == whole | tried
    assert claimed <= set(matrix["python"])
    oldest = project["requires-python"].removeprefix(">=")
    assert oldest in claimed
    assert oldest == matrix["python"][0]


def uses_python(step: dict[str, Any]) -> bool:
    """Tell whether a step sets Python up."""
    return str(step.get("uses", "")).startswith("actions/setup-python@")


def test_no_combination_is_run_twice() -> None:
    """What an `include` adds has been taken out of the product before."""
    matrix = load(WORKFLOW)["jobs"]["parts"]["strategy"]["matrix"]
    excluded = [(one["os"], one["python"]) for one in matrix["exclude"]]

    assert {(one["os"], one["python"]) for one in matrix["include"]} <= set(excluded)
    assert ("ubuntu-latest", "3.11") in excluded


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_an_issue_template_is_a_form(path: Path) -> None:
    """With the keys that such a form needs."""
    form = load(path)

    assert {"name", "description", "body"} <= set(form)
    assert {item["type"] for item in form["body"]} <= FIELDS
    asked = [item for item in form["body"] if item["type"] != "markdown"]
    assert asked
    assert len(asked) == len({item["id"] for item in asked})
    assert all(item["attributes"]["label"] for item in asked)
    assert all(item["attributes"]["options"] for item in asked if item["type"] == "dropdown")


def test_the_templates_are_there() -> None:
    """A folder without forms would pass the test above."""
    assert {"missing.yml", "wrong-answer.yml"} == {path.name for path in TEMPLATES}
    assert load(".github/ISSUE_TEMPLATE/config.yml")["blank_issues_enabled"] is True


def test_the_hooks_run_what_is_here() -> None:
    """No hook comes from another repository, and each module can be run."""
    [repository] = load(".pre-commit-config.yaml")["repos"]

    assert "local" == repository["repo"]
    assert repository["hooks"]
    for hook in repository["hooks"]:
        python, flag, module, *_ = hook["entry"].split()
        assert (".nox/dev/bin/python", "-m", "system") == (python, flag, hook["language"])
        assert importlib.util.find_spec(module) is not None
        assert re.compile(hook.get("files", ""))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_links_to_what_exists(page: Path) -> None:
    """Files and headings; addresses on the web are not asked."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    missing = []
    for target in _LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        linked = (page.parent / file).resolve() if file else page
        if not linked.exists() or (anchor and anchor not in heading_anchors(linked)):
            missing.append(target)

    assert [] == missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_names_modules_that_exist(page: Path) -> None:
    """A path in code marks is one from the root, from a package or from the page's folder."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    packages = (ROOT / "gateway", ROOT / "codegen", ROOT / "conformance")
    bases = (ROOT, *packages, page.parent)
    missing = [
        name
        for name in _PATH.findall(text)
        if not any((base / name).exists() for base in bases) and name not in MODULES
    ]

    assert [] == [name for name in missing if name not in NOT_HERE]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_names_sessions_that_exist(page: Path) -> None:
    """A command that is copied from a page works."""
    assert set() == named_sessions(page.read_text("utf-8")) - sessions()


def test_the_changelog_has_the_version() -> None:
    """And a place for what comes next."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)

    assert ["Unreleased", version] == headings[:2]
