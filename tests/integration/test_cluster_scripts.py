"""The commands of `scripts/cluster` as a guest and a person call them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.cluster import plan

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts" / "cluster"
WITHIN_S = 60


def run(argv: list[str], **environ: str) -> subprocess.CompletedProcess[str]:
    """With nothing of who runs the tests."""
    return subprocess.run(
        argv,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=WITHIN_S,
    )


def cluster(*arguments: str) -> subprocess.CompletedProcess[str]:
    """As a guest runs it when it is empty: with nothing but Python itself."""
    return run([sys.executable, "-S", "-B", "-m", "scripts.cluster", *arguments])


def test_the_help_names_the_commands() -> None:
    helped = cluster("--help")
    assert helped.returncode == 0, helped.stderr
    for command in ("provision", "ready", "wait"):
        assert re.search(rf"^ +{command}\s+\S", helped.stdout, re.M)
        assert cluster(command, "--help").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "required: COMMAND"),
        (["reddy"], "'reddy' (choose from"),
        (["ready"], "required: NODES"),
        (["ready", "three"], "'three' is not a number from 1 up"),
        (["wait", "0"], "'0' is not a number from 1 up"),
        (["provision", "3"], "unrecognized arguments: 3"),
    ],
)
def test_wrong_words_are_refused(arguments: list[str], says: str) -> None:
    refused = cluster(*arguments)
    assert refused.returncode == 2
    assert refused.stderr.startswith("usage: ")
    assert says in refused.stderr.splitlines()[-1]


# On the host


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """A file of what programs of the host were told; they do nothing else, but that a history shows
    it. Without packages and a way to install them, no test makes containers.
    """
    (tmp_path / "bin").mkdir()
    for name in ("vagrant", "python3", "VBoxManage", "dpkg-query", "apt-get"):
        program = tmp_path / "bin" / name
        fails = f'case "{name} $*" in apt-get*|*$FAILS*) exit 1;; esac'
        noted = f'echo "{name} $*" "($VAGRANT_DEFAULT_PROVIDER)" >>{tmp_path}/told'
        shows = f'case "$*" in *history*) cat {tmp_path}/told;; status*) echo "$STATUS";; esac'
        program.write_text(f"#!/bin/sh\n{noted}\n{fails}\n{shows}\n")
        program.chmod(0o755)
    return tmp_path / "told"


def on_the_host(
    told: Path, script: str, *arguments: str, **environ: str
) -> subprocess.CompletedProcess[str]:
    path = f"{told.parent}/bin:{os.environ['PATH']}"
    given = {
        "PATH": path,
        "HOME": str(told.parent),
        "FAILS": "nothing",
        "STATUS": "1,server1,state,running",
        "VAGRANT_DEFAULT_PROVIDER": "",
        **environ,
    }
    return run([str(SCRIPTS / script), *arguments], **given)


@pytest.mark.parametrize("arguments", [[], ["upp"]])
def test_the_script_of_the_host_says_how_it_is_used(arguments: list[str], told: Path) -> None:
    refused = on_the_host(told, "host.sh", *arguments)
    assert refused.returncode == 2
    assert "up [GUEST ...] | down | box" in refused.stderr
    assert not told.exists(), "nothing was done"


@pytest.mark.parametrize(
    ("chosen", "provider"), [("", "virtualbox"), ("libvirt", "libvirt")], ids=["found", "chosen"]
)
def test_a_provider_is_found_or_chosen(chosen: str, provider: str, told: Path) -> None:
    done = on_the_host(told, "host.sh", "up", "server2", VAGRANT_DEFAULT_PROVIDER=chosen)
    assert done.returncode == 0, done.stderr
    *_, last = told.read_text().splitlines()
    assert re.fullmatch(rf"vagrant up (--no-parallel )?server2 \({provider}\)", last)


def test_nothing_is_made_where_packages_cannot_be_had(told: Path) -> None:
    failed = on_the_host(told, "host.sh", "up", VAGRANT_DEFAULT_PROVIDER="lxc")
    assert failed.returncode == 1
    assert "vagrant-lxc" in failed.stderr
    assert not [line for line in told.read_text().splitlines() if line.startswith("vagrant ")]


def test_guests_are_made_where_the_host_cannot_have_the_backends(told: Path) -> None:
    done = on_the_host(told, "host.sh", "up", FAILS="scripts.backends")
    assert done.returncode == 0
    assert "The guests will try" in done.stderr
    assert "vagrant up" in told.read_text().splitlines()[-1]


@pytest.mark.parametrize(("nodes", "reader"), [(1, "server1"), (2, "server2"), (3, "server2")])
def test_a_message_goes_from_one_guest_to_another(nodes: int, reader: str, told: Path) -> None:
    done = on_the_host(told, "first-message.sh", str(nodes))
    assert done.returncode == 0, done.stderr
    _, ready, sent, read, *_ = told.read_text().splitlines()
    assert f"ssh server{nodes} " in ready
    assert f"scripts.cluster ready {nodes}" in ready
    assert "ssh server1 " in sent
    assert "cecochat send " in sent
    assert f"ssh {reader} " in read
    assert "cecochat history " in read
    assert f"http://{plan.address(1)}:{plan.CONNECT}" in done.stdout


def test_a_guest_that_did_not_start_is_named_before_all_wait_for_it(told: Path) -> None:
    status = "1,server1,state,running\n1,server2,state,poweroff\n1,server3,state,running"
    late = told.with_name("late")
    late.write_text("SECONDS=100\n")
    done = on_the_host(told, "first-message.sh", "3", STATUS=status, BASH_ENV=str(late))
    assert done.returncode == 1
    assert "These guests do not run: server2." in done.stderr
    assert " ssh " not in told.read_text()


@pytest.mark.parametrize("fails", ["cluster.ready", "cecochat.send", "cecochat.history"])
def test_a_cluster_that_does_not_work_is_an_error(fails: str, told: Path) -> None:
    """`vagrant up` shows it, and is one too."""
    done = on_the_host(told, "first-message.sh", "3", FAILS=fails.replace(".", "?"))
    assert done.returncode == 1
    assert "is up" not in done.stdout
    assert fails.replace(".", " ") in told.read_text().splitlines()[-1]
