"""Where `scripts/backends` has its backends listen, and what it writes into their files."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import pytest

from cecochat.cli import systems
from scripts.backends import (
    cassandra,
    cli,
    consul,
    env,
    kafka,
    places,
    ports,
    prometheus,
    prometheus_up,
    promtool,
    redis,
)
from scripts.backends.instance import Failed
from scripts.backends.kinds import KINDS, kind
from tests.support.backends import Backends

EPHEMERAL = 32_768
"""The first of the ports that Linux gives to outgoing connections."""


# -- Ports


def test_ports_are_given_by_kind_and_role() -> None:
    assert ports.parse("kafka=1,kafka.controller=2,redis=3", KINDS) == {
        "kafka": {"clients": 1, "controller": 2},
        "redis": {"clients": 3},
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("kafak=1", "there is no kafak: use one of kafka"),
        ("kafka.clint=1", "kafka has only the ports clients, controller"),
        ("kafka=65536", "a number from 1 to 65535"),
        ("kafka", "a number from 1 to 65535"),
    ],
)
def test_a_wrong_port_says_why(text: str, why: str) -> None:
    with pytest.raises(Failed, match=why):
        ports.parse(text, KINDS)


def test_the_other_ports_keep_their_distance(tmp_path: Path) -> None:
    moved = kind("kafka").instance(tmp_path, {"clients": 5_000})
    assert moved.ports == {"clients": 5_000, "controller": 5_001}
    assert moved.address == "127.0.0.1:5000"


def test_default_ports_differ_and_stay_clear_of_outgoing_connections() -> None:
    defaults = [port for each in KINDS.values() for port in each.ports.values()]
    assert len(set(defaults)) == len(defaults)
    assert max(defaults) < EPHEMERAL
    assert not set(defaults) & set(ports.FREE)


def test_no_port_is_given_to_two_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "FREE", range(7_900, 7_940))
    given = [port for _ in range(4) for port in ports.free(kind("kafka")).values()]
    assert len(set(given)) == len(given)


def test_free_ports_are_free_and_differ() -> None:
    free = ports.free(kind("consul"))
    assert set(free) == set(kind("consul").ports)
    assert len(set(free.values())) == len(free)
    assert all(port in ports.FREE for port in free.values())


# -- Settings


def test_one_broker_is_its_own_quorum(tmp_path: Path) -> None:
    properties = kafka.properties(kind("kafka").instance(tmp_path))
    assert properties["controller.quorum.voters"] == "1@127.0.0.1:17093"
    assert properties["offsets.topic.replication.factor"] == 1
    assert properties["min.insync.replicas"] == 1


def test_three_brokers_replicate(tmp_path: Path) -> None:
    options = {"node-id": "2", "quorum": "1@a:17093,2@b:17093,3@c:17093"}
    properties = kafka.properties(kind("kafka").instance(tmp_path, options=options))
    assert properties["node.id"] == "2"
    assert properties["default.replication.factor"] == 3
    assert properties["min.insync.replicas"] == 2


def test_an_acknowledged_row_is_on_the_disk(tmp_path: Path) -> None:
    settings = cassandra.settings(kind("cassandra").instance(tmp_path))
    assert settings["commitlog_sync"] == "batch"
    json.dumps(settings)


def test_consul_opens_no_port_that_was_not_given(tmp_path: Path) -> None:
    instance = kind("consul").instance(tmp_path)
    opened = consul.settings(instance)["ports"]
    assert isinstance(opened, dict)
    assert set(opened.values()) - {-1} == set(instance.ports.values())


def test_redis_serves_others_where_it_listens_for_them(tmp_path: Path, backends: Backends) -> None:
    def protected(host: str) -> str:
        argv = redis.command(kind("redis").instance(tmp_path, host=host)).argv
        return argv[argv.index("--protected-mode") + 1]

    backends.provisioned("redis")
    assert [protected("127.0.0.1"), protected("10.0.0.1")] == ["yes", "no"]


def test_prometheus_asks_the_consul_that_it_is_given(tmp_path: Path) -> None:
    """All else is as it is for users."""
    theirs = prometheus.CONFIGURATION.read_text()
    ours = prometheus.configuration(kind("prometheus").instance(tmp_path))
    given = kind("prometheus").instance(tmp_path, options={"consul": "db:1", "token": "/a/t"})
    expected = theirs.replace("127.0.0.1:8500", "db:1")
    assert prometheus.configuration(given) == expected.replace(prometheus.TOKEN_THERE, '"/a/t"')
    assert f"127.0.0.1:{kind('consul').ports['http']}" in ours


def test_prometheus_is_told_of_the_consul_that_is_started_with_it(tmp_path: Path) -> None:
    arguments = argparse.Namespace(data=tmp_path, ports="consul=18500", host="127.0.0.1")
    _, started = cli._backends([kind("consul"), kind("prometheus")], arguments, {})
    assert started.instance.options == {"consul": "127.0.0.1:18500"}
    (started,) = cli._backends([kind("prometheus")], arguments, {"consul": "db:1"})
    assert started.instance.options == {"consul": "db:1"}


def test_prometheus_is_started_only_by_its_name() -> None:
    assert [each.name for each in cli._kinds([])] == list(KINDS)[:-2]
    assert [each.name for each in cli._kinds(["prometheus"])] == ["prometheus"]


def test_a_prometheus_that_cannot_ask_consul_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert prometheus.installed() is None
    for name, code in (("prometheus", 0), ("promtool", 1)):
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {code}\n")
        (tmp_path / name).chmod(0o755)
    assert prometheus.installed() is None
    (tmp_path / "promtool").write_text("#!/bin/sh\nexit 0\n")
    assert prometheus.installed() == str(tmp_path / "prometheus")


def test_the_rules_are_beside_the_configuration_that_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prometheus, "program", lambda: "prometheus")
    prometheus.command(kind("prometheus").instance(tmp_path))
    text = (tmp_path / "prometheus.yml").read_text()
    (named,) = re.findall(r"^rule_files:\n  - (\S+)", text, re.M)
    assert (tmp_path / named).read_text() == prometheus.RULES.read_text()


def test_what_up_has_written_is_scraped_without_consul(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "a: b"))
    text = prometheus_up.configuration(kind("prometheus-up").instance(tmp_path))
    assert f'- files: ["{tmp_path}/a: b/cecochat/targets.json"]' in text
    assert "- rules.yml" in text
    assert "consul" not in text.partition("scrape_configs")[2]
    assert f'credentials_file: "{tmp_path}/a: b/cecochat/metrics-token"' in text
    assert places.targets_file() == systems.targets_file()
    assert places.metrics_token_file() == systems.metrics_token_file()


def test_a_promtool_on_the_path_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert promtool.here() is None
    with pytest.raises(Failed, match="put the one of Prometheus"):
        promtool.program()
    with pytest.raises(Failed, match="prometheus is missing"):
        promtool.prometheus()
    for name, bring in (("promtool", promtool.program), ("prometheus", promtool.prometheus)):
        (tmp_path / name).touch(mode=0o755)
        assert bring() == str(tmp_path / name)


def test_addresses_are_noted_and_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "backends.env"
    env.write(path, {"kafka": "127.0.0.1:1", "jaeger": "127.0.0.1:2"})
    env.write(path, {"redis": "db:3"})
    assert path.read_text() == "CECOCHAT_KAFKA=127.0.0.1:1\nCECOCHAT_REDIS=db:3\n"
    env.forget(path, ["kafka", "consul"])
    assert env.read(path) == {"redis": "db:3"}
