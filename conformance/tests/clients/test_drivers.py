"""The drivers themselves: they notice what is wrong with a server, and nothing else."""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path

import pytest

from conformance.clients.pair import (
    CHAT_MODEL,
    EMBEDDING_MODEL,
    Outcome,
    drive,
    failures_of,
    names_of,
    read_outcomes,
)
from conformance.clients.python_ollama import scenarios
from conformance.tests.clients.broken import FLAWS, Flaw, serve_broken

PYTHON = "list_models chat chat_stream tools_single tools_stream missing_model_chat"
PYTHON_FAILS: dict[Flaw, str] = {
    "none": "",
    "missing_done": "chat_stream tools_stream",
    "string_arguments": "tools_single tools_stream",
    "blank_lines": "chat_stream tools_stream",
    "float_counts": "chat chat_stream tools_single tools_stream",
    "missing_role": "chat chat_stream tools_single tools_stream",
    "missing_content": "chat chat_stream tools_single tools_stream",
    "same_digests": "list_models",
    "error_with_200": "missing_model_chat",
    "one_frame": "chat_stream",
}
JAVASCRIPT = "list chat chat_stream tools_stream missing_model"
JAVASCRIPT_FAILS: dict[Flaw, str] = {
    "none": "",
    "missing_done": "chat_stream tools_stream",
    "string_arguments": "tools_stream",
    # The client skips blank lines (docs/facts/clients.md#javascript-client).
    "blank_lines": "",
    "float_counts": "chat chat_stream tools_stream",
    "missing_role": "chat chat_stream tools_stream",
    "missing_content": "chat chat_stream tools_stream",
    "same_digests": "list",
    "error_with_200": "missing_model",
    "one_frame": "chat_stream",
}
GO = "list chat chat_stream tools_parallel_stream missing_model_chat"
GO_FAILS: dict[Flaw, str] = {
    "none": "",
    "missing_done": "chat_stream tools_parallel_stream",
    "string_arguments": "tools_parallel_stream",
    "blank_lines": "chat_stream tools_parallel_stream",
    "float_counts": "chat chat_stream tools_parallel_stream",
    "missing_role": "chat chat_stream tools_parallel_stream",
    # To this package, content that is absent is empty.
    "missing_content": "chat chat_stream",
    "same_digests": "list",
    "error_with_200": "missing_model_chat",
    "one_frame": "chat_stream",
}


def check(outcomes: Sequence[Outcome], names: str, fails: str) -> None:
    """Check that all scenarios ran, and that those named failed, each with its reason."""
    failed = failures_of(outcomes)
    assert sorted(names.split()) == sorted(names_of(outcomes))
    assert set(fails.split()) == set(failed), failed
    assert all(failed.values())


@pytest.mark.parametrize("flaw", FLAWS)
def test_the_python_driver_notices(flaw: Flaw) -> None:
    """Each flaw fails the scenarios that it concerns, and without any flaw none fails."""
    lines = io.StringIO()
    # In this process, since importing the client takes longer than all that it does here.
    with serve_broken(flaw) as url, contextlib.redirect_stdout(lines):
        code = scenarios.main([url, CHAT_MODEL, EMBEDDING_MODEL, *PYTHON.split()])
    check(read_outcomes(lines.getvalue()), PYTHON, PYTHON_FAILS[flaw])
    assert (1 if PYTHON_FAILS[flaw] else 0) == code


@pytest.mark.parametrize("flaw", FLAWS)
def test_the_javascript_driver_notices(flaw: Flaw, javascript: Path, node: str) -> None:
    """Each flaw fails the scenarios that it concerns, and without any flaw none fails."""
    with serve_broken(flaw) as url:
        outcomes = drive([node, javascript / "ollama.mjs"], url, *JAVASCRIPT.split())
    check(outcomes, JAVASCRIPT, JAVASCRIPT_FAILS[flaw])


@pytest.mark.parametrize("flaw", FLAWS)
def test_the_go_driver_notices(flaw: Flaw, go_driver: Path) -> None:
    """Each flaw fails the scenarios that it concerns, and without any flaw none fails."""
    with serve_broken(flaw) as url:
        outcomes = drive([go_driver], url, *GO.split())
    check(outcomes, GO, GO_FAILS[flaw])
