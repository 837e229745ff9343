"""The jobs on a Nomad of the test's own: deployed, killed, scaled and updated while people talk."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import pytest

from cecochat.adapters import build
from cecochat.ports.discovery import Instance
from cecochat.runtime.settings import load
from tests.support import shared
from tests.support.backends import Backends
from tests.support.crowd import Crowd
from tests.support.eventually import eventually
from tests.support.evidence import absences, percentile
from tests.support.nomad import Agent, agent
from tests.support.records import Refused
from tests.support.results import write
from tests.support.server import CECOCHAT, NO_LIMITS
from tests.support.traffic import flowing, ring

ROOT = Path(__file__).parents[2]
RATE_PER_S = 50
QUICK = {"scale.messaging.cooldown_s": 1.0, "drain.spread_s": 1.0}


@dataclass(frozen=True)
class Deployed:
    """Every job, on a Nomad agent."""

    agent: Agent
    variables: Mapping[str, str]
    folder: Path

    def deploy(self, version: str) -> str:
        """`cecochat deploy` of that version; what it prints."""
        file = self.folder / "vars.toml"
        values = {
            "version": version,
            "command": str(CECOCHAT),
            "consul": self.variables["CECOCHAT_CONSUL"],
            "kafka": self.variables["CECOCHAT_KAFKA"],
            "cassandra": self.variables["CECOCHAT_CASSANDRA"],
            "redis": self.variables["CECOCHAT_REDIS"],
        }
        lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
        lines += ["[connect]", "port = 0", "[control]", f'nomad = "{self.agent.address}"']
        lines += ["[settings]"] + [f"{n} = {json.dumps(v)}" for n, v in self._settings().items()]
        file.write_text("\n".join(lines) + "\n")
        words = ("deploy", "--jobs", str(ROOT / "jobs"), "--vars", str(file))
        done = self.agent.command([str(CECOCHAT), *words], CECOCHAT_NOMAD=self.agent.address)
        return done

    def _settings(self) -> dict[str, str]:
        names = ("CECOCHAT_NAMESPACE", "CECOCHAT_PARTITIONS")
        own = {"CECOCHAT_DATA_DIR": str(self.folder / "data")}
        return {name: self.variables[name] for name in names} | own


@pytest.fixture
async def deployed(
    on_real: dict[str, str], backends: Backends, tmp_path: Path
) -> AsyncIterator[Deployed]:
    program = shutil.which("nomad")
    if program is None:
        backends.absent("nomad", "put the program `nomad` (1.6 or later) on PATH")
    variables = on_real | {"CECOCHAT_DATA_DIR": str(tmp_path / "data")}
    async with agent(program, tmp_path, on_real["CECOCHAT_CONSUL"]) as started:
        found = Deployed(started, variables, tmp_path)
        await shared.configure(variables, {**NO_LIMITS, **QUICK})
        print(found.deploy("1"))
        await eventually(lambda: shared.settled(variables, 2), within_s=60, every_s=0.2)
        yield found


@asynccontextmanager
async def talking(deployed: Deployed, rng: Random) -> AsyncIterator[Crowd]:
    async with build.discovery(load(deployed.variables)) as discovery:
        crowd = Crowd(
            lambda: discovery.live("connect")[0].health_url,
            deployed.folder / "data" / "token-secret",
        )
        who, chats = ring(20)
        async with crowd.connected(who, chats):
            async with flowing(list(crowd.devices.values()), RATE_PER_S, rng):
                yield crowd
            found = await crowd.settle(within_s=90)
    print("\n".join(map(str, found[:20])))
    assert found == []


def pid_of(server: Instance) -> int:
    """Of the process that listens where its health is asked (proc(5), net/tcp)."""
    inode = None
    port = f"{urlsplit(server.health_url).port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(f":{port}") and fields[3] == "0A":
            inode = f"socket:[{fields[9]}]"
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                if any(str(fd.readlink()) == inode for fd in (process / "fd").iterdir()):
                    return int(process.name)
            except OSError:
                continue
    raise AssertionError(f"nobody listens at {server.health_url}")


@pytest.mark.timeout(900)
async def test_a_cluster_of_jobs_under_load(
    deployed: Deployed, rng: Random, base_seed: int
) -> None:
    """A server is killed, the set is scaled, and a new version is deployed."""
    where = deployed.variables
    figures: dict[str, Any] = {"seed": base_seed, "python": sys.version.split()[0]}
    async with talking(deployed, rng) as crowd:
        victim = rng.choice(await shared.live(where, "messaging"))
        os.kill(pid_of(victim), signal.SIGKILL)

        async def failed_over() -> bool:
            return victim.instance_id not in (await shared.owners(where)).values()

        await eventually(failed_over, within_s=60, every_s=0.1)
        await eventually(lambda: shared.settled(where, 2), within_s=60, every_s=0.2)
        killed = absences(crowd.record.entries)
        assert killed, "nobody noticed that a server died"
        mark = len(crowd.record.entries)
        await shared.configure(where, {"scale.messaging.min": 3})
        await eventually(lambda: shared.settled(where, 3), within_s=90, every_s=0.2)
        before = {each.instance_id for each in await shared.live(where, "messaging")}
        print(await asyncio.to_thread(deployed.deploy, "2"))
        await eventually(lambda: shared.settled(where, 3), within_s=120, every_s=0.2)
        after = {each.instance_id for each in await shared.live(where, "messaging")}
        assert not before & after, "a server of the old version runs on"
        away = absences(crowd.record.entries[mark:])
        refused = [e for e in crowd.record.entries[mark:] if isinstance(e.what, Refused)]
    assert refused == []
    figures["killed_away_s"] = round(max(each.lasted_s for each in killed), 2)
    figures["update_away_p99_s"] = round(percentile([each.lasted_s for each in away], 0.99), 2)
    figures["absences"] = len(away)
    print(write("nomad", figures))
