"""The dashboards of Grafana as code: `python -m scripts.reference` writes them into
`observability/dashboards/`, for Grafana to provision or a person to import.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).resolve().parent.parent / "observability" / "dashboards"

SOURCE = {"type": "prometheus", "uid": "${source}"}
WIDTH, HEIGHT, ACROSS = 8, 7, 3  # of a panel, of the 24 columns; panels in a row
Q = '{namespace="$namespace"}'


class Panel(NamedTuple):
    """A graph, with queries by their legends."""

    title: str
    unit: str  # as Grafana names it
    queries: dict[str, str]


def _rate(name: str, by: str, more: str = "") -> str:
    return f'sum by ({by}) (rate({name}{{namespace="$namespace"{more}}}[1m]))'


def _p99(name: str, by: str) -> str:
    return f"histogram_quantile(0.99, {_rate(f'{name}_bucket', f'{by}, le')})"


OVERVIEW = [
    Panel("Alerts that fire", "short", {
        "{{alertname}}": 'count by (alertname) (ALERTS{alertstate="firing"})'}),
    Panel("Servers that answer", "short", {
        "{{service}}": f'sum by (service) (up{{job="cecochat", {Q[1:]})'}),
    Panel("Servers wanted and live", "short", {
        "{{set}} {{state}}": f"max by (set, state) (cecochat_control_servers{Q})"}),
    Panel("Partitions", "short", {
        "{{state}}": f"max by (state) (cecochat_control_partitions{Q})",
        "owned": f"sum(cecochat_partitions_owned{Q})"}),
    Panel("Moves of partitions", "ops", {
        "{{reason}}": _rate("cecochat_control_moves_total", "reason")}),
    Panel("Version of the documents", "none", {
        "configuration, {{instance}}": f"cecochat_configuration_version{Q}",
        "assignment, {{instance}}": f"cecochat_assignment_version{Q}"}),
    Panel("Sessions", "short", {
        "{{instance}}": f"cecochat_sessions{Q}", "limit": f"max(cecochat_sessions_max{Q})"}),
    Panel("Sessions ended by servers", "ops", {
        "{{code}}": _rate("cecochat_disconnects_total", "code")}),
    Panel("Streams ended", "ops", {"{{code}}": _rate("cecochat_streams_total", "code")}),
    Panel("Lookups", "ops", {"{{code}}": _rate("cecochat_connects_total", "code")}),
    Panel("Lookups, 99 of 100 within", "s", {
        "{{instance}}": _p99("cecochat_connect_seconds", "instance")}),
    Panel("Tokens refused", "ops", {
        "{{service}} {{code}}": _rate("cecochat_token_failures_total", "service, code")}),
    Panel("Queries", "ops", {
        "{{call}} {{code}}": _rate("cecochat_query_seconds_count", "call, code")}),
    Panel("Queries, 99 of 100 within", "s", {
        "{{call}}": f"namespace_call:cecochat_query_seconds:p99{Q}"}),
    Panel("Event loop, 9 of 10 late by at most", "s", {
        "{{instance}}": f"instance:cecochat_event_loop_lag_seconds:p90{Q}"}),
]  # fmt: skip

MESSAGES = [
    Panel("Sends", "ops", {
        "accepted": _rate("cecochat_sends_accepted_total", "namespace"),
        "repeated": _rate("cecochat_sends_repeated_total", "namespace"),
        "refused, {{code}}": _rate("cecochat_sends_refused_total", "code")}),
    Panel("From the id to each stage, half within", "s", {
        "{{stage}}": f"namespace_stage:cecochat_message_seconds:p50{Q}"}),
    Panel("From the id to each stage, 99 of 100 within", "s", {
        "{{stage}}": f"namespace_stage:cecochat_message_seconds:p99{Q}"}),
    Panel("Records appended", "ops", {
        "{{instance}}": _rate("cecochat_records_appended_total", "instance")}),
    Panel("Appends, 99 of 100 within", "s", {
        "{{records}}": _p99("cecochat_append_seconds", "records"),
        "oldest under way": f"max(cecochat_append_wait_seconds{Q})"}),
    Panel("Epochs ended by a failed append", "short", {
        "{{instance}}": f"increase(cecochat_producer_failures_total{Q}[1m])"}),
    Panel("Bytes that wait", "bytes", {
        "{{queue}} {{instance}}": f"cecochat_queue_bytes{Q}"}),
    Panel("Copies behind, by partition group", "short", {
        "{{group}}": f"max by (group) (cecochat_forward_lag_group_records{Q})",
        "most": f"max(cecochat_forward_lag_records{Q})"}),
    Panel("Readings again for copies", "ops", {
        "{{instance}}": _rate("cecochat_forward_recalls_total", "instance")}),
    Panel("Sessions started", "ops", {"{{how}}": _rate("cecochat_resumes_total", "how")}),
    Panel("Sessions, 99 of 100 started within", "s", {
        "{{instance}}": _p99("cecochat_resume_seconds", "instance")}),
    Panel("Records that do not count", "ops", {
        "{{kind}}": _rate("cecochat_records_void_total", "kind"),
        "copy, {{reason}}": _rate("cecochat_copies_not_counted_total", "reason")}),
    Panel("Takeovers", "ops", {"{{instance}}": _rate("cecochat_takeovers_total", "instance")}),
    Panel("Takeovers, 99 of 100 within", "s", {
        "all": _p99("cecochat_takeover_seconds", "namespace")}),
    Panel("Rows written", "ops", {"{{table}}": _rate("cecochat_rows_written_total", "table")}),
    Panel("Materialize behind, by partition group", "short", {
        "{{group}}": f"max by (group) (cecochat_materialize_lag_group_records{Q})",
        "most": f"max(cecochat_materialize_lag_records{Q})"}),
    Panel("Materialize behind, in time", "s", {
        "{{instance}}": f"cecochat_materialize_lag_seconds{Q}",
        "a quarter of the retention": f"0.25 * min(cecochat_retention_seconds{Q})"}),
    Panel("Records of the log that wait too long", "short", {
        "{{task}}": f"max by (task) (cecochat_log_late_records{Q})"}),
    Panel("Rows that the history lacks", "short", {
        "{{partition}}": f"max by (partition) (cecochat_audit_missing_rows{Q}) > 0"}),
    Panel("Rows compared with the log", "ops", {
        "{{instance}}": _rate("cecochat_audit_rows_total", "instance")}),
    Panel("Compared behind, by partition group", "short", {
        "{{group}}": f"max by (group) (cecochat_audit_lag_group_records{Q})",
        "most": f"max(cecochat_audit_lag_records{Q})"}),
    Panel("Compared and complete, up to how long ago", "s", {
        "{{partition}}":
            f"time() - (max by (partition) (cecochat_audit_complete_timestamp_seconds{Q}) > 0)"}),
    Panel("Offset up to which all is there", "none", {
        "{{partition}}": f"max by (partition) (cecochat_audit_complete_offset{Q})"}),
    Panel("Writes of rows, 99 of 100 within", "s", {
        "{{instance}}": _p99("cecochat_history_write_seconds", "instance")}),
    Panel("Writes that the database did not take", "ops", {
        "{{instance}}": _rate("cecochat_history_retries_total", "instance")}),
    Panel("Records that could not be understood", "short", {
        "{{instance}}": f"cecochat_dead_letters_total{Q}"}),
    Panel("Holes of the history", "short", {
        "acknowledged: {{acknowledged}}":
            f"max by (acknowledged) (cecochat_history_holes{Q})"}),
    Panel("Rows that the database refuses", "short", {
        "{{instance}}": f"cecochat_rows_refused_total{Q}"}),
]  # fmt: skip

APPS = [
    Panel(title, unit, {"{{app}}": query})
    for title, unit, query in (
        ("Sessions", "short", f"sum by (app) (cecochat_app_sessions{Q})"),
        ("Sends accepted", "ops", _rate("cecochat_app_sends_accepted_total", "app")),
        ("Sends refused", "ops", _rate("cecochat_app_sends_refused_total", "app")),
        ("Events for open sessions", "ops", _rate("cecochat_app_deliveries_total", "app")),
        ("Queries", "ops", _rate("cecochat_app_queries_total", "app")),
        ("Calls of back ends", "ops", _rate("cecochat_app_backend_calls_total", "app")),
        ("Sends of back ends", "ops", _rate("cecochat_app_backend_sends_total", "app")),
        ("Webhooks taken", "ops", _rate("cecochat_app_webhooks_total", "app")),
    )
]


def files() -> dict[str, str]:
    """Return the text of each file in `observability/dashboards/`, by name."""
    return {
        "overview.json": _text("CecoChat: overview", "cecochat-overview", OVERVIEW),
        "apps.json": _text("CecoChat: the apps", "cecochat-apps", APPS),
        "messages.json": _text("CecoChat: the path of messages", "cecochat-messages", MESSAGES),
    }


def _text(title: str, uid: str, panels: list[Panel]) -> str:
    dashboard = {
        "title": title,
        "uid": uid,
        "tags": ["cecochat"],
        "schemaVersion": 38,
        "editable": False,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": _variables()},
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }
    return json.dumps(dashboard, indent=1) + "\n"


def _variables() -> list[dict[str, Any]]:
    names = 'label_values(up{job="cecochat"}, namespace)'
    query = {"query": names, "refId": "namespaces"}
    return [
        {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
        {"name": "namespace", "type": "query", "datasource": SOURCE, "query": query, "refresh": 2},
    ]


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(number, ACROSS)
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": SOURCE,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + each), "datasource": SOURCE, "expr": expr, "legendFormat": how}
            for each, (how, expr) in enumerate(panel.queries.items())
        ],
    }
