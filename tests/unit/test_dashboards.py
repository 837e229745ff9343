"""The dashboards: as the script makes them, and with queries of metrics that exist."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from scripts import dashboards, metrics
from tests.support import promql

FILES = dashboards.files()
PANELS = [*dashboards.OVERVIEW, *dashboards.MESSAGES, *dashboards.APPS]
QUERIES = [query for panel in PANELS for query in panel.queries.values()]


@pytest.mark.parametrize("file_name", FILES)
def test_a_dashboard_is_what_the_script_makes(file_name: str) -> None:
    assert (dashboards.FOLDER / file_name).read_text() == FILES[file_name], "run `make reference`"


def test_there_are_no_others() -> None:
    assert {path.name for path in dashboards.FOLDER.iterdir()} == set(FILES)


@pytest.mark.parametrize("file_name", FILES)
def test_panels_do_not_overlap(file_name: str) -> None:
    panels = json.loads(FILES[file_name])["panels"]
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels) == len({panel["id"] for panel in panels})


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_names_what_exists(query: str) -> None:
    assert promql.unknown(query) == set()


def test_promtool_understands_every_query(promtool: str, tmp_path: Path) -> None:
    rules = [{"record": f"query{number}", "expr": query} for number, query in enumerate(QUERIES)]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    argv = [promtool, "check", "rules", str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert f"SUCCESS: {len(QUERIES)} rules found" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel.title)
def test_a_legend_names_labels_that_the_query_keeps(panel: dashboards.Panel) -> None:
    for legend, query in panel.queries.items():
        for label in legend.split("{{")[1:]:
            name = label.partition("}}")[0]
            assert name in query or "by (" not in query, legend


def test_every_metric_has_a_help_and_a_unit() -> None:
    for metric in metrics.servers():
        assert metric.help.endswith("."), metric.name
        assert metric.name.startswith("cecochat_")
        if metric.type == "histogram":
            assert metric.name.endswith("_seconds")


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("sum(cecochat_sessions)", set()),
        ("sum(cecochat_sesions)", {"cecochat_sesions"}),
        ("rate(cecochat_connects[1m])", {"cecochat_connects"}),
        ("rate(cecochat_query_seconds_bucket[1m])", set()),
        ("rate(cecochat_query_seconds[1m])", {"cecochat_query_seconds"}),
        ('cecochat_connects_total{code="ok",cod="x"} > 3e-2', {"cod"}),
        ("sum by (namespace, state) (cecochat_sessions)", {"state"}),
        ("a:b:c / on (namespace) cecochat_sessions offset 5m", {"a:b:c"}),
        ('up{job="cecochat"} == 0 unless cecochat_control_leads', set()),
    ],
)
def test_what_does_not_exist_is_found(query: str, wrong: set[str]) -> None:
    assert promql.unknown(query) == wrong
