"""The crowds of tests/cluster/crowd.py, from the side of a test."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.guests import ROOT, SECRET

USERS = 12
RATE_PER_S = 20
BEFORE_S = 5.0
TALKING_WITHIN_S = 120.0
ANSWERED_WITHIN_S = 600.0


@dataclass(frozen=True)
class People:
    """Who talk in one namespace."""

    name: str
    process: Process
    folder: Path

    async def felt(self) -> dict[str, Any]:
        """What they went through since they were asked last: see `crowd.felt`."""
        found: dict[str, Any] = json.loads(await self._ask("felt"))
        return {
            name: round(value, 2) if isinstance(value, float) else value
            for name, value in found.items()
        }

    async def until_answered(self, count: int) -> None:
        """Until so many more messages were acknowledged."""
        async with asyncio.timeout(ANSWERED_WITHIN_S):
            while count > 0:
                await asyncio.sleep(1)
                count -= (await self.felt())["acked"]

    async def judged(self) -> int:
        """End: all arrives, and the oracle finds nothing. How many messages were acknowledged."""
        found = json.loads(await self._ask("judge"))
        if found["violations"]:
            (self.folder / f"{self.name}.record").write_text(found["record"])
        assert found["violations"] == [], found["violations"][:20]
        assert found["acked"], "nobody said anything"
        await self.process.wait()
        return int(found["acked"])

    async def _ask(self, question: str) -> str:
        assert self.process.stdin, "a pipe was asked for"
        self.process.stdin.write(f"{question}\n".encode())
        return await self.heard(ANSWERED_WITHIN_S)

    async def heard(self, within_s: float) -> str:
        assert self.process.stdout, "a pipe was asked for"
        async with asyncio.timeout(within_s):
            line = await self.process.stdout.readline()
        assert line, (self.folder / f"{self.name}.log").read_text()[-3_000:]
        return line.decode().strip()


async def before(people: People, seed: int) -> dict[str, Any]:
    """The first figures of a test: what people go through while nothing is wrong."""
    await asyncio.sleep(BEFORE_S)
    return {"seed": seed, "before": await people.felt()}


@asynccontextmanager
async def talking(
    namespace: str, connect_urls: Sequence[str], name: str, seed: int, folder: Path
) -> AsyncIterator[People]:
    """Users called `name`-00 and so on, connected and talking from that network namespace."""
    options = [word for url in connect_urls for word in ("--connect", url)]
    options += ["--secret", str(SECRET), "--prefix", name, "--seed", str(seed)]
    options += ["--users", str(USERS), "--rate", str(RATE_PER_S)]
    with (folder / f"{name}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *("nsenter", f"--net={namespace}", sys.executable, "-m", "tests.cluster.crowd"),
            *options,
            stdin=PIPE,
            stdout=PIPE,
            stderr=log,
            cwd=ROOT,
            limit=2**26,  # a record that failed is one line
        )
    found = People(name, process, folder)
    try:
        assert await found.heard(TALKING_WITHIN_S) == "talking"
        yield found
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
