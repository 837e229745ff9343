"""The guests of `make cluster-up`, which are containers (lxc) of this machine, and what is done to
them. Everything here waits; tests call it in a thread.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.cluster import plan, ready

ROOT = Path(__file__).parents[2]
HOST = ROOT / "scripts" / "cluster" / "host.sh"
SECRET = ROOT / ".vagrant" / "cluster" / "token-secret"
BRIDGE = "cecochat0"
CLIENTS = "cecochat-clients"
CLIENTS_ADDRESS = f"{plan.NETWORK}.200"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LXC = {"VAGRANT_DEFAULT_PROVIDER": "lxc"}


@dataclass(frozen=True)
class Guest:
    """One of them, by its number from 1 on."""

    number: int

    @property
    def name(self) -> str:
        return f"server{self.number}"

    @property
    def address(self) -> str:
        return plan.address(self.number)

    @property
    def connect_url(self) -> str:
        return f"http://{self.address}:{plan.CONNECT}"

    @property
    def pid(self) -> int:
        """Of its init; 0 where it does not run."""
        said = _run("lxc-info", "--name", self.name, "--pid", "--no-humanize", check=False)
        return int(said or 0)

    @property
    def namespace(self) -> str:
        """That of its network."""
        return f"/proc/{self.pid}/ns/net"

    def run(self, *words: str, given: str = "", check: bool = True) -> str:
        """What a command in it prints. Raises `CalledProcessError` unless `check` is false."""
        attach = ("lxc-attach", "--name", self.name, "--clear-env", f"--set-var=PATH={PATH}", "--")
        return _run(*attach, *words, given=given, check=check)

    def status(self) -> dict[str, Any]:
        """`cecochat status --json`; empty where that cannot be said."""
        said = self.run("timeout", "30", "cecochat", "status", "--json", check=False)
        found: dict[str, Any] = json.loads(said) if said.startswith("{") else {}
        return found

    def wait(self, nodes: int) -> None:
        """Until all that a whole cluster has is there again, as its first start does."""
        there = f"cd {ready.CHECKOUT} && python3 -m scripts.cluster wait {nodes}"
        print(self.run("sh", "-c", there))

    @property
    def link(self) -> str:
        """The host's end of its cable to the private network."""
        within = f"cat /sys/class/net/$(ip -o addr show to {self.address} | cut -d' ' -f2)/iflink"
        index = self.run("sh", "-c", within).strip()
        lines = _run("ip", "-oneline", "link", "show").splitlines()
        (name,) = [line.split()[1] for line in lines if line.startswith(f"{index}: ")]
        return name.rstrip(":").partition("@")[0]

    def kill(self) -> None:
        """As if its power were cut."""
        _run("lxc-stop", "--kill", "--name", self.name)

    def halt(self) -> None:
        """As its operator does it."""
        _run("vagrant", "halt", self.name)

    def destroy(self) -> None:
        """Without a warning, and with its disk."""
        self.kill()
        _run("vagrant", "destroy", "--force", self.name)

    def up(self) -> None:
        """Start it, or make it again."""
        print(_run(str(HOST), "up", self.name)[-2_000:])

    @contextmanager
    def cut_off(self) -> Iterator[None]:
        """The cable to the private network is pulled, and put in again."""
        link = self.link
        _run("ip", "link", "set", link, "nomaster")
        try:
            yield
        finally:
            _run("ip", "link", "set", link, "master", BRIDGE)


def running(count: int) -> tuple[Guest, ...]:
    """The first `count` guests; none where not all of them run."""
    found = tuple(map(Guest, range(1, count + 1)))
    return found if shutil.which("lxc-info") and all(guest.pid for guest in found) else ()


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
    with ExitStack() as stack:
        for at, words in enumerate(add):
            _run("ip", *words)
            if at == 0:  # its end of the pair goes with it
                stack.callback(_run, "ip", "netns", "delete", CLIENTS)
        yield f"/run/netns/{CLIENTS}"


def _run(*words: str, given: str = "", check: bool = True) -> str:
    done = subprocess.run(
        words,
        input=given,
        cwd=ROOT,
        env=os.environ | LXC,
        capture_output=True,
        text=True,
        check=False,
    )
    if check and done.returncode:
        raise AssertionError(f"{' '.join(words)}: {done.stdout[-2_000:]}{done.stderr[-2_000:]}")
    return done.stdout
