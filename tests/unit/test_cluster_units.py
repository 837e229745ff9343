"""The units of systemd of a node: as a user of their own, within limits, with time to end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from cecochat.settings.settings import load
from scripts.backends.kinds import KINDS
from scripts.cluster import nomad, provision
from scripts.cluster.plan import Plan
from tests.support.node import environment_of, lines_of, parser, plans

GUEST_MIB = 4_096
"""MEMORY of the Vagrantfile; the guest of a cluster of one has more."""
HEAP_SHARE = 0.6
"""Of its memory, at most: Java needs about as much beside its heap."""
PROGRAM = Path("/usr/local/bin/nomad")

with_and_without = pytest.mark.parametrize("program", [None, PROGRAM], ids=["alone", "nomad"])


@pytest.fixture(autouse=True)
def nothing_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provision, "_write", lambda *_, **__: True)
    monkeypatch.setattr(nomad, "interface", lambda _: "eth1")


def units_of(here: Plan, program: Path | None = None) -> Mapping[str, Mapping[str, list[str]]]:
    return {name: lines_of(text) for name, text in provision._units(here, program).items()}


def one(unit: Mapping[str, list[str]], setting: str) -> str:
    (value,) = unit[setting]
    return value


def mebibytes(text: str) -> int:
    return int(text[:-1]) * {"M": 1, "G": 1_024}[text[-1].upper()]


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


@with_and_without
def test_nothing_runs_as_root(program: Path | None) -> None:
    for unit in units_of(plans(1)[0], program).values():
        assert one(unit, "User") not in ("root", "0")
        assert one(unit, "NoNewPrivileges") == "true"


@with_and_without
def test_each_has_limits_that_its_guest_has(program: Path | None) -> None:
    for name, unit in units_of(plans(1)[0], program).items():
        assert 0 < mebibytes(one(unit, "MemoryMax")) < GUEST_MIB, name
        assert int(one(unit, "TasksMax")) > 0
        assert int(one(unit, "LimitNOFILE")) >= 65_536, "Kafka and Cassandra keep many files open"


def test_java_has_memory_beside_its_heap() -> None:
    found = units_of(plans(3)[0])
    for name in ("kafka", "cassandra"):
        heap = mebibytes(option(one(found[name], "ExecStart").split(), "--heap"))
        assert heap < HEAP_SHARE * mebibytes(one(found[name], "MemoryMax")), name


@with_and_without
def test_what_ends_is_started_again_for_ever(program: Path | None) -> None:
    for unit in units_of(plans(1)[0], program).values():
        assert one(unit, "Restart") == "always"
        assert one(unit, "StartLimitIntervalSec") == "0", "systemd gives up after five times"
        assert one(unit, "WantedBy") == "multi-user.target", "also after the machine has started"


def test_a_backend_has_the_time_to_end_that_it_takes() -> None:
    for name, unit in units_of(plans(1)[0]).items():
        if name in KINDS:
            assert int(one(unit, "TimeoutStopSec")) >= KINDS[name].stop_s


def test_a_backend_is_run_by_its_launcher_with_data_of_its_own() -> None:
    (here,) = plans(1)
    found = units_of(here)
    folders = set()
    for name in here.backends():
        python, *words = one(found[name], "ExecStart").split()
        assert Path(python).is_absolute(), "systemd wants it so"
        assert words[:2] == ["-m", "scripts.backends"]
        told = parser().parse_args(words[2:])
        assert told.name == name
        folders.add(told.data)
    assert len(folders) == len(here.backends())


def test_backends_find_what_was_brought_for_them() -> None:
    """`_backend` puts it there; systemd gives a unit no HOME to have a cache in."""
    for name, text in provision._units(plans(3)[1], None).items():
        if name in KINDS:
            assert environment_of(text)["XDG_CACHE_HOME"] == str(provision.CACHE)


# Servers


def test_without_nomad_each_server_is_a_unit() -> None:
    for here in plans(3):
        servers = {name for name in units_of(here) if name.startswith("cecochat-")}
        wanted = {f"cecochat-{server.name}" for server in here.servers()}
        assert servers == wanted | {"cecochat-edge"}


def test_a_server_has_its_own_folder_and_settings_that_are_some() -> None:
    (here,) = plans(1)
    folders = []
    for server in here.servers():
        text = provision._units(here, None)[f"cecochat-{server.name}"]
        environment = dict(environment_of(text))
        assert Path(environment.pop("CECOCHAT_SETTINGS_FILE")).name == "cluster.env"
        folders.append(load({**here.settings(), **environment}).data_dir)
        assert lines_of(text)["ExecStart"][0].endswith(f"/cecochat serve {server.service}")
    assert len(set(folders)) == len(folders)


def test_with_nomad_no_server_is_a_unit_and_they_outlive_its_agent() -> None:
    found = units_of(plans(3)[2], PROGRAM)
    assert found.keys() == {*plans(3)[2].backends(), "nomad"}
    assert one(found["nomad"], "ExecStart").split()[:2] == [str(PROGRAM), "agent"]
    assert one(found["nomad"], "KillMode") == "process"
    assert "PrivateTmp" not in found["nomad"], "the next agent would not find its servers"
    assert {one(unit, "KillMode") for name, unit in found.items() if name != "nomad"} == {"mixed"}
