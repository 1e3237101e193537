"""The page about operating is whole: limits, faults, metrics and log events."""

import ast
import re
from pathlib import Path
from typing import get_args

import pytest

from gateway.calls.shared import refusal_for
from gateway.faults import FaultId, UpstreamFailure
from gateway.observability.metrics import Metrics
from gateway.runtime.context import RequestContext
from gateway.settings.schema import LimitSettings, Settings

PAGE_FILE = Path(__file__).parents[3] / "docs" / "operating.md"
PAGE = PAGE_FILE.read_text("utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| `")
]
DEFAULTS = {names: more[0] for names, *more in ROWS if names.startswith("`limits.")}
STATUSES = {
    fault: more[1]
    for names, *more in ROWS
    if len(more) == 2
    for fault in re.findall(r"`(\w+)`", names)
}


def test_every_limit_has_its_default_there() -> None:
    """The drain has a chapter of its own."""
    limits = LimitSettings()
    stated = {
        name: float(text.partition(" ")[0]) * (2**20 if text.endswith(" MiB") else 1)
        for name, text in DEFAULTS.items()
    }
    assert {
        f"`limits.{name}`": getattr(limits, name)
        for name in limits.__struct_fields__
        if name != "drain_s"
    } == stated
    assert "`limits.drain_s`" in PAGE


@pytest.mark.parametrize("fault", get_args(FaultId))
def test_every_fault_has_its_status_there(fault: FaultId) -> None:
    """That of the rows of errors."""
    refusal = refusal_for(UpstreamFailure("x", fault=fault), RequestContext(Settings(), ""))
    assert STATUSES[fault].startswith(str(refusal.status))


async def test_every_metric_is_there() -> None:
    """By the name that Prometheus sees; labels are not looked at."""
    families = re.findall(r"^# TYPE (olgate_\w+) \w+$", Metrics().text().decode(), re.MULTILINE)
    seen = {name for name in families if not name.endswith("_created")}
    assert seen == set(re.findall(r"^\| `(olgate_\w+)`", PAGE, re.MULTILINE))


LEVELS = {"exception": "error"}
"""How a logging method's level is called, where it is not the method's own name."""


def logged() -> set[tuple[str, str]]:
    """Return each event with its level, as the gateway's modules state it."""
    found = set()
    for path in (PAGE_FILE.parents[1] / "gateway").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=logger, attr=method),
                    args=[ast.Constant(value=str() as event), *_],
                ) if ast.unparse(logger) in {"self._log", "_log", "log"}:
                    found.add((event, LEVELS.get(method, method)))
                case ast.Call(
                    func=ast.Name(id="_line_of"),
                    args=[ast.Constant(value=str() as level), ast.Constant(value=str() as event)],
                ):
                    found.add((event, level))
    return found


def explained() -> set[tuple[str, str]]:
    """Return each event of the page with its level; some rows have several of both."""
    found = set()
    rows = PAGE.partition("### Events")[2].partition("\n## ")[0]
    for names, levels in re.findall(r"^\| (`.+`) \| ([a-z, ]+) \|", rows, re.MULTILINE):
        events, each = re.findall(r"`([^`]+)`", names), levels.split(", ")
        found |= set(zip(events, each * len(events) if len(each) == 1 else each, strict=False))
    return found


def test_every_event_is_there_with_its_level() -> None:
    """What is logged can be looked up, and nothing else stands there."""
    assert {("model loaded", "info"), ("upstream failure", "warning")} <= logged()
    assert logged() == explained()
