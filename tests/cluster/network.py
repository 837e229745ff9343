"""The network of the guests: clients on it, a cable that is pulled, one that is slow."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from scripts.cluster import plan
from tests.cluster.guests import ROOT, Guest, run

BRIDGE = "cecochat0"
CLIENTS = "cecochat-clients"
CLIENTS_ADDRESS = f"{plan.NETWORK}.200"
SLOW_BRIDGE, SLOW_WIRE = "cecochat-slow", ("cecochat-wire0", "cecochat-wire1")


@contextmanager
def clients() -> Iterator[str]:
    """The path of a network namespace on the guests' network, where clients are."""
    add: Sequence[tuple[str, ...]] = (
        ("netns", "add", CLIENTS),
        ("link", "add", "cecochat-cl", "type", "veth", "peer", "name", "eth0", "netns", CLIENTS),
        ("link", "set", "cecochat-cl", "master", BRIDGE, "up"),
        ("-n", CLIENTS, "address", "add", f"{CLIENTS_ADDRESS}/24", "dev", "eth0"),
        ("-n", CLIENTS, "link", "set", "eth0", "up"),
    )
    run("ip", "netns", "delete", CLIENTS, check=False)  # of a run that was killed
    with ExitStack() as stack:
        for at, words in enumerate(add):
            run("ip", *words)
            if at == 0:  # its end of the pair goes with it
                stack.callback(run, "ip", "netns", "delete", CLIENTS)
        yield f"/run/netns/{CLIENTS}"


def cable(guest: Guest) -> str:
    """The host's end of its cable to the private network."""
    within = f"cat /sys/class/net/$(ip -o addr show to {guest.address} | cut -d' ' -f2)/iflink"
    index = guest.run("sh", "-c", within).strip()
    lines = run("ip", "-oneline", "link", "show").splitlines()
    (name,) = [line.split()[1] for line in lines if line.startswith(f"{index}: ")]
    return name.rstrip(":").partition("@")[0]


@contextmanager
def cut_off(guest: Guest) -> Iterator[None]:
    """The cable is pulled, and put in again."""
    end = cable(guest)
    run("ip", "link", "set", end, "nomaster")
    try:
        yield
    finally:
        run("ip", "link", "set", end, "master", BRIDGE)


@contextmanager
def slowed(guest: Guest, milliseconds: int) -> Iterator[None]:
    """All that it sends and gets is so much later, each way."""
    end = cable(guest)
    with ExitStack() as stack:
        stack.enter_context(_wire(milliseconds))
        run("ip", "link", "delete", SLOW_BRIDGE, check=False)  # of a run that was killed
        run("ip", "link", "add", SLOW_BRIDGE, "type", "bridge")
        stack.callback(run, "ip", "link", "delete", SLOW_BRIDGE)
        run("ip", "link", "set", SLOW_BRIDGE, "up")
        for name, bridge in zip(SLOW_WIRE, (BRIDGE, SLOW_BRIDGE), strict=True):
            run("ip", "link", "set", name, "master", bridge, "up")
        stack.callback(run, "ip", "link", "set", end, "master", BRIDGE)
        run("ip", "link", "set", end, "master", SLOW_BRIDGE)
        yield


@contextmanager
def _wire(milliseconds: int) -> Iterator[None]:
    argv = [sys.executable, "-m", "tests.cluster.wire", str(milliseconds), *SLOW_WIRE]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout, "a pipe was asked for"
            assert process.stdout.readline().strip() == "there", "see the error above"
            yield
        finally:
            process.terminate()
