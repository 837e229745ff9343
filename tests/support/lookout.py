"""Looks all the time whether connect sends anybody to a server that Consul calls dead."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.support.rawclient import NotFound, find

EVERY_S = 0.1
CRITICAL_MAX_S = 2.0
"""How long a server may still be given after Consul has begun to call it critical."""


@dataclass
class Lookout:
    """What was seen. `lookups`: that were answered; `unanswered`: why the others were not.
    `critical`: addresses that ever were.
    """

    lookups: int = 0
    unanswered: list[str] = field(default_factory=list)
    critical: set[str] = field(default_factory=set)
    latest_s: float = 0.0  # the longest after which one was still given
    wrong: list[str] = field(default_factory=list)
    _good: set[str] = field(default_factory=set)
    _bad_since_s: dict[str, float] = field(default_factory=dict)

    def see(self, good: set[str], critical: set[str], now_s: float) -> None:
        """What Consul answers. Who was healthy and is not there any more is dead as well."""
        self._good |= good
        bad = (self._good | critical) - good
        self.critical |= bad
        self._bad_since_s = {each: self._bad_since_s.get(each, now_s) for each in bad}

    def judge(self, address: str, asked_s: float) -> None:
        """An address that connect gave when it was asked at `asked_s`."""
        late_s = asked_s - self._bad_since_s.get(address, asked_s)
        self.latest_s = max(self.latest_s, late_s)
        if late_s > CRITICAL_MAX_S:
            self.wrong.append(f"{address} was given {late_s:.2f} s after it was critical")

    def figures(self) -> dict[str, Any]:
        """For a report."""
        return {
            "lookups": self.lookups,
            "unanswered": self.unanswered,
            "given_critical_s": round(self.latest_s, 2),
        }

    def judged(self) -> None:
        """Fail where one was given for too long, or nothing was tried."""
        assert self.wrong == [], self.wrong
        assert self.lookups, "connect was never asked"
        assert self.critical, "Consul called nobody dead"

    def forget(self) -> None:
        """Consul does not answer: nobody can know."""
        self._bad_since_s.clear()


@asynccontextmanager
async def looking(
    consul: str, namespace: str, connect_url: Callable[[], str], token: Callable[[], str]
) -> AsyncIterator[Lookout]:
    """While inside. `token`: of a random user each time."""
    seen = Lookout()
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_watch(seen, consul, namespace)),
            group.create_task(_look_up(seen, connect_url, token)),
        ]
        yield seen
        for task in tasks:
            task.cancel()


async def _watch(seen: Lookout, consul: str, namespace: str) -> None:
    async with httpx.AsyncClient(base_url=f"http://{consul}/v1", trust_env=False) as client:
        while True:
            good, critical = set[str](), set[str]()
            try:
                for service in ("messaging", "history"):
                    answer = await client.get(f"/health/service/{namespace}-{service}")
                    for entry in answer.raise_for_status().json():
                        dead = any(check["Status"] == "critical" for check in entry["Checks"])
                        found = entry["Service"]
                        (critical if dead else good).add(f"{found['Address']}:{found['Port']}")
                seen.see(good, critical - good, time.monotonic())
            except httpx.HTTPError:
                seen.forget()
            await asyncio.sleep(EVERY_S)


async def _look_up(seen: Lookout, connect_url: Callable[[], str], token: Callable[[], str]) -> None:
    while True:
        asked_s = time.monotonic()
        try:
            with suppress(IndexError):  # no connect server is live
                for address in await find(connect_url(), token()):
                    seen.judge(address, asked_s)
                seen.lookups += 1
        except NotFound as error:
            seen.unanswered.append(str(error))
        await asyncio.sleep(EVERY_S)
