"""Servers are killed and drained while people come and go, hide, and watch each other: when all is
quiet, everybody is shown as they are, and nobody stays online who was on a dead server.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.faults.test_groups import befall
from tests.faults.trial import Trial
from tests.support.eventually import eventually
from tests.support.evidence import percentile
from tests.support.pipes import TRANSPORTS
from tests.support.presence import Phone, judge
from tests.support.processes import processes
from tests.support.rawclient import mint
from tests.support.records import DeviceKey
from tests.support.results import write
from tests.support.server import running

USERS = [f"user-{number:02}" for number in range(12)]
STEADY = USERS[:3]
"""They are always here, and hide from nobody."""
DEVICES = [
    *(DeviceKey(user, "phone") for user in USERS),
    *(DeviceKey(user, "laptop") for user in USERS[1::2]),
    *(DeviceKey(user, "tablet") for user in USERS[1::4]),
]
WATCHED = 5
ACTS_PER_S = 15.0
COUNTS = {"control": 1, "messaging": 2, "materialize": 1, "history": 1, "connect": 1}
WAYS = {
    "embedded": ["killed", "drained"],
    "real": ["killed", "drained"],
    "real-all": ["killed", "drained", "paused", "without Kafka"],
}
RIGHT_WITHIN_S = 45.0
"""On whatever machine: less than the minute after which everything is said again."""
AFTER_LOSSES_S = 150.0
"""While Kafka is away, signals are lost."""
Vanish = Callable[[str], None]


@dataclass(frozen=True)
class Place:
    """Where people are. `fault` brings one of the `ways` over a server, which it names before."""

    name: str
    connect_url: Callable[[], str]
    secret_file: Path
    fault: Callable[[str, Vanish], Awaitable[None]]

    @property
    def ways(self) -> list[str]:
        return WAYS[self.name]

    def phones(self) -> list[Phone]:
        transports = cycle(TRANSPORTS)
        return [
            Phone(who, self.connect_url, partial(self._token, who), next(transports))
            for who in DEVICES
        ]

    def _token(self, who: DeviceKey) -> str:
        return mint(self.secret_file, who.user_id)


@dataclass
class Life:
    """What people do, drawn at random."""

    phones: Sequence[Phone]
    rng: Random
    vanished: set[str] = field(default_factory=set)  # with the last server that something befell
    acts: int = 0

    def begin(self) -> None:
        for phone in self.phones:
            self._look_elsewhere(phone)
            phone.comes()

    async def goes_on(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self.rng.expovariate(ACTS_PER_S))
            self._act(self.rng.choice(self.phones))

    def _act(self, phone: Phone) -> None:
        self.acts += 1
        what = self.rng.random()
        if what < 0.4:
            self._look_elsewhere(phone)
        elif phone.who.user_id in self.vanished or phone.who.user_id in STEADY:
            return
        elif not phone.here:
            phone.comes()
        elif what < 0.7:
            phone.leaves()
        elif what < 0.8:
            phone.hides(not phone.hidden)
        else:  # that is not to be seen
            phone.leaves()
            phone.comes()

    def _look_elsewhere(self, phone: Phone) -> None:
        others = [user for user in USERS if user != phone.who.user_id]
        phone.watches(self.rng.sample(others, WATCHED))

    def vanish(self, server_id: str) -> None:
        """Some who are on this server do not come back when their sessions end. Empty: there is one
        server.
        """
        on = [each for each in self.phones if each.here and each.server_id.startswith(server_id)]
        there = {each.who.user_id for each in on if not each.hidden}
        can = sorted(there - set(STEADY))
        self.vanished = set(self.rng.sample(can, min(3, len(can))))
        for phone in self._gone():
            phone.vanishes()

    def leave(self) -> None:
        """Who has vanished is gone, even if the server lives on."""
        for phone in self._gone():
            phone.leaves()

    def _gone(self) -> list[Phone]:
        return [each for each in self.phones if each.who.user_id in self.vanished]

    def offline_after_s(self, began_s: float) -> float:
        """How long after `began_s` somebody was last told that one of the vanished is offline."""
        last = [p.seen[user] for p in self.phones for user in self.vanished if user in p.seen]
        return max((word.at_s - began_s for word in last), default=0.0)


@asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[Place]:
    """One process with twelve partitions."""
    async with running(folder, {"CECOCHAT_PARTITIONS": "12"}) as server:

        async def fault(way: str, vanish: Vanish) -> None:
            vanish("")
            await (server.kill() if way == "killed" else server.terminate())
            await server.start()

        yield Place("embedded", lambda: server.connect_url, server.secret_file, fault)


@asynccontextmanager
async def on_cluster(name: str, trial: Trial) -> AsyncIterator[Place]:
    """Two messaging servers on real backends."""
    async with processes(trial.folder, trial.environment, COUNTS) as cluster:

        async def fault(way: str, vanish: Vanish) -> None:
            victim = trial.rng.choice(cluster.of("messaging"))
            vanish(victim.instance_id)
            await befall(victim, way, trial)

        yield Place(name, lambda: cluster.connect_url, cluster.secret_file, fault)


@pytest.fixture(
    params=[
        "embedded",
        pytest.param("real", marks=pytest.mark.slow),
        pytest.param("real-all", marks=pytest.mark.slow),
    ]
)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    if request.param == "embedded":
        where = embedded(tmp_path)
    else:
        where = on_cluster(request.param, request.getfixturevalue("trial"))
    async with where as found:
        yield found


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param(2, marks=pytest.mark.timeout(420)),
        pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(2_400)]),
    ],
)
async def test_everybody_is_shown_as_they_are(
    faults: int, place: Place, rng: Random, base_seed: int
) -> None:
    phones = place.phones()
    life = Life(phones, rng)
    told: list[dict[str, Any]] = []
    async with asyncio.TaskGroup() as group:
        running_phones = [group.create_task(each.run()) for each in phones]
        life.begin()
        await until_right(phones)
        for number in range(faults):
            told.append(await befallen(life, place, place.ways[number % len(place.ways)]))
        followed_s = [await followed(life) for _ in range(5)]
        for task in running_phones:
            task.cancel()
    figures = {
        "seed": base_seed,
        "devices": len(phones),
        "acts": life.acts,
        "words": sum(len(each.heard) for each in phones),
        "faults": told,
        "followed_p50_s": round(percentile(followed_s, 0.5), 2),
        "followed_max_s": round(max(followed_s), 2),
    }
    print(write(f"presence-{faults}-{place.name}", figures), figures)
    assert not any(each.refused for each in phones)
    assert any(each["vanished"] for each in told), "nobody was on a server that died"


async def befallen(life: Life, place: Place, way: str) -> dict[str, Any]:
    """People go on while something befalls a server; then all is quiet, and right."""
    life.vanished.clear()
    heard = [len(each.heard) for each in life.phones]
    async with asyncio.TaskGroup() as group:
        living = group.create_task(life.goes_on())
        await asyncio.sleep(life.rng.uniform(1.0, 3.0))  # any moment
        began_s = time.monotonic()
        await place.fault(way, life.vanish)
        life.leave()
        living.cancel()
    ended_s = time.monotonic()
    await until_right(life.phones, AFTER_LOSSES_S if way == "without Kafka" else RIGHT_WITHIN_S)
    return {
        "way": way,
        "vanished": len(life.vanished),
        "offline_after_s": round(life.offline_after_s(began_s), 2),
        "took_s": round(ended_s - began_s, 2),
        "right_after_s": round(time.monotonic() - ended_s, 2),
        "flickers": sum(
            word.user_id in STEADY and not word.online
            for phone, since in zip(life.phones, heard, strict=True)
            for word in phone.heard[since:]
        ),
    }


async def followed(life: Life) -> float:
    """Seconds from when somebody comes, or leaves, until all who watch are told."""
    users = [each.who.user_id for each in life.phones]
    alone = [each for each in life.phones if users.count(each.who.user_id) == 1]
    phone = life.rng.choice([each for each in alone if each.who.user_id not in STEADY])
    phone.hides(False)
    began_s = time.monotonic()
    (phone.leaves if phone.here else phone.comes)()
    await until_right(life.phones)
    return time.monotonic() - began_s


async def until_right(phones: Sequence[Phone], within_s: float = RIGHT_WITHIN_S) -> None:
    """Wait until everybody is shown as they are."""
    try:
        await eventually(lambda: not judge(phones), within_s, every_s=0.05)
    except AssertionError as error:
        raise AssertionError("\n".join(judge(phones)[:20])) from error
