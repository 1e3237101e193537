"""Every check finds its mistake and tells it in exactly the words that the bad files state."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import codegen
from conformance.tests.codegen.bad_file import bad_files, read_bad
from conformance.tests.codegen.harness import REPOSITORY, edited, problems_of

WRITTEN_AS = {
    "unused-{}": ("unused-answer", "unused-call", "unused-report", "unused-shape", "unused-table"),
    "{}-before-model": ("call-before-model", "need-before-model"),
}
"""Ids that the generator puts together, and what comes of it."""


@pytest.mark.parametrize("path", bad_files(), ids=lambda path: path.stem)
def test_a_mistake_is_told_in_the_expected_words(path: Path, project: Path) -> None:
    """The one mistake is found by its check, and nothing else is said than what is expected."""
    bad = read_bad(path)

    checks, printed = bad.told(project)

    assert bad.check in checks
    assert bad.expects(printed), f"expected:\n{bad.expect}\n\nprinted:\n{printed}"


def test_every_check_has_a_bad_file() -> None:
    """A check without a file that must fail could be dropped and no one would notice."""
    tried = {read_bad(path).check for path in bad_files()}

    assert _ids_of_checks() == tried


def test_every_check_is_explained() -> None:
    """The documentation of the rules has a line for each check."""
    rules = (REPOSITORY / "docs" / "rules.md").read_text(encoding="utf-8")

    assert [] == sorted(check for check in _ids_of_checks() if f"`{check}`" not in rules)


def test_no_damage_makes_the_generator_fall_over(project: Path) -> None:
    """Whatever line is missing or left half written: there is code, or problems, never a crash."""
    mapping = "specs/mappings/measure.yaml"
    lines = (project / mapping).read_text(encoding="utf-8").splitlines(keepends=True)
    seen = 0

    for index, line in enumerate(lines):
        for damaged in {"", f"{line.partition(':')[0]}:\n"} - {line}:
            text = "".join([*lines[:index], damaged, *lines[index + 1 :]])
            with edited(project, {mapping: text}):
                seen += bool(problems_of(project))

    assert seen > len(lines)


def test_a_bad_file_is_named_after_its_check() -> None:
    """The folder reads as a list of checks: a file is `CHECK.yaml` or `CHECK-VARIANT.yaml`."""
    misnamed = [
        path.name
        for path in bad_files()
        if path.stem != (check := read_bad(path).check) and not path.stem.startswith(f"{check}-")
    ]

    assert [] == misnamed


def test_a_bad_file_says_why() -> None:
    """A file whose reason is missing can't tell a reader what the check is good for."""
    assert [] == [path.name for path in bad_files() if len(read_bad(path).why.split()) < 3]


def _ids_of_checks() -> set[str]:
    """Read off the generator's own text which ids it can report."""
    found: set[str] = set()
    for path in sorted(Path(codegen.__file__).parent.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef):
                for call in ast.walk(function):
                    if isinstance(call, ast.Call) and _reports(call):
                        found |= set(_ids_in(call.args[0], function))
    return found


def _reports(call: ast.Call) -> bool:
    return ast.unparse(call.func).endswith("findings.add") and not isinstance(
        call.args[0], ast.Attribute
    )


def _ids_in(argument: ast.expr, function: ast.FunctionDef) -> Iterator[str]:
    match argument:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=parts):
            pattern = "".join(
                str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts
            )
            yield from WRITTEN_AS[pattern]
        case ast.Name(id=name):
            # A variable: every text that the function ever gives it.
            for node in ast.walk(function):
                if isinstance(node, ast.Assign):
                    yield from _given(node, name)
        case _:
            raise AssertionError(f"a check's id is written in a new way: {ast.unparse(argument)}")


def _given(assignment: ast.Assign, name: str) -> Iterator[str]:
    for target in assignment.targets:
        pairs = (
            zip(target.elts, assignment.value.elts, strict=True)
            if isinstance(target, ast.Tuple) and isinstance(assignment.value, ast.Tuple)
            else [(target, assignment.value)]
        )
        for left, right in pairs:
            if isinstance(left, ast.Name) and left.id == name:
                assert isinstance(right, ast.Constant)
                yield str(right.value)
