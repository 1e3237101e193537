"""`nox -s upstream-diff`: what a vendor's new document would change, and which rules touch it."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from codegen import upstream_diff
from codegen.descriptions.problem import Findings
from codegen.descriptions.source import plain
from codegen.upstream_diff import APIS, Document, compare, guess_api, main
from conformance.tests.codegen.harness import REPOSITORY, load_once

CHAT = "post /v1/chat/completions"


def ours(api: str) -> dict[str, Any]:
    """Return a copy of one of our own specs."""
    path = REPOSITORY / "specs" / f"{api}.yaml"
    content = plain(load_once(path, REPOSITORY, Findings()))
    assert isinstance(content, dict)
    return deepcopy(content)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take our own specs from what is read already; other files are read as ever."""
    read = upstream_diff._read

    def known(path: Path) -> dict[str, Any]:
        return ours(path.stem) if path.parent == REPOSITORY / "specs" else read(path)

    monkeypatch.setattr(upstream_diff, "_read", known)


@pytest.fixture
def changed() -> dict[str, Any]:
    """A document of the OpenAI dialect with one change of each kind."""
    document = ours("openai")
    schemas = document["components"]["schemas"]
    request = schemas["ChatCompletionRequest"]["properties"]
    request["verbosity"] = {"type": "string"}
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


@pytest.mark.parametrize("api", APIS)
def test_our_own_document_differs_in_nothing(
    api: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A copy of ours is recognised by its operations and has no difference."""
    assert [] == compare(Document(ours(api)), Document(ours(api)))
    assert 0 == run(ours(api), tmp_path)
    assert f"against specs/{api}.yaml: 0 difference(s)" in capsys.readouterr().out


def test_each_kind_of_change_is_listed_once(changed: dict[str, Any]) -> None:
    """New, gone and retyped fields, new and gone operations: these and nothing else."""
    changes = compare(Document(ours("openai")), Document(changed))

    assert [
        "new      get /v1/moods",
        "gone     post /v1/embeddings",
        f"gone     {CHAT}: request `min_p`",
        f"retyped  {CHAT}: request `seed`: integer → string",
        f"new      {CHAT}: request `verbosity`",
    ] == [str(change) for change in changes]


def test_rules_that_touch_a_change_are_named(
    changed: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Below each changed field stand the rules that set or read it, by mapping and call."""
    assert 1 == run(changed, tmp_path, "--api", "openai")

    lines = capsys.readouterr().out.splitlines()
    at = lines.index(f"gone     {CHAT}: request `min_p`")
    touching = [line.strip() for line in lines[at + 1 : at + 3]]
    assert [
        "chat call chat: `options.min_p` → `min_p`",
        "generate call templated: `options.min_p` → `min_p`",
    ] == touching
    assert f"new      {CHAT}: request `verbosity`" == lines[-1]


def test_rules_that_read_an_answer_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A field that vanishes from the answer names the calls that read it."""
    document = ours("openai")
    del document["components"]["schemas"]["Delta"]["properties"]["reasoning"]

    assert 1 == run(document, tmp_path)

    printed = capsys.readouterr().out
    assert f"gone     {CHAT}: answer `choices.*.delta.reasoning`" in printed
    assert "chat call chat: `choices.*.delta.reasoning` read" in printed


def test_a_type_that_ours_covers_is_no_change() -> None:
    """A document that is stricter than the wire has shown says nothing new."""
    document = ours("openai")
    usage = document["components"]["schemas"]["Usage"]["properties"]
    usage["prompt_tokens"] = {"type": "integer"}

    assert [] == compare(Document(ours("openai")), Document(document))


def test_an_api_is_guessed_from_its_operations(changed: dict[str, Any]) -> None:
    """Most operations in common decide, whatever the document is called."""
    own = {api: Document(ours(api)) for api in APIS}

    assert "openai" == guess_api(Document(changed), own)


@pytest.mark.parametrize(
    "text",
    ['{"swagger": "2.0"}', "- a list", "{unclosed: [", ""],
    ids=["other", "list", "broken", "empty"],
)
def test_what_is_no_openapi_document_is_refused(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file is named, with what is wrong; the exit code tells it from a difference."""
    path = tmp_path / "other.yaml"
    path.write_text(text, encoding="utf-8")

    assert 2 == main([str(path)])
    assert "other.yaml: " in capsys.readouterr().err


def test_a_missing_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A path that leads nowhere is told as one."""
    assert 2 == main([str(tmp_path / "none.yaml")])
    assert "none.yaml" in capsys.readouterr().err
