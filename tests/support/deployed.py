"""Every server set as a job, on Nomad agents of the test's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from cecochat.adapters import build
from cecochat.ports.discovery import Instance
from cecochat.settings.settings import load
from tests.support import operators
from tests.support.crowd import Crowd
from tests.support.listeners import pid_of
from tests.support.lookout import Lookout, looking
from tests.support.nomad import Agent
from tests.support.rawclient import NotFound
from tests.support.scenarios import clean
from tests.support.server import CECOCHAT, PREFIX
from tests.support.traffic import flowing, ring

ROOT = Path(__file__).parents[2]
RATE_PER_S = 100
EDGE_HOST = "${attr.unique.network.ip-address}"
"""As jobs/edge.nomad.hcl names the host of its node."""


@dataclass(frozen=True)
class Deployed:
    """The jobs of one agent. `environment`: the backends, the namespace and the data folder.
    `edge`: host:port that its clients are told; empty: there is none. `driver`: variables of the
    jobs that choose another one than raw_exec.
    """

    agent: Agent
    environment: Mapping[str, str]
    folder: Path
    edge: str = ""
    driver: Mapping[str, str | list[str]] = field(default_factory=dict)

    def deploy(self, version: str) -> str:
        """`cecochat deploy` of that version: what it prints."""
        return self._deploy(version, code=0)

    def deploy_broken(self, version: str) -> str:
        """The same of one whose messaging servers do not start, so that it fails."""
        broken = self._common() | {"CECOCHAT_NO_SUCH_SETTING": "1"}
        lines = ["[messaging]", 'progress_deadline = "70s"', "[messaging.settings]", *_toml(broken)]
        return self._deploy(version, lines, code=1)

    def _deploy(self, version: str, more: Sequence[str] = (), *, code: int) -> str:
        file = self.folder / "vars.toml"
        file.write_text("\n".join([*self._lines(version), *more]) + "\n")
        words = ("deploy", "--jobs", str(ROOT / "jobs"), "--vars", str(file))
        return self.agent.command([str(CECOCHAT), *words], code)

    def _lines(self, version: str) -> list[str]:
        values: dict[str, str | list[str]] = {"version": version, "progress_deadline": "5m"}
        values |= self.driver or {"command": str(CECOCHAT)}
        for name in ("consul", "kafka", "cassandra", "redis", "postgres"):
            values[name] = self.environment[f"CECOCHAT_{name.upper()}"]
        edge = [f"edge = {json.dumps(EDGE_HOST)}"] if self.edge else []
        port = [f"edge_port = {self.edge.rpartition(':')[2]}"] if self.edge else []
        return [
            *_toml(values),
            *edge,
            *port,
            *self._edge_job(),
            *("[connect]", "port = 0", "count = 2"),
            *("[control]", f'nomad = "{self.agent.address}"'),
            *("[settings]", *_toml(self._common())),
        ]

    def _edge_job(self) -> list[str]:
        host, _, _ = self.edge.rpartition(":")
        settings = self._common() | {f"{PREFIX}EDGE_HOST": host}
        return ["[edge-job.settings]", *_toml(settings)] if self.edge else []

    def _common(self) -> dict[str, str]:
        names = ("CECOCHAT_NAMESPACE", "CECOCHAT_PARTITIONS", "CECOCHAT_DATA_DIR")
        return {name: self.environment[name] for name in names} | operators.SETTING

    @asynccontextmanager
    async def talking(self, rng: Random) -> AsyncIterator[tuple[Crowd, Lookout]]:
        """Everybody connected and traffic flowing, and a look at what connect tells; at the end,
        all is quiet and judged.
        """
        who, chats = ring(20)
        where = self.environment
        async with build.discovery(load(where)) as discovery:

            def connect_url() -> str:
                if not (listed := discovery.live("connect")):
                    raise NotFound("no connect server is live")
                return f"http://{listed[0].address}"

            secret = Path(where["CECOCHAT_DATA_DIR"]) / "token-secret"
            crowd = Crowd(connect_url, secret, transport="grpc")  # what is tried is the deployment

            def token() -> str:
                return crowd.token(rng.choice(who).user_id)

            async with (
                crowd.connected(who, chats),
                looking(
                    where["CECOCHAT_CONSUL"], where["CECOCHAT_NAMESPACE"], connect_url, token
                ) as lookout,
            ):
                async with flowing(list(crowd.devices.values()), RATE_PER_S, rng):
                    yield crowd, lookout
                await clean(crowd)
        lookout.judged()

    async def stop_allocation(self, server: Instance) -> None:
        """`nomad alloc stop`."""
        allocation = _environment_of(pid_of(server))["NOMAD_ALLOC_ID"]
        await asyncio.to_thread(self.agent.run, "alloc", "stop", "-detach", allocation)


def _toml(values: Mapping[str, str | list[str]] | Mapping[str, str]) -> list[str]:
    return [f"{name} = {json.dumps(value)}" for name, value in values.items()]


def _environment_of(pid: int) -> dict[str, str]:
    pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return dict(pair.decode().split("=", 1) for pair in pairs if b"=" in pair)
