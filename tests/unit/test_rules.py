"""The alerts: each is tried by promtool at its real `for`, and leads to where help is."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import promql
from tests.support.faults import OF_A_CLUSTER, OF_ONE_MACHINE
from tests.support.prometheus import hastened

ROOT = Path(__file__).parents[2]
OBSERVABILITY = ROOT / "observability"
RULES = (OBSERVABILITY / "rules.yml").read_text()
TESTS = (OBSERVABILITY / "rules.test.yml").read_text()

FIELDS = ("summary", "description", "runbook_url")
SECONDS = {"s": 1, "m": 60, "h": 3_600}
RULE = re.compile(r"^ +- (alert|record): (.+)\n((?: {8}.*\n)+)", re.M)


class Rule(NamedTuple):
    """An alert or a recording rule."""

    kind: str
    name: str
    body: str

    def field(self, name: str) -> str:
        """Its value on one line, without quotes; empty: it has none."""
        found = re.search(rf"^ +{name}: (.*)$", self.body, re.M)
        return found[1].strip("'") if found else ""

    @property
    def expr(self) -> str:
        found = re.search(r"expr: \|\n((?: {10,}.*\n)+)|expr: (.*)\n", self.body)
        assert found, self.body
        return found[1] or found[2]


FOUND = [Rule(*match.groups()) for match in RULE.finditer(RULES)]
ALERTS = [rule for rule in FOUND if rule.kind == "alert"]
WAITING = {rule.name for rule in ALERTS if rule.field("for") != "0s"}


def tried(program: str, folder: Path, rules: str) -> str:
    """What promtool says against these rules; empty: nothing."""
    (folder / "rules.yml").write_text(rules)
    (folder / "rules.test.yml").write_text(TESTS)
    argv = [program, "test", "rules", str(folder / "rules.test.yml")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == ("SUCCESS" in done.stdout), done.stdout + done.stderr
    return "" if done.returncode == 0 else done.stdout + done.stderr


def named(said: str, what: str) -> set[str]:
    """The alerts that promtool names as `exp` or `got`."""
    lines = re.findall(rf"^ +{what}: (.*)$", said, re.M)
    return set(re.findall(r'alertname="(\w+)"', " ".join(lines)))


def with_for(change: int | None) -> str:
    """The rules, each `for` longer by that many seconds; None: without."""

    def changed(found: re.Match[str]) -> str:
        whole_s = int(found[1]) * SECONDS[found[2]]
        return f"for: {0 if change is None else whole_s + change}s"

    return re.sub(r"for: (\d+)([smh])$", changed, RULES, flags=re.M)


def test_every_rule_is_found() -> None:
    assert len(FOUND) == len(re.findall(r"^ +- (?:alert|record):", RULES, re.M)) > 20
    assert len({rule.name for rule in FOUND}) == len(FOUND)


def test_the_rules_do_what_their_tests_say(promtool: str, tmp_path: Path) -> None:
    assert tried(promtool, tmp_path, RULES) == ""


def test_the_tests_see_an_alert_that_does_not_wait(promtool: str, tmp_path: Path) -> None:
    assert named(tried(promtool, tmp_path, with_for(None)), "got") >= WAITING


def test_the_tests_see_an_alert_that_waits_too_long(promtool: str, tmp_path: Path) -> None:
    missed = named(tried(promtool, tmp_path, with_for(10)), "exp")
    assert missed == {rule.name for rule in ALERTS}


def test_every_alert_has_a_fault_under_which_it_is_seen_on_a_cluster() -> None:
    seen = [name for fault in OF_A_CLUSTER for name in fault.alerts]
    seen += [name for fault in OF_ONE_MACHINE for name in fault.alerts]
    assert sorted(seen) == sorted(rule.name for rule in ALERTS)


def test_where_they_are_seen_live_they_wait_for_less_and_are_the_same_else() -> None:
    times = re.compile(r"(\[|for: |offset )(\d+[smh])")
    quick = hastened(RULES)
    assert times.sub(r"\1", quick) == times.sub(r"\1", RULES)
    assert {found[2] for found in times.finditer(quick)} == {"1s", "12s", "24s", "60s", "1h"}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_says_what_to_do(alert: Rule) -> None:
    assert re.fullmatch(r"\d+[smh]", alert.field("for"))
    assert re.fullmatch(r"\{severity: (critical|warning)\}", alert.field("labels"))
    assert all(alert.field(name) for name in FIELDS)
    page, _, anchor = alert.field("runbook_url").partition("#")
    assert page == "docs/runbook.md"
    assert anchor in anchors((ROOT / page).read_text())


def anchors(text: str) -> set[str]:
    """Those of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("rule", FOUND, ids=lambda rule: rule.name)
def test_a_rule_names_what_exists(rule: Rule) -> None:
    assert promql.unknown(rule.expr) == set()


def test_every_recorded_name_is_of_a_rule() -> None:
    assert {rule.name for rule in FOUND if rule.kind == "record"} == set(promql.RECORDED)


def test_the_samples_of_the_tests_are_of_metrics_that_exist() -> None:
    series = re.findall(r"series: '(.+?)', values", TESTS)
    assert len(series) > 30
    assert {each: found for each in series if (found := promql.unknown(each))} == {}
