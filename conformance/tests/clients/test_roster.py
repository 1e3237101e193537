"""The roster and the drivers fit together, whether the clients are installed or not."""

import ast
from pathlib import Path

import pytest

from conformance.clients.__main__ import run_client
from conformance.clients.open_webui import serving
from conformance.clients.pair import Pair
from conformance.clients.roster import CLIENTS, Client
from conformance.clients.toolchain import BROWSERS, SOURCES

IN_PYTHON = [one for one in CLIENTS if one.key.startswith(("python_", "command_", "browser_"))]
NOWHERE = Pair("http://127.0.0.1:1", "http://127.0.0.1:1")


def scenarios_in(source: Path) -> list[str]:
    """Return the names of a driver's scenarios, in order, without importing its client."""
    return [
        node.name
        for node in ast.parse(source.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and "scenarios.add" in map(ast.unparse, node.decorator_list)
    ]


@pytest.mark.parametrize("listed", IN_PYTHON, ids=[client.key for client in IN_PYTHON])
def test_each_driver_has_the_scenarios_that_are_listed(listed: Client) -> None:
    """A driver in Python bears its client's key, and has what the roster expects of it."""
    assert listed.scenarios.split() == scenarios_in(SOURCES / f"{listed.key}.py")


def test_each_driver_in_python_is_listed() -> None:
    """No driver is forgotten: what has scenarios is some client's."""
    drivers = {path.stem for path in SOURCES.glob("*.py") if scenarios_in(path)}
    assert drivers == {client.key for client in IN_PYTHON}


def test_without_a_browser_its_client_is_named_as_not_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A Chromium that is missing is told of, before anything is installed for it."""
    monkeypatch.setenv("PATH", "")
    client = next(one for one in CLIENTS if one.key == "browser_open_webui")
    result = run_client(client, NOWHERE)
    assert f"{BROWSERS[0]} not found: install it" == result.not_run
    assert f"{client.name}: not run" in capsys.readouterr().err


def test_an_open_webui_that_does_not_start_tells_why() -> None:
    """Where its packages are missing, the error has what the process said."""
    words = "(?s)ended with 1, .*No module named 'open_webui'"
    with pytest.raises(RuntimeError, match=words), serving(NOWHERE.gateway_url):
        pass
