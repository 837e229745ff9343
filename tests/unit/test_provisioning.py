"""The parts of `scripts/backends` that start nothing: pins, checksums, ports, files, processes."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import signal
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typing_extensions import override

from cecochat.cli import target
from scripts.backends import (
    cassandra,
    cli,
    consul,
    env,
    jars,
    kafka,
    places,
    ports,
    probe,
    process,
    prometheus,
    prometheus_up,
    promtool,
    redis,
    store,
    tools,
    versions,
)
from scripts.backends.instance import Failed
from scripts.backends.kinds import KINDS, kind
from scripts.backends.process import Process
from tests.support.backends import Backends

SCRIPTS = Path(kafka.__file__).parent
EPHEMERAL = 32_768
"""The first of the ports that Linux gives to outgoing connections."""


# What is pinned


@pytest.mark.parametrize(
    ("name", "module", "version"),
    [
        ("consul", "github.com/hashicorp/consul", versions.CONSUL),
        ("jaeger", "github.com/jaegertracing/jaeger", versions.JAEGER),
        ("porcupine", "github.com/anishathalye/porcupine", versions.PORCUPINE),
        ("prometheus", "github.com/prometheus/prometheus", versions.PROMETHEUS),
    ],
)
def test_a_go_module_names_the_pinned_version(name: str, module: str, version: str) -> None:
    pinned = store.PINNED / name
    assert f"require {module} v{version}\n" in (pinned / "go.mod").read_text()
    sums = (pinned / "go.sum").read_text().splitlines()
    assert any(line.startswith(f"{module} v{version} h1:") for line in sums)


@pytest.mark.parametrize(
    ("name", "jar"),
    [
        ("kafka", f"kafka_2.13-{versions.KAFKA}.jar"),
        ("kafka", f"log4j-core-{versions.KAFKA_LOG4J}.jar"),
        ("kafka", f"log4j-slf4j-impl-{versions.KAFKA_LOG4J}.jar"),
        ("cassandra", f"cassandra-all-{versions.CASSANDRA}.jar"),
    ],
)
def test_the_checksums_are_those_of_the_pinned_version(name: str, jar: str) -> None:
    assert jar in jars.parse((store.PINNED / name / "jars.sha256").read_text())


def test_nothing_names_the_host_of_a_registry() -> None:
    hosts = re.compile(r"https?://(?!maven\.apache\.org/POM/)\S+")
    files = [path for path in SCRIPTS.rglob("*") if path.suffix in {".py", ".xml", ".mod", ".go"}]
    assert {str(path): found for path in files if (found := hosts.findall(path.read_text()))} == {}
    assert len(files) > 15


def test_jars_are_exactly_those_that_are_named(tmp_path: Path) -> None:
    libs, checksums = tmp_path / "libs", tmp_path / "jars.sha256"
    libs.mkdir()
    (libs / "a.jar").write_bytes(b"a")
    digest = hashlib.sha256(b"a").hexdigest()
    checksums.write_text(f"{digest}  a.jar\n")
    jars.verify(libs, checksums)
    (libs / "b.jar").write_bytes(b"b")
    with pytest.raises(Failed, match=r"says: b\.jar"):
        jars.verify(libs, checksums)
    checksums.write_text(f"{digest}  a.jar\n{digest}  b.jar\n{digest}  c.jar\n")
    with pytest.raises(Failed, match=r"says: b\.jar, c\.jar"):
        jars.verify(libs, checksums)


def test_jars_beside_a_start_script_on_the_path_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, name in (("bin", "kafka-server-start.sh"), ("libs", "kafka_2.13-4.0.0.jar")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert kafka.installed() == tmp_path / "libs"
    assert cassandra.installed() is None


# What is kept


def test_what_was_brought_is_whole_and_made_once(fresh_cache: Path) -> None:
    made = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "program").write_text("whole")

    first = store.bring("redis-like", "1", make, "made up")
    assert store.bring("redis-like", "1", make, "made up") == first
    assert (first / "program").read_text() == "whole"
    assert len(made) == 1
    assert first.parent == fresh_cache / "cecochat" / "backends"


def test_what_fails_half_way_leaves_nothing(fresh_cache: Path) -> None:
    def make(folder: Path) -> None:
        (folder / "half").touch()
        raise Failed("the network is down")

    with pytest.raises(Failed, match="network"):
        store.bring("redis-like", "1", make, "made up")
    left = [path.name for path in (fresh_cache / "cecochat" / "backends").iterdir()]
    assert left == ["redis-like.lock"]


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "pinned" / "redis-like").mkdir(parents=True)
    monkeypatch.setattr(store, "PINNED", tmp_path / "pinned")
    return tmp_path / "cache"


def test_another_pin_has_another_place(tmp_path: Path) -> None:
    (tmp_path / "go.sum").write_text("one")
    before = store.fingerprint(tmp_path)
    (tmp_path / "go.sum").write_text("two")
    assert store.fingerprint(tmp_path) != before


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("go1.26.8", (1, 26, 8)),
        ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0", (7, 0, 15)),
    ],
)
def test_versions_are_read(said: str, found: tuple[int, ...]) -> None:
    assert tools.numbers(said) == found


def test_a_command_that_fails_says_what_it_said() -> None:
    with pytest.raises(Failed, match=r"(?s)no such thing.*exit code 3"):
        tools.run(["sh", "-c", "echo no such thing; exit 3"])


# Ports


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


# Settings


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
    assert places.targets_file() == target.targets_file()
    assert places.metrics_token_file() == target.metrics_token_file()


def test_a_promtool_on_the_path_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert promtool.here() is None
    with pytest.raises(Failed, match="put that of Prometheus"):
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


# Signs of life


@pytest.fixture(params=[b"HTTP/1.1 200 OK\r\n\r\n<html>", b"\0" * 64, b"", b"-LOADING"])
def another(request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of a program that says the same to everybody, and hangs up."""

    class Says(socketserver.BaseRequestHandler):
        @override
        def handle(self) -> None:
            self.request.recv(1)
            self.request.sendall(request.param)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Says) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", KINDS)
def test_another_program_at_the_port_is_no_backend(name: str, another: int) -> None:
    assert not probe.answered(KINDS[name].answers, "127.0.0.1", another)


# Processes


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"]) as child:
        yield child
        child.kill()


def test_a_process_is_known_by_its_start(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    Process(sleeper.pid, process.began(sleeper.pid)).write(tmp_path / "pid", host="127.0.0.1")
    noted = Process.read(tmp_path / "pid")
    assert noted is not None
    assert noted.alive
    assert noted.memory_bytes > 0
    noted.signal(signal.SIGKILL)
    assert sleeper.wait(30) == -signal.SIGKILL
    assert not noted.alive


def test_another_process_with_the_number_is_left_alone(sleeper: subprocess.Popen[bytes]) -> None:
    another = Process(sleeper.pid, "an earlier time")
    assert not another.alive
    another.signal(signal.SIGKILL)
    os.kill(sleeper.pid, 0)
    assert sleeper.poll() is None


def test_one_that_is_only_not_reaped_is_gone(sleeper: subprocess.Popen[bytes]) -> None:
    noted = Process(sleeper.pid, process.began(sleeper.pid))
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert not noted.alive


@pytest.mark.parametrize(
    "spoil", [lambda p: p.write_text("{"), lambda p: p.write_text("7"), lambda p: None]
)
def test_a_pid_file_that_says_nothing_names_no_process(
    tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    spoil(tmp_path / "pid")
    assert Process.read(tmp_path / "pid") is None
