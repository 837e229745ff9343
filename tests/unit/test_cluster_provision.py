"""Making a node again changes what has changed, and restarts no more than that."""

from __future__ import annotations

import grp
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cecochat.settings.settings import load
from scripts.backends import tools
from scripts.backends.kinds import KINDS
from scripts.cluster import nomad, plan, provision, ready, units
from scripts.cluster.plan import Plan
from tests.support.node import plans

Node = Callable[..., set[str]]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folders that are written in a guest, in another place, where anybody owns files."""
    for name in ("ETC", "HOME", "DATA", "CACHE", "SHARED", "UNITS"):
        monkeypatch.setattr(provision, name, tmp_path / name.lower())
        (tmp_path / name.lower()).mkdir()
    for name in ("HOSTS", "COMMAND"):
        monkeypatch.setattr(provision, name, tmp_path / name.lower())
    monkeypatch.setattr(os, "chown", lambda *_: None)
    monkeypatch.setattr(shutil, "chown", lambda *_: None)
    monkeypatch.setattr(grp, "getgrnam", lambda _: grp.getgrgid(0))
    return tmp_path


# The checkout


@pytest.fixture
def checkout(machine: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the host shares with the guest: the folder in which `provision` runs."""
    folder = machine / "vagrant"
    for name in ("jobs", "observability", "protos", "scripts", "services"):
        (folder / name).mkdir(parents=True)
        (folder / name / "one.py").write_text(name)
    for name in ("README.md", "LICENSE", *provision.LOCKED):
        (folder / name).write_text(name)
    monkeypatch.chdir(folder)
    return folder


def test_what_is_copied_is_all_that_there_is_to_run(checkout: Path, machine: Path) -> None:
    assert provision._checkout()
    copied = machine / "home" / "checkout"
    assert {path.name for path in copied.iterdir()} == {path.name for path in checkout.iterdir()}
    assert (copied / "services" / "one.py").read_text() == "services"


def test_what_root_alone_may_read_is_copied_for_all(checkout: Path, machine: Path) -> None:
    (checkout / "services" / "one.py").chmod(0o600)
    (checkout / "services").chmod(0o700)
    provision._checkout()
    copied = machine / "home" / "checkout" / "services"
    assert copied.stat().st_mode & 0o777 == 0o755
    assert (copied / "one.py").stat().st_mode & 0o777 == 0o644


def test_all_that_is_copied_is_in_this_repository() -> None:
    names = (*provision.CHECKOUT, *provision.LOCKED)
    assert [name for name in names if not (ROOT / name).exists()] == []


def edit(folder: Path) -> None:
    (folder / "services" / "one.py").write_text("edited")


def remove(folder: Path) -> None:
    (folder / "jobs" / "one.py").unlink()


def add(folder: Path) -> None:
    (folder / "scripts" / "two.py").touch()


def change_a_lock(folder: Path) -> None:
    (folder / "requirements.lock").write_text("another")


@pytest.mark.parametrize("change", [edit, remove, add, change_a_lock])
def test_a_change_of_the_host_is_seen(
    change: Callable[[Path], None], checkout: Path, machine: Path
) -> None:
    provision._checkout()
    assert not provision._checkout(), "nothing has changed yet"
    change(checkout)
    assert provision._checkout()
    assert not provision._checkout()
    assert [path.name for path in (machine / "home").iterdir()] == ["checkout"]


def test_what_python_has_compiled_is_no_change(checkout: Path, machine: Path) -> None:
    provision._checkout()
    for folder in (checkout, machine / "home" / "checkout"):
        (folder / "services" / "__pycache__").mkdir()
        (folder / "services" / "__pycache__" / "one.pyc").write_text(str(folder))
    assert not provision._checkout()


@pytest.mark.usefixtures("checkout")
def test_another_checkout_is_another_version(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that Nomad sees a change of what it runs."""
    monkeypatch.setattr(tools, "run", lambda _: "cecochat 1.2.3\n")
    provision._checkout()
    before = provision._version()
    assert before.startswith("1.2.3+")
    assert provision._version() == before
    edit(checkout)
    provision._checkout()
    assert provision._version() != before


# Units


@pytest.fixture
def systemctl(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What it was told; every unit runs already."""
    told: list[list[str]] = []
    monkeypatch.setattr(tools, "run", lambda argv: told.append(argv[1:]))
    monkeypatch.setattr(provision, "_runs", lambda _: True)
    return told


def restarted(told: list[list[str]]) -> set[str]:
    return {
        word
        for words in told
        if words[0] == "restart"
        for word in words
        if not word.startswith("-")
    } - {"restart"}


WANTED = {name: f"{units.WRITTEN}{name}" for name in ("kafka", "nomad", "cecochat-history-1")}


@pytest.mark.usefixtures("machine")
def test_what_is_new_is_enabled_and_started(systemctl: list[list[str]]) -> None:
    provision._start(WANTED, changed=False)
    assert (provision.UNITS / "kafka.service").read_text() == WANTED["kafka"]
    for command in ("enable", "start"):
        (words,) = [words for words in systemctl if words[0] == command]
        assert set(WANTED) <= set(words)
    commands = [words[0] for words in systemctl]
    assert commands.index("daemon-reload") < commands.index("start")


@pytest.mark.usefixtures("machine")
def test_what_is_as_it_was_goes_on(systemctl: list[list[str]]) -> None:
    provision._start(WANTED, changed=False)
    systemctl.clear()
    provision._start(WANTED, changed=False)
    assert restarted(systemctl) == set()


@pytest.mark.usefixtures("machine")
def test_only_a_unit_that_has_changed_is_restarted(systemctl: list[list[str]]) -> None:
    provision._start(WANTED, changed=False)
    systemctl.clear()
    provision._start({**WANTED, "kafka": "another"}, changed=False)
    assert restarted(systemctl) == {"kafka"}


@pytest.mark.usefixtures("machine")
def test_a_new_checkout_restarts_servers_and_no_backend(systemctl: list[list[str]]) -> None:
    provision._start(WANTED, changed=False)
    systemctl.clear()
    provision._start(WANTED, changed=True)
    assert restarted(systemctl) == {"cecochat-history-1"}


@pytest.mark.usefixtures("machine")
def test_what_is_no_longer_wanted_is_ended(systemctl: list[list[str]]) -> None:
    """As when Nomad can be had at last, or no longer: with the servers that it has started."""
    provision._start(WANTED, changed=False)
    (provision.UNITS / "ssh.service").touch()
    systemctl.clear()
    provision._start({"kafka": WANTED["kafka"]}, changed=False)
    for name in ("cecochat-history-1", "nomad"):
        at = systemctl.index(["kill", "--kill-whom=all", name])
        assert systemctl[at + 1] == ["disable", "--now", "--quiet", name]
    left = {path.name for path in provision.UNITS.iterdir()}
    assert left == {"kafka.service", "ssh.service"}


# A node


@pytest.fixture
def node(machine: Path, systemctl: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> Node:
    """node(plan, nomad=...) makes the machine that node; what was restarted. All that takes long
    is there already.
    """
    provision.HOSTS.write_text("127.0.0.1 localhost\n")
    for name in provision.SECRETS:
        (provision.ETC / name).touch()
    monkeypatch.setattr(plan, "METRICS_TOKEN", str(provision.ETC / "metrics-token"))
    monkeypatch.setattr(provision, "_metrics_token", lambda: "ey...")
    for name in ("_package", "_user", "_backend"):
        monkeypatch.setattr(provision, name, lambda *_: None)
    for name in ("_checkout", "_environment"):
        monkeypatch.setattr(provision, name, lambda: False)
    monkeypatch.setattr(provision, "_version", lambda: "1.2.3")
    monkeypatch.setattr(nomad, "interface", lambda _: "eth1")
    monkeypatch.setattr(ready, "returns", lambda *_: False)
    programs = {True: machine / "nomad", False: None}

    def make(here: Plan, *, there: bool = False, wanted: bool = True) -> set[str]:
        monkeypatch.setattr(nomad, "bring", lambda _: programs[there])
        systemctl.clear()
        provision.provision(here, with_nomad=wanted)
        return restarted(systemctl)

    return make


def units_there() -> set[str]:
    return {path.stem for path in provision.UNITS.iterdir()}


def test_a_node_that_is_made_again_goes_on(node: Node) -> None:
    for there in (False, True):
        node(plans(3)[0], there=there)
        assert node(plans(3)[0], there=there) == set()


def test_another_launcher_or_rule_restarts_the_backends(node: Node) -> None:
    launchers = provision.HOME / "checkout" / "scripts" / "backends"
    launchers.mkdir(parents=True)
    node(plans(1)[0])
    (launchers / "kafka.py").write_text("another")
    assert node(plans(1)[0]) >= set(plans(1)[0].backends())
    assert node(plans(1)[0]) == set()


def test_the_servers_alone_may_read_what_they_are_told(node: Node) -> None:
    provision.ETC.chmod(0o700)  # as Vagrant makes it
    node(plans(1)[0])
    assert provision.ETC.stat().st_mode & 0o777 == 0o750
    for name in (*provision.SECRETS, "metrics-token"):
        assert (provision.ETC / name).stat().st_mode & 0o777 == 0o640


def test_a_node_of_a_larger_cluster_starts_again_all_that_knows_its_size(node: Node) -> None:
    node(plans(3)[0])
    servers = {f"cecochat-{server.name}" for server in plans(5)[0].servers()}
    assert node(plans(5)[0]) >= servers | {"kafka", "cassandra", "consul"}
    node(plans(3)[0], there=True)
    assert "nomad" in node(plans(5)[0], there=True)


def test_without_nomad_the_node_says_so_and_how_to_get_it(node: Node) -> None:
    note = provision.ETC / "note"
    node(plans(3)[0])
    assert "without Nomad" in note.read_text()
    node(plans(3)[0], there=True)
    assert not note.exists()
    assert "nomad" in units_there()
    assert not {unit for unit in units_there() if unit.startswith("cecochat-")}


def test_nomad_is_not_looked_for_where_it_is_not_wanted(node: Node) -> None:
    node(plans(1)[0], there=True, wanted=False)
    assert "nomad" not in units_there()


def test_the_command_finds_the_cluster(node: Node) -> None:
    """As a person runs it in a guest: with the settings and the connect server of its node."""
    here = plans(3)[1]
    node(here)
    program = provision.HOME / "venv" / "bin" / "cecochat"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "$CECOCHAT_SETTINGS_FILE $CECOCHAT_CONNECT_URL $*"\n')
    program.chmod(0o755)
    said = subprocess.run([provision.COMMAND, "status", "a b"], capture_output=True, text=True)
    settings, connect, *words = said.stdout.split()
    assert load({}, file=Path(settings)).replication == 3
    assert connect.endswith(f"//{here.address}:{plan.CONNECT}")
    assert words == ["status", "a", "b"]


# Files


@pytest.mark.usefixtures("machine")
def test_a_file_is_written_where_it_differs() -> None:
    path = provision.ETC / "a" / "file"
    assert provision._write(path, "one", mode=0o755)
    assert path.stat().st_mode & 0o777 == 0o755
    assert not provision._write(path, "one", mode=0o755)
    assert provision._write(path, "two")
    assert path.read_text() == "two"


def test_settings_are_written_as_a_server_reads_them(tmp_path: Path) -> None:
    here = plans(3)[1]
    file = tmp_path / "cluster.env"
    file.write_text(provision._lines(here.settings()))
    assert load({}, file=file) == load(here.settings())


HOSTS = """\
127.0.0.1 localhost
127.0.1.1 vagrant
127.0.2.1 server2 server2
::1 localhost ip6-localhost
10.0.0.7 server-of-somebody"""


def test_a_name_of_a_node_is_its_address_in_the_network() -> None:
    found = [line.split() for line in provision._hosts(HOSTS, plans(3)[1]).splitlines()]
    for here in plans(3):
        assert [address for address, *names in found if here.name in names] == [here.address]


def test_other_names_stay_and_nothing_is_there_twice() -> None:
    here = plans(3)[1]
    written = provision._hosts(HOSTS, here)
    assert provision._hosts(written, here) == written
    lines = written.splitlines()
    assert set(lines) > {"127.0.0.1 localhost", "10.0.0.7 server-of-somebody"}
    assert len(lines) == 3 + 3


# What is brought


def brought_by(monkeypatch: pytest.MonkeyPatch, bring: Callable[[], str]) -> None:
    monkeypatch.setitem(KINDS, "consul", replace(KINDS["consul"], provision=bring))


def test_a_backend_is_brought_once_and_copied_to_each_node(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bring() -> str:
        shared = Path(os.environ["XDG_CACHE_HOME"], "cecochat", "backends", "consul-1")
        assert shared.is_relative_to(machine / "shared"), "the others find it there"
        shared.mkdir(parents=True, exist_ok=True)
        (shared / "consul").write_text("program")
        return str(shared / "consul")

    brought_by(monkeypatch, bring)
    monkeypatch.setenv("XDG_CACHE_HOME", "before")
    provision._backend("consul")
    assert os.environ["XDG_CACHE_HOME"] == "before"
    copied = machine / "cache" / "cecochat" / "backends"
    assert (copied / "consul-1" / "consul").read_text() == "program"
    provision._backend("consul")
    assert [path.name for path in copied.iterdir()] == ["consul-1"]


def test_a_package_of_the_system_is_not_copied(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brought_by(monkeypatch, lambda: "/usr/bin/consul")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    provision._backend("consul")
    assert "XDG_CACHE_HOME" not in os.environ
    assert list((machine / "cache").iterdir()) == []
