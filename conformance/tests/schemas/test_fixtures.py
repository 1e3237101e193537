"""Every fixture stands behind answers that fit the description, with the stand-in told by it."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from conformance.schemas.ollama import copy_for, read_document, run_operation
from conformance.standin.fixtures import read_fixture
from conformance.tests.gateway.support import open_pair

FOLDER = Path(__file__).parents[2] / "fixtures"
FIXTURES = sorted(FOLDER.rglob("*.yaml"))
OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "generate",
    "/v1/embeddings": "embed",
    "/api/v1/models": "list_models",
    "/api/v0/models": "list_models",
    "/v1/models": "list_models",
    "/api/v0/chat/completions": "chat",
}
"""Which operation asks LM Studio for what a fixture answers."""
SETTINGS = {"/api/v0/chat/completions": {"answers": {"one_shot": "whole"}}}
"""With which settings it is asked so, where they are not the default."""
VERSIONS = {"/api/v0/models": "0.3", "/v1/models": "openai"}
"""Which host is asked that way, where it is not the latest."""
OF_A_SOUND_HOST = {
    "stream_ends_once",
    "faults_are_stated",
    "not_a_server_error",
    "positive_data_acceptance",
    "shapes_are_read",
}
"""Checks that hold while LM Studio is well, which it is not in every fixture."""


@pytest.mark.parametrize("file", FIXTURES, ids=[file.stem for file in FIXTURES])
async def test_answers_over_a_fixture_are_as_declared(
    file: Path, tmp_path: Path, names: dict[str, list[str]]
) -> None:
    """Whatever LM Studio was recorded to send: types, statuses and lines are those declared."""
    shutil.copy(file, tmp_path)
    path = read_fixture(file).request.path
    operation = OPERATIONS[path]
    document = copy_for(read_document(), names)
    if operation == "generate":
        # Only a raw prompt takes this way.
        raw = {"model": names["llm"][0], "prompt": "def tide(day):", "raw": True}
        content = document["paths"]["/api/generate"]["post"]["requestBody"]["content"]
        content["application/json"]["examples"] = {"raw": {"value": raw}}
    # What takes no body has no examples.
    phase = "coverage" if operation == "list_models" else "examples"
    version = VERSIONS.get(path, "0.4")
    async with open_pair(SETTINGS.get(path), fixtures=tmp_path, host_version=version) as pair:
        account = await asyncio.to_thread(
            run_operation, pair.url, document, operation, (phase,), "positive"
        )
        asked = len(pair.asked(path))

    wrong = [one for one in account.findings if one.check not in OF_A_SOUND_HOST]
    assert [] == [str(one) for one in wrong]
    assert [] == account.troubles
    assert asked > 0
