"""The guests of `make cluster-up`, which are containers (lxc) of this machine, and what is done to
them. Everything here waits; tests call it in a thread.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.cluster import plan, ready
from tests.support import guard

ROOT = Path(__file__).parents[2]
HOST = ROOT / "scripts" / "cluster" / "host.sh"
SECRET = ROOT / ".vagrant" / "cluster" / "token-secret"
SPREAD_WITHIN_S, RUN_WITHIN_S = 180, 1_200.0
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
        said = run("lxc-info", "--name", self.name, "--pid", "--no-humanize", check=False)
        return int(said or 0)

    @property
    def namespace(self) -> str:
        """That of its network."""
        return f"/proc/{self.pid}/ns/net"

    def run(self, *words: str, given: str = "", check: bool = True) -> str:
        """What a command in it prints. Raises `AssertionError` unless `check` is false."""
        attach = ("lxc-attach", "--name", self.name, "--clear-env", f"--set-var=PATH={PATH}", "--")
        return run(*attach, *words, given=given, check=check)

    def status(self) -> dict[str, Any]:
        """`cecochat status --json`; empty where that cannot be said."""
        said = self.run("timeout", "30", "cecochat", "status", "--json", check=False)
        found: dict[str, Any] = json.loads(said) if said.startswith("{") else {}
        return found

    def messaging_servers(self) -> set[str]:
        """Their ids."""
        servers = self.status().get("servers", {}).get("messaging", ())
        return {each["instance_id"] for each in servers if self.address in each["address"]}

    def partitions(self, ended: Collection[str] = ()) -> int:
        """How many its messaging servers own; those that have `ended` may still be listed."""
        here = self.messaging_servers() - set(ended)
        lines = self.run("cecochat", "partitions", "show", "--json").splitlines()
        owners = [each for each in map(json.loads, lines) if each["state"] == "owned"]
        return sum(len(each["partitions"]) for each in owners if each["server_id"] in here)

    def wait(self, nodes: int) -> None:
        """Until all that a whole cluster has is there again, as its first start does."""
        there = f"cd {ready.CHECKOUT} && python3 -m scripts.cluster wait {nodes}"
        print(self.run("sh", "-c", there))

    def kill(self) -> None:
        """As if its power were cut; one that is dead already stays so."""
        if self.pid:
            run("lxc-stop", "--kill", "--name", self.name)

    def halt(self) -> None:
        """As its operator does it."""
        run("vagrant", "halt", self.name)

    def destroy(self) -> None:
        """Without a warning, and with its disk."""
        self.kill()
        run("vagrant", "destroy", "--force", self.name)

    def up(self) -> None:
        """Start it, or make it again."""
        print(run(str(HOST), "up", self.name)[-2_000:])


def all_up(count: int) -> list[Guest]:
    """The first `count` guests, those that a test before has lost started again. None where none
    runs.
    """
    found = list(map(Guest, range(1, count + 1)))
    if not shutil.which("lxc-info") or not any(guest.pid for guest in found):
        return []
    for guest in found:
        if not guest.pid:
            guest.up()
    return found


def spread_out(guests: Sequence[Guest]) -> None:
    """A messaging server on each. Nomad leaves them where they are when a guest comes back: those
    that are too many on one are stopped, and it starts others where there are fewest.
    """
    for _ in range(SPREAD_WITHIN_S):
        places = _messaging_servers(guests[0])
        if set(places.values()) == {guest.name for guest in guests}:
            return
        one_each = {place: each for each, place in places.items()}.values()
        for each in places.keys() - set(one_each):
            guests[0].run("nomad", "alloc", "stop", each)
        time.sleep(1)
    raise AssertionError(f"{places}: not on all guests within {SPREAD_WITHIN_S} s")


def _messaging_servers(guest: Guest) -> dict[str, str]:
    """Allocation -> the guest that it runs on."""
    url = f"http://{guest.address}:{plan.NOMAD}/v1/job/cecochat-messaging/allocations"
    with urllib.request.urlopen(url, timeout=10) as answer:
        found = json.load(answer)
    return {each["ID"]: each["NodeName"] for each in found if each["ClientStatus"] == "running"}


def run(*words: str, given: str = "", check: bool = True) -> str:
    """What it prints, on this machine. Raises `AssertionError` unless `check` is false."""
    done = subprocess.run(
        words,
        input=given,
        cwd=ROOT,
        env=guard.unmarked() | LXC,  # a machine that it starts goes on after the tests
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_WITHIN_S,
    )
    if check and done.returncode:
        raise AssertionError(f"{' '.join(words)}: {done.stdout[-2_000:]}{done.stderr[-2_000:]}")
    return done.stdout
