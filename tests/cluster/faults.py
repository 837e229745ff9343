"""What goes wrong on one guest: its clock, its disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from scripts.cluster.provision import DATA, HOME, USER
from tests.cluster.guests import Guest

PROGRAM = HOME / "venv" / "bin" / "cecochat"
RIGHT = PROGRAM.with_name("cecochat.right")
WRONG_CLOCK = f"""\
#!/bin/sh
if [ "$1" = serve ]; then
    export FAKETIME=%s FAKETIME_DONT_FAKE_MONOTONIC=1
    export LD_PRELOAD=$(echo /usr/lib/*/faketime/libfaketime.so.1)
fi
exec {HOME}/venv/bin/python {RIGHT} "$@"
"""
BACKENDS = ("nomad", "cassandra", "kafka", "consul")
SPARE_MB = 256
FILLER = DATA / "filler"


@contextmanager
def wrong_clock(guest: Guest, offset: str) -> Iterator[None]:
    """Its servers start anew with a clock that is so far off, as "+1h", and in the end without."""
    _have_libfaketime(guest)
    guest.run("mv", str(PROGRAM), str(RIGHT))
    guest.run("tee", str(PROGRAM), given=WRONG_CLOCK % offset)
    guest.run("chmod", "755", str(PROGRAM))
    kill_servers(guest)
    try:
        yield
    finally:
        guest.run("mv", str(RIGHT), str(PROGRAM))
        kill_servers(guest)


def with_wrong_clock(guest: Guest) -> int:
    """How many of its servers run with one."""
    found = guest.run(
        "sh", "-c", "grep --files-with-matches libfaketime /proc/[0-9]*/maps", check=False
    )
    return len(found.splitlines())


def kill_servers(guest: Guest) -> None:
    """Those of CecoChat, with SIGKILL; they are started again by who has started them."""
    guest.run("pkill", "-KILL", "-u", USER, "-f", "/bin/cecochat[.a-z]* serve ")


def _have_libfaketime(guest: Guest) -> None:
    install = (
        "dpkg --status libfaketime || { apt-get update -qq; apt-get install -qq -y libfaketime; }"
    )
    guest.run("sh", "-c", install)


@contextmanager
def small_disk(guest: Guest) -> Iterator[None]:
    """Its backends and servers on a disk in memory that has little more room than they use."""
    used_mb = int(guest.run("du", "--summarize", "--block-size=1M", str(DATA)).split()[0])
    options = f"size={used_mb + SPARE_MB}m,mode=755,uid={USER},gid={USER}"
    with _stopped(guest):
        guest.run("mount", "-t", "tmpfs", "-o", options, "tmpfs", "/mnt")
        guest.run("cp", "-a", f"{DATA}/.", "/mnt")
        guest.run("mount", "--move", "/mnt", str(DATA))
    try:
        yield
    finally:
        with _stopped(guest):
            guest.run("mount", "--move", str(DATA), "/mnt")
            guest.run("sh", "-c", f"rm -rf {DATA}/*; cp -a /mnt/. {DATA}")
            guest.run("umount", "/mnt")


@contextmanager
def full_disk(guest: Guest) -> Iterator[None]:
    """Inside `small_disk`: not a byte is left."""
    said = guest.run("sh", "-c", f"cat /dev/zero >{FILLER} || df --output=avail {DATA}")
    assert said.split()[-1] == "0", f"the disk is not full: {said}"
    try:
        yield
    finally:
        guest.run("rm", str(FILLER))


@contextmanager
def _stopped(guest: Guest) -> Iterator[None]:
    """Nothing of it runs meanwhile."""
    guest.run("systemctl", "stop", *BACKENDS)
    guest.run("pkill", "-KILL", "-u", USER, check=False)
    try:
        yield
    finally:
        guest.run("systemctl", "start", *BACKENDS)
