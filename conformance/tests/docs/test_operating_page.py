"""The page about operating is whole: limits with their defaults, faults with their statuses."""

import re
from pathlib import Path
from typing import get_args

import pytest

from gateway.calls.shared import refusal_for
from gateway.faults import FaultId, UpstreamFailure
from gateway.observability.metrics import Metrics
from gateway.runtime.context import RequestContext
from gateway.settings.schema import LimitSettings, Settings

PAGE = Path(__file__, "../../../../docs/operating.md").resolve().read_text("utf-8")
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
