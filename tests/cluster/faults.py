"""What goes wrong on one guest: its clock, its disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

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
SMALL, SPARE_MB = "/mnt", 256
FILLER = DATA / "filler"


@contextmanager
def wrong_clock(guest: Guest, offset: str) -> Iterator[None]:
    """Its servers start anew with a clock that is so far off, as "+1h", and in the end without."""
    _have_libfaketime(guest)
    guest.run("mv", "--no-clobber", str(PROGRAM), str(RIGHT))
    try:
        guest.run("tee", str(PROGRAM), given=WRONG_CLOCK % offset)
        guest.run("chmod", "755", str(PROGRAM))
        kill_servers(guest)
        yield
    finally:
        guest.run("mv", str(RIGHT), str(PROGRAM))
        kill_servers(guest)


def with_wrong_clock(guest: Guest) -> set[str]:
    """Which kinds of its servers run with one."""
    each = "tr '\\0' ' ' <${map%maps}cmdline; echo"
    found = f"for map in $(grep -l libfaketime /proc/[0-9]*/maps); do {each}; done"
    lines = guest.run("sh", "-c", found, check=False).splitlines()
    return {line.split()[-1] for line in lines if " serve " in line}


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
    with ExitStack() as stack:
        with _stopped(guest):
            guest.run("mount", "-t", "tmpfs", "-o", options, "tmpfs", SMALL)
            stack.callback(_large_again, guest)
            guest.run("cp", "-a", f"{DATA}/.", SMALL)
            guest.run("mount", "--bind", SMALL, str(DATA))
        yield


def _large_again(guest: Guest) -> None:
    with _stopped(guest):  # lazily, since not all that was killed is gone yet
        copy = f"umount --lazy {DATA} && rm -rf {DATA}/* && cp -a {SMALL}/. {DATA}"
        guest.run("sh", "-c", f"! mountpoint -q {DATA} || {{ {copy}; }}")
        guest.run("umount", "--lazy", SMALL)


@contextmanager
def full_disk(guest: Guest) -> Iterator[None]:
    """Inside `small_disk`: not a byte is left."""
    try:
        guest.run("sh", "-c", f"cat /dev/zero >{FILLER}", check=False)
        yield
    finally:
        guest.run("rm", str(FILLER))


def room_kb(guest: Guest) -> int:
    """What is left on that disk."""
    return int(guest.run("df", "--output=avail", str(DATA)).split()[-1])


@contextmanager
def _stopped(guest: Guest) -> Iterator[None]:
    """Nothing of it runs meanwhile."""
    guest.run("systemctl", "stop", *BACKENDS)
    guest.run("pkill", "-KILL", "-u", USER, check=False)
    try:
        yield
    finally:
        guest.run("systemctl", "start", *BACKENDS)
