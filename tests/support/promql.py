"""What a query names, against the metrics that exist."""

from __future__ import annotations

import re
from pathlib import Path

from scripts import metrics

RULES = Path(__file__).parents[2] / "observability" / "rules.yml"
RECORDED = re.findall(r"record: (\S+)", RULES.read_text())

MADE_BY_PROMETHEUS = {
    "up": {"job"},
    "ALERTS": {"alertname", "alertstate", "severity", "job"},
}
TARGET = {"instance", "service", "namespace"}
WORDS = {"by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset"}
OPERATORS = {"and", "or", "unless", "inf", "nan"}

NAME = r"[a-zA-Z_:][\w:]*"
LISTS = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
MATCHERS = re.compile(r"\{([^}]*)\}")


def known() -> dict[str, set[str]]:
    """Name of a sample -> its labels."""
    found = {name: set(labels) for name, labels in MADE_BY_PROMETHEUS.items()}
    for metric in metrics.servers():
        for sample in metric.samples:
            bucket = {"le"} if sample.endswith("_bucket") else set()
            found[sample] = {*metric.labels, *bucket}
    every = set().union(*found.values())
    return found | dict.fromkeys(RECORDED, every)


def unknown(query: str) -> set[str]:
    """Names of metrics in a query that no server has, and labels that none of those named has."""
    bare = re.sub(r'"[^"]*"', '""', query)
    labels = {
        *re.findall(rf"({NAME})\s*[=!]", " ".join(MATCHERS.findall(bare))),
        *re.findall(NAME, " ".join(LISTS.findall(bare))),
    }
    bare = re.sub(r"\[[^\]]*\]|\boffset \w+", " ", LISTS.sub(" ", MATCHERS.sub(" ", bare)))
    names = set(re.findall(rf"(?<![\w.])({NAME})\b(?!\s*\()", bare)) - WORDS - OPERATORS
    exist = known()
    has = TARGET.union(*(exist.get(name, set()) for name in names))
    return (names - exist.keys()) | (labels - has)
