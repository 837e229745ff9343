"""What the overview makes of what servers say: rates, latencies, who has left, what is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cecochat.domain.log.ids import ChatId
from cecochat.internal.v1.internal_pb2 import ConnectLoad, Load, MessagingLoad, StageAges
from cecochat.overview import cluster
from cecochat.overview.cluster import SILENT, Cluster
from cecochat.overview.departed import KEPT_MS, Departed
from cecochat.overview.facts import as_json as as_json_of_system
from cecochat.overview.ownership import View
from cecochat.overview.quantiles import quantile
from cecochat.overview.rates import Rates
from cecochat.overview.wrong import what_is_wrong
from cecochat.ports.discovery import Instance, Service
from cecochat.ports.history import Hole
from cecochat.runtime.pages import Built
from cecochat.servers.control.late import DROP, GROUPS
from cecochat.servers.history.holes import as_json

BOUNDS = (0.1, 0.2, 0.4)


def instance(service: Service, name: str) -> Instance:
    return Instance(service, name, "127.0.0.1:1", "http://127.0.0.1:2", "1")


# -- quantiles


@pytest.mark.parametrize(
    ("share", "counts", "expected"),
    [
        (0.5, [10, 10, 10, 10], 0.05),  # half of what lies below the first bound
        (0.5, [0, 10, 10, 10], 0.15),
        (0.5, [4, 6, 10, 10], 0.15),
        (0.99, [0, 0, 100, 100], 0.398),
        (0.99, [0, 0, 0, 7], 0.4),  # above the last bound, where no more is known
        (0.5, [0, 0, 0, 0], None),
    ],
)
def test_a_quantile_lies_between_two_bounds(
    share: float, counts: list[int], expected: float | None
) -> None:
    assert quantile(share, BOUNDS, counts) == pytest.approx(expected)


# -- rates


def carried(sends: int, ages: list[int] | None = None) -> Load:
    of_stage = [StageAges(stage="delivered", bounds_s=BOUNDS, counts=ages)] if ages else []
    return Load(messaging=MessagingLoad(sessions=3, sends_accepted=sends, ages=of_stage))


def test_rates_are_those_of_the_last_seconds_over_all_servers() -> None:
    rates = Rates()
    for second, sends in enumerate([0, 1_000, 1_010, 1_030]):
        rates.see(second * 5.0, {"a": carried(sends), "b": carried(sends), "c": None})
    shown = rates.shown(["a", "b", "c"])
    assert shown["sends_per_s"] == 2 * 30 / 10
    assert shown["sessions"] == 6
    assert shown["lookups_per_s"] is None, "nobody has said"


def test_a_server_that_started_again_has_no_negative_rate() -> None:
    rates = Rates()
    rates.see(0, {"a": Load(connect=ConnectLoad(lookups=100))})
    rates.see(1, {"a": Load(connect=ConnectLoad(lookups=1))})
    assert rates.shown(["a"])["lookups_per_s"] == 0


def test_the_first_look_measures_nothing_and_says_so() -> None:
    rates = Rates()
    rates.see(0, {"a": carried(7, [7, 7, 7, 7])})
    assert rates.shown(["a"])["measured_s"] is None
    for second in range(2, 100, 2):
        rates.see(second, {"a": carried(7, [7, 7, 7, 7])})
        assert rates.shown(["a"])["measured_s"] == min(second, 60)


def test_latency_is_that_of_the_last_minute() -> None:
    rates = Rates()
    rates.see(0, {"a": carried(0, [500, 500, 500, 500])})
    rates.see(100, {"a": carried(0, [500, 500, 500, 500])})
    assert rates.shown(["a"])["stages"]["delivered"] is None, "it was measured long ago"
    rates.see(101, {"a": carried(0, [500, 510, 510, 510])})
    assert rates.shown(["a"])["stages"]["delivered"] == pytest.approx(
        {"p50_ms": 150, "p99_ms": 199}
    )
    assert rates.shown(["a"])["stages"]["materialized"] is None


def test_a_stage_that_nothing_had_reached_before_counts_from_zero() -> None:
    rates = Rates()
    rates.see(0, {"a": carried(0)})
    rates.see(1, {"a": carried(0, [10, 10, 10, 10])})
    assert rates.shown(["a"])["stages"]["delivered"] == pytest.approx({"p50_ms": 50, "p99_ms": 99})


# -- who has left


def test_a_server_that_left_is_shown_for_a_while_and_the_last_one_first() -> None:
    departed = Departed()
    one, two = instance("messaging", "one"), instance("history", "two")
    departed.see([one, two], 0)
    departed.see([two], 1_000)
    departed.see([], 2_000)
    assert [(each["instance_id"], each["gone_ms"]) for each in departed.shown()] == [
        ("two", 2_000),
        ("one", 1_000),
    ]
    departed.see([], 1_000 + KEPT_MS)
    assert [each["instance_id"] for each in departed.shown()] == ["two"]


def test_a_server_that_comes_back_is_not_shown_as_gone() -> None:
    departed, one = Departed(), instance("messaging", "one")
    departed.see([one], 0)
    departed.see([], 1)
    departed.see([one], 2)
    assert departed.shown() == []


# -- what is wrong

ONE_PROCESS = Cluster(
    servers={"messaging": (instance("messaging", "m"),), "history": (instance("history", "h"),)},
    not_ready={"m": "", "h": ""},
    controls=[],
    decisions=[],
    holes=[],
)
VIEW = View(1, "up", {0: "m", 1: "m"}, {"m": instance("messaging", "m")}, {"m": [0, 1]})


def test_one_process_needs_no_control_server() -> None:
    assert what_is_wrong(ONE_PROCESS, VIEW) == []
    in_a_cluster = replace(ONE_PROCESS, servers={**ONE_PROCESS.servers, "control": ()})
    assert what_is_wrong(in_a_cluster, VIEW) == [
        "no control server is live",
        "no control server leads",
    ]


def test_a_system_without_endpoints_needs_no_hook_server() -> None:
    """But those that are wanted have to be there."""
    without = replace(ONE_PROCESS, servers={**ONE_PROCESS.servers, "hooks": ()})
    assert what_is_wrong(without, VIEW) == []
    leader = {"leads": True, "sets": {"hooks": {"wanted": 2}}}
    assert "0 of 2 hooks servers are live" in what_is_wrong(
        replace(without, controls=[leader]), VIEW
    )


def test_a_log_that_takes_nothing_is_wrong_after_a_while() -> None:
    waits = replace(ONE_PROCESS, append_wait_s={"m": 5.0, "n": 12.3})
    assert what_is_wrong(waits, VIEW) == [
        "n has waited 12 s for the log to take an append: sends wait, and nothing that was "
        "acknowledged is lost"
    ]


def test_what_is_wrong_is_said_in_words() -> None:
    seen = replace(ONE_PROCESS, not_ready={"m": SILENT, "h": ""}, holes=None, lacking={1: [3, 4]})
    view = replace(VIEW, owned={"m": None})
    assert what_is_wrong(seen, view) == [
        "m is not ready: it does not answer",
        "2 partitions: silent",
        "users of partition 1 lack messages from partitions 3-4, which were asked for and do not "
        "come: they are only in the history",
        "no history server answers whether acknowledged messages are missing",
    ]
    assert what_is_wrong(ONE_PROCESS, None) == ["no partition is assigned"]


@pytest.mark.parametrize("view", [None, VIEW])
def test_an_assignment_that_cannot_be_read_is_not_said_to_be_empty(view: View | None) -> None:
    assert what_is_wrong(ONE_PROCESS, view, "Redis is away") == [
        "the assignment cannot be read now: Redis is away"
    ]


@pytest.mark.parametrize("leads", [[True, False, False], [False, False]])
def test_control_servers_that_do_not_lead_stand_by(leads: list[bool]) -> None:
    seen = replace(ONE_PROCESS, controls=[{"leads": each, "sets": {}} for each in leads])
    assert as_json_of_system(seen, VIEW)["standby"] == 2


def test_status_says_wrong_for_each_hole_that_nobody_knows_of() -> None:
    trimmed = Hole("log", 3, 10, 19, 1, 2, ChatId(""), "trimmed", "the log had dropped 10 to 19", 5)
    refused = Hole("log", 7, 91, 91, 6, 6, ChatId("d:a~b"), "refused", "too large", 5)
    known = refused._replace(partition=8, acknowledged_at_ms=9, acknowledged_by="anna")
    leader = {"leads": True, "sets": {}, "late": {}}
    holes = [as_json(each) for each in (trimmed, refused, known)]
    found = what_is_wrong(Cluster({}, {}, [leader], [], holes), None)
    assert [each for each in found if "lack" in each] == [
        "the history may lack acknowledged messages: hole 3:10, trimmed, the log had dropped 10 to "
        "19; see `cecochat holes list`, then `cecochat holes ack 3:10`",
        "the history may lack acknowledged messages of d:a~b: hole 7:91, refused, too large; see "
        "`cecochat holes list`, then `cecochat holes ack 7:91`",
    ]
    live = {"history": ("one",)}
    found = what_is_wrong(Cluster(live, {}, [leader], [], None), None)  # type: ignore[arg-type]
    assert "no history server answers whether acknowledged messages are missing" in found


def test_status_says_what_waits_too_long_in_the_log() -> None:
    late = {task: {"records": 4_711, "partitions": "0-3, 7"} for task in (*GROUPS, DROP)}
    leader = {"leads": True, "sets": {}, "late": late}
    found = what_is_wrong(Cluster({}, {}, [leader], [], []), None)
    assert [each for each in found if "4,711 records" in each] == [
        "4,711 records have waited too long to be written to the history, in partitions 0-3, 7",
        "4,711 records have waited too long to be forwarded to their recipients, in partitions "
        "0-3, 7",
        "the log keeps 4,711 records that are older than its retention, in partitions 0-3, 7: "
        "something needs them or they cannot be dropped, and disks fill up",
    ]
    quiet = what_is_wrong(Cluster({}, {}, [leader | {"late": {}}], [], []), None)
    assert not [each for each in quiet if "records" in each]


def test_status_says_what_the_history_lacks() -> None:
    missing = tuple({"partition": each, "text": f"{each}"} for each in (0, 1, 7))
    found = what_is_wrong(Cluster({}, {}, [], [], [], missing=missing), None)
    assert [each for each in found if "rows" in each] == [
        "the history lacks 3 rows of the log, in partitions 0-1, 7, and nobody has repaired that: "
        "`cecochat audit` names them"
    ]
    assert not [each for each in what_is_wrong(Cluster({}, {}, [], [], []), None) if "rows" in each]


def test_status_says_whose_messages_do_not_come() -> None:
    lacking = cluster._lacking([{"lacking": {"3": [7, 8, 9]}}, None, {"owned": {}}])
    found = what_is_wrong(Cluster({}, {}, [], [], [], lacking), None)
    (said,) = [each for each in found if "lack messages" in each]
    assert said.startswith("users of partition 3 lack messages from partitions 7-9, which were")


# -- its files


def test_what_an_editor_leaves_among_the_files_is_not_served(tmp_path: Path) -> None:
    for name in ("index.html", "main.js", "main.js~", ".main.js.swp"):
        (tmp_path / name).write_text("")
    assert Built.read(tmp_path).files.keys() == {"main.js"}
