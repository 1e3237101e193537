"""The alerts and the dashboard in deploy/ ask for what the gateway counts."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from gateway.observability.metrics import Metrics
from gateway.observability.record import Record
from gateway.types import openai

ROOT = Path(__file__).parents[3]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = PROMETHEUS / "olgate.rules.yaml"
TESTS = PROMETHEUS / "olgate.rules.test.yaml"
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "olgate.json").read_text("utf-8"))

PROMETHEUS_OWN = {"instance", "job", "le", "severity"}
"""Labels that Prometheus adds, and those of alerts."""


def promtool(*arguments: object) -> None:
    """Run promtool, which must succeed."""
    command = shutil.which("promtool")
    if command is None:
        pytest.skip("promtool is not installed (Debian's package prometheus has it)")
    done = subprocess.run(
        [command, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60
    )
    assert 0 == done.returncode, done.stdout + done.stderr


def counted() -> dict[str, set[str]]:
    """Return each sample's name with its labels, of a gateway that has counted everything."""
    metrics = Metrics()
    metrics.gauges.watch_hosts(lambda: {"studio": True})
    metrics.gauges.watch_slots(lambda: {"studio": 4})
    metrics.gauges.watch_waiting("load", lambda: 0)
    record = Record(metrics)
    record.route, record.model, record.is_model_known = "/api/chat", "tiny", True
    record.host, record.fault, record.retries, record.is_stream = "studio", "connect", 1, True
    record.tokens_in, record.tokens_out, record.estimated = 1, 2, ("in",)
    record.first_ns = record.first_token_ns = record.started_ns
    record.queued_ns = record.ready_ns = 1
    metrics.note_end(record, "POST", 200)
    metrics.note_load(record, "loaded", 1.0)
    metrics.note_odd("Kind", ["key"])
    look = metrics.sampled(openai.ChatCompletionChunk)
    assert look is not None
    look(msgspec.json.encode({"brand_new": 1}))
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def panels() -> Iterator[dict[str, Any]]:
    """Yield the dashboard's panels, without the headings of rows."""
    for panel in DASHBOARD["panels"]:
        if panel["type"] != "row":
            yield panel


def queries() -> dict[str, str]:
    """Return the dashboard's queries by panel, with values in place of its variables."""
    found = {}
    for panel in panels():
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", "5m")
            found[f"{panel['title']} {target['refId']}"] = re.sub(r"\$\w+", ".*", query)
    return found


def alerts() -> dict[str, str]:
    """Return the expression of each alert."""
    (group,) = YAML(typ="safe").load(RULES)["groups"]
    return {rule["alert"]: rule["expr"] for rule in group["rules"]}


async def test_what_is_asked_for_is_counted() -> None:
    """Every metric of a query exists, with every label that the query names."""
    known = counted()
    for place, query in {**queries(), **alerts()}.items():
        names = set(re.findall(r"\b(?:olgate|process)_\w+", query))
        if names or place != "OlgateDown":
            assert names, place
        assert names <= known.keys(), place
        labels = {label for name in names for label in known[name]} | PROMETHEUS_OWN
        groups = re.findall(r"by \(([^)]*)\)", query)
        asked = {label.strip() for group in groups for label in group.split(",")}
        asked |= set(re.findall(r'(\w+)(?:=~|!=|!~|=)"', query))
        assert asked <= labels, place


async def test_everything_that_is_counted_is_on_the_dashboard() -> None:
    """A metric that no panel shows is one that nobody will find."""
    shown = set(re.findall(r"\bolgate_\w+", " ".join(queries().values())))
    bases = {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown}
    known = {re.sub(r"_(bucket|count|sum)$", "", name) for name in counted()}
    assert {name for name in known if name.startswith("olgate_")} == bases


def test_panels_are_apart_and_explained() -> None:
    """No two of them overlap, and a legend names only labels that its query keeps."""
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    for panel in panels():
        for target in panel["targets"]:
            groups = re.findall(r"by \(([^)]*)\)", target["expr"])
            kept = {label.strip() for group in groups for label in group.split(",")}
            named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            is_grouped = target["expr"].startswith(("sum", "histogram", "count"))
            assert named <= (kept if is_grouped else kept | {"instance", "host"}), panel["title"]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


def test_prometheus_reads_the_alerts() -> None:
    """And its settings, which name them."""
    promtool("check", "rules", RULES)
    promtool("check", "config", PROMETHEUS / "prometheus.yaml")


def test_each_alert_fires_when_it_should() -> None:
    """Before it should, it does not; every alert has such a test."""
    tests = YAML(typ="safe").load(TESTS)["tests"]
    tried = {
        case["alertname"]
        for test in tests
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    quiet = {
        case["alertname"]
        for test in tests
        for case in test["alert_rule_test"]
        if not case["exp_alerts"]
    }
    assert alerts().keys() == tried
    assert alerts().keys() == quiet | {"OlgateBodiesWait"}
    promtool("test", "rules", TESTS)


def test_prometheus_reads_the_dashboards_queries(tmp_path: Path) -> None:
    """Written as rules, since promtool checks queries in rules only."""
    rules = [
        {"record": f"panel:{number}", "expr": query}
        for number, query in enumerate(queries().values())
    ]
    file = tmp_path / "panels.yaml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}), "utf-8")
    promtool("check", "rules", file)
