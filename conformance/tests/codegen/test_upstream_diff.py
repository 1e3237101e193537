"""`nox -s upstream-diff`: the command, on whole files, and what the project knows of a change."""

import json
import os
import shutil
import subprocess
import sys
from copy import deepcopy
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from codegen.descriptions.problem import Findings
from codegen.descriptions.source import plain
from codegen.upstream_diff.__main__ import APIS, main
from conformance.runner.shared_cases import find_shared, missing_sentence
from conformance.tests.codegen.harness import REPOSITORY, load_once

CHAT = "post /v1/chat/completions"


def ours(api: str) -> dict[str, Any]:
    """Return a copy of one of our own specs."""
    path = REPOSITORY / "specs" / f"{api}.yaml"
    content = plain(load_once(path, REPOSITORY, Findings()))
    assert isinstance(content, dict)
    return deepcopy(content)


@pytest.fixture
def changed() -> dict[str, Any]:
    """A document of the OpenAI dialect with one change of each kind."""
    document = ours("openai")
    schemas = document["components"]["schemas"]
    request = schemas["ChatCompletionRequest"]["properties"]
    request["verbosity"] = {"type": "string", "enum": ["low", "high"]}
    del request["min_p"]
    request["seed"] = {"type": "string"}
    document["paths"]["/v1/moods"] = {"get": {"responses": {"200": {"description": "Moods."}}}}
    del document["paths"]["/v1/embeddings"]
    return document


def run(document: object, tmp_path: Path, *arguments: str) -> int:
    """Write a document and compare it with ours; return the exit code."""
    path = tmp_path / "vendor.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return main([str(path), *arguments])


def without_places(line: str) -> str:
    """Return a line without where ours stands, which moves with every edit of a spec."""
    head, found, _ = line.rpartition(" (specs/")
    return head if found else line


@pytest.mark.parametrize("api", APIS)
def test_our_own_document_differs_in_nothing(
    api: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A copy of an own description is recognised by its operations, and has no difference."""
    for path in (REPOSITORY / "specs").glob("*.yaml"):
        shutil.copy(path, tmp_path)  # A description may lead to another one beside it.

    assert run(ours(api), tmp_path, "--all") == 0
    assert f"against specs/{api}.yaml: 0 difference(s), 0 part(s)" in capsys.readouterr().out


def test_each_kind_of_change_is_listed_once(
    changed: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """New, absent and retyped fields, new and absent operations: these and nothing else."""
    assert run(changed, tmp_path) == 1

    lines = capsys.readouterr().out.splitlines()
    assert [
        "new       get /v1/moods: theirs has this operation",
        "absent    post /v1/embeddings: ours has this operation",
        f"absent    {CHAT}: request `min_p`: ours number",
        f"type      {CHAT}: request `seed`: ours integer; theirs string",
        f'new       {CHAT}: request `verbosity`: theirs string ("high", "low")',
    ] == [without_places(line) for line in lines[1:] if line and not line.startswith(" ")]


def test_a_line_says_where_ours_stands(
    changed: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The place of a field is that of its name in our spec."""
    run(changed, tmp_path)

    (line,) = [one for one in capsys.readouterr().out.splitlines() if "`min_p`: ours" in one]
    file, number, column = line.rpartition("(")[2].rstrip(")").split(":")
    found = (REPOSITORY / file).read_text(encoding="utf-8").splitlines()[int(number) - 1]
    assert found[int(column) - 1 :].startswith("min_p:")


def test_rules_that_touch_a_change_are_named(
    changed: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Below each changed field stand the rules that set or read it, by mapping and call."""
    assert run(changed, tmp_path, "--api", "openai") == 1

    lines = capsys.readouterr().out.splitlines()
    at = lines.index(next(line for line in lines if f"{CHAT}: request `min_p`" in line))
    below = list(takewhile(lambda line: line.startswith(" "), lines[at + 1 :]))
    assert [
        "chat call chat: `options.min_p` → `min_p` (group sampling)",
        "generate call templated: `options.min_p` → `min_p` (group sampling)",
    ] == [line.strip() for line in below if "note " not in line]


def test_rules_that_read_an_answer_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A field that vanishes from the answer names the calls that read it."""
    document = ours("openai")
    del document["components"]["schemas"]["Delta"]["properties"]["reasoning"]

    assert run(document, tmp_path) == 1

    printed = capsys.readouterr().out
    assert f"absent    {CHAT}: answer (text/event-stream) `choices.*.delta.reasoning`" in printed
    assert "chat call chat: `choices.*.delta.reasoning` read" in printed


def test_rules_of_a_request_are_not_named_for_an_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A field of one name in both directions is not the same field."""
    document = ours("ollama")
    del document["components"]["schemas"]["GenerateResponse"]["properties"]["context"]

    assert run(document, tmp_path) == 1

    printed = capsys.readouterr().out
    assert "post /api/generate: answer `context`" in printed
    assert "call templated: `context` ignored" not in printed


def test_notes_and_deviations_of_a_field_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What our spec says about the wire, and where it deviates, stands below the change."""
    document = ours("ollama")
    del document["components"]["schemas"]["ShowResponse"]["properties"]["tensors"]

    assert run(document, tmp_path) == 1

    printed = capsys.readouterr().out
    assert "note specs/ollama.yaml:" in printed
    assert "deviation: `tensors` and `projector_info` are left out" in printed
    assert "show: `tensors` never: " in printed


def test_an_operation_that_is_passed_on_is_nothing_new(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours names routes that LM Studio answers; a vendor's document may describe them."""
    document = ours("ollama")
    document["paths"]["/v1/models/{name}"] = {"get": {"responses": {}}}

    assert run(document, tmp_path) == 0
    assert run(document, tmp_path, "--all") == 1
    assert "get /v1/models/{name}: theirs has this operation; ours: passed on" in (
        capsys.readouterr().out
    )


def test_what_is_narrower_is_counted_and_listed_on_demand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A document that never speaks of null differs in nothing that a spec would follow."""
    document = ours("ollama")
    document["components"]["schemas"]["CopyRequest"]["properties"]["source"] = {"type": "string"}

    assert run(document, tmp_path) == 0
    assert "1 that say nothing new (--all lists them)" in capsys.readouterr().out
    assert run(document, tmp_path, "--all") == 1
    assert "`source`: ours string | null; theirs string" in capsys.readouterr().out


def test_an_api_is_guessed_from_its_operations(
    changed: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Most operations in common decide, whatever the document is called."""
    run(changed, tmp_path)
    assert "against specs/openai.yaml" in capsys.readouterr().out


def test_a_document_of_something_else_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without one operation in common there is nothing to compare, unless an API is named."""
    document = {"openapi": "3.1.0", "paths": {"/pets": {"get": {"responses": {}}}}}

    assert run(document, tmp_path) == 2
    assert "it has no operation of specs/ollama.yaml" in capsys.readouterr().err
    assert run(document, tmp_path, "--api", "ollama") == 1
    assert "new       get /pets" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"swagger": "2.0", "paths": {}}', "this is Swagger 2.0, which is not read: convert it"),
        ("swagger: 2.0", "this is Swagger 2.0, which is not read: convert it"),
        ("- a list", "this is not an OpenAPI document: it holds a list, not an object"),
        ("just words", "this is not an OpenAPI document: it holds a text, not an object"),
        ("paths: {}", "this is not an OpenAPI document: it has no `openapi`"),
        ("openapi: 4.0.0\npaths: {}", "OpenAPI 4.0.0 is not read, only 3"),
        ("openapi: 3.1.0", "there is nothing to compare: it has no `paths`"),
        ("openapi: 3.1.0\npaths: []", "its `paths` is a list, not an object"),
        ("openapi: 3.1.0\npaths:", "its `paths` is null, not an object"),
        ("a: 1\n{unclosed: [", "line 2, column 1: "),
        ("a: 1\na: 2", "line 2, column 1: found duplicate key"),
        ("a: 2026-13-45", "a value can't be read: "),
        ("[" * 5000, "its values are nested too deeply"),
        ("", "the file is empty"),
        (" \n\n", "the file is empty"),
    ],
)
def test_what_is_no_openapi_document_is_refused(
    text: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is named, with what is wrong; the exit code tells it from a difference."""
    path = tmp_path / "other.yaml"
    path.write_text(text, encoding="utf-8")

    assert main([str(path)]) == 2
    assert f"other.yaml: {reason}" in capsys.readouterr().err


def test_a_chain_of_types_without_end_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A thousand types, each part of the one before, are more than is followed."""
    document = ours("openai")
    schemas = document["components"]["schemas"]
    schemas["ChatCompletionRequest"] = {"allOf": [{"$ref": "#/components/schemas/Part0"}]}
    for number in range(1000):
        part = {"$ref": f"#/components/schemas/Part{number + 1}"}
        schemas[f"Part{number}"] = {"allOf": [part]}

    assert run(document, tmp_path) == 2
    assert "vendor.json: its types are nested too deeply" in capsys.readouterr().err


def test_bytes_that_are_no_text_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A compressed file, for one, is told as one."""
    path = tmp_path / "vendor.yaml"
    path.write_bytes(b"\x1f\x8b\x08\x00\xff")

    assert main([str(path)]) == 2
    assert "vendor.yaml: this is not UTF-8 text" in capsys.readouterr().err


def test_a_missing_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A path that leads nowhere is told as one, and so is a folder."""
    assert main([str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml: No such file" in capsys.readouterr().err
    assert main([str(tmp_path)]) == 2


def test_help_documents_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    """The codes stand where one looks for them."""
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "Exit codes: 0 when nothing differs that is listed, 1 when" in capsys.readouterr().out


def test_two_runs_print_the_same(changed: dict[str, Any], tmp_path: Path) -> None:
    """The order of sets is another in each process; that of the lines is not."""
    properties = changed["components"]["schemas"]["ChatCompletionRequest"]["properties"]
    for number in range(8):
        properties[f"new_{number}"] = {"type": ["string", "integer", "boolean"]}
    path = tmp_path / "vendor.json"
    path.write_text(json.dumps(changed), encoding="utf-8")

    printed = [
        subprocess.run(
            [sys.executable, "-m", "codegen.upstream_diff", str(path)],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        for seed in ("1", "2")
    ]

    assert "`new_7`: theirs boolean | integer | string" in printed[0]
    assert printed[0] == printed[1]


def test_the_vendors_real_document_is_told_truly(capsys: pytest.CaptureFixture[str]) -> None:
    """Statements that were checked by eye against the document and our spec."""
    shared = find_shared()
    document = shared / "vendor-docs" / "ollama-openapi-0.40.yaml" if shared else None
    if document is None or not document.is_file():
        pytest.skip(missing_sentence())

    assert main([str(document)]) == 1

    lines = [without_places(line) for line in capsys.readouterr().out.splitlines()]
    for line in (
        "new       get /api/usage: theirs has this operation, on https://ollama.com",
        "required  post /v1/systemone: request: only theirs requires `model`, `questions`, `state`",
        "bare      post /v1/systemone: answer `answers.{*}`: ours names no fields; "
        "theirs {type, choice, probabilities, confidence, noul, score, legend}",
        "absent    head /api/tags: ours has this operation",
        "new       post /api/show: answer `renderer`: theirs string",
        "new       post /api/create: request `messages.*.tool_calls.*.function.description`: "
        "theirs string",
        "absent    post /api/create: request `name`: ours string | null, deprecated",
        "required  post /api/copy: request: only theirs requires `destination`, `source`",
        "type      post /api/chat: request `options.stop`: ours array | null; "
        "theirs array | string",
        'values    post /api/chat: request `think`: ours only "high", "low", "max", "medium"; '
        "theirs any string",
        "absent    post /api/chat: answer (application/x-ndjson) `eval_count`: ours integer",
    ):
        assert line in lines
    # Ours describes these, so they are not new.
    for known in ("new       post /v1/systemone", "post /api/create: request `capabilities`"):
        assert not any(known in line for line in lines)
    # Its details are an object without fields there, which is not the same as their absence.
    assert not any("post /api/show: answer `details.family`" in line for line in lines)
