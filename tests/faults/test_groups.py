"""Servers are killed while people talk in groups, come and go: who belonged at an event gets it,
once and in order, and nobody else does. The history says the same of members and of what is unread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import grpc
import pytest
from typing_extensions import override

from cecochat.v1.errors_pb2 import ERROR_CODE_NOT_FOUND
from cecochat.v1.events_pb2 import (
    ROLE_ADMIN,
    ROLE_MEMBER,
    Appointment,
    GroupOptions,
    Membership,
    Mention,
    Message,
    Receipt,
)
from cecochat.v1.history_pb2 import (
    Chat,
    GetChatsRequest,
    GetChatsResponse,
    ListMembersRequest,
    ListMembersResponse,
)
from cecochat.v1.messaging_pb2 import ReadToken, Send
from tests.faults.test_cluster import report
from tests.faults.test_outages import outage
from tests.faults.trial import Trial
from tests.support.crowd import Crowd
from tests.support.device import Device
from tests.support.eventually import eventually
from tests.support.membership import MemberDevice, Recount, judge, read_up_to
from tests.support.pipes import typed_error
from tests.support.processes import ServerProcess, processes
from tests.support.rawclient import GET_CHATS, LIST_MEMBERS, RawHistory, find, history
from tests.support.records import DeviceKey
from tests.support.server import running
from tests.support.texts import real_texts
from tests.support.traffic import TICK_S

USERS = [f"user-{number:02}" for number in range(12)]
GROUPS = {f"g:room-{number}": USERS[number] for number in range(3)}
"""With their owners, who stay."""
CLOSED = "g:room-2"
"""Only who is invited may join it."""
DEVICES = [DeviceKey(user, "phone") for user in USERS] + [
    DeviceKey(user, "laptop") for user in USERS[::4]
]
ACTS_PER_S = {"embedded": 150, "real": 40, "real-all": 40}
COUNTS = {"control": 1, "messaging": 2, "materialize": 1, "history": 1, "connect": 1}
EVERY_WAY = ["killed", "drained", "paused", "without Kafka"]
Fault = Callable[[], Awaitable[None]]


class People(Crowd):
    """Who talks, comes and goes."""

    @override
    def _made(self, who: DeviceKey, own: tuple[str, ...]) -> Device:
        return MemberDevice(
            who, self.record, self._connect_url, lambda: self.token(who.user_id), own,
            next(self._transports),
        )  # fmt: skip

    @property
    def members(self) -> list[MemberDevice]:
        return [each for each in self.devices.values() if isinstance(each, MemberDevice)]

    def of(self, user_id: str) -> MemberDevice:
        """Somebody's phone."""
        return next(each for each in self.members if each.who == DeviceKey(user_id, "phone"))

    async def all_back(self) -> None:
        """Return when everybody has been caught up; some are refused something all the time."""
        for each in self.members:
            await eventually(each.caught_up.is_set, within_s=60)

    async def token_for_all(self) -> ReadToken:
        return await self._token_for_all()

    @asynccontextmanager
    async def asking(self, user_id: str) -> AsyncIterator[RawHistory]:
        """The history as somebody sees it."""
        bearer = self.token(user_id)
        route = await find(self._connect_url(), bearer)
        async with history(route.history, bearer) as pages:
            yield pages


@dataclass
class Life:
    """What people do in groups, drawn at random."""

    people: People
    rng: Random
    reads: bool = True  # whether anybody says how far they have read

    async def found(self) -> None:
        """Every group begins with its owner and some others."""
        for chat_id, owner in GROUPS.items():
            others = self.rng.sample([user for user in USERS if user != owner], 4)
            options = GroupOptions(name=chat_id, is_open=chat_id != CLOSED)
            self._change(self.people.of(owner), chat_id, options=options, added_ids=others)
        await self.people.answered()

    async def goes_on(self, acts_per_s: float) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        began, done = loop.time(), 0
        while True:
            due = int((loop.time() - began) * acts_per_s)
            for _ in range(due - done):
                self._act(self.rng.choice(self.people.members))
            done = due
            await asyncio.sleep(TICK_S)

    async def goes_away(self) -> None:
        """One after the other, some are away for a while, until cancelled."""
        while True:
            device = self.rng.choice(self.people.members)
            await device.stays_away(self.rng.uniform(0.5, 3.0))

    def volley(self) -> None:
        """Everybody does something at once, and all owners change something."""
        for device in self.people.members:
            self._act(device)
        for chat_id, owner in GROUPS.items():
            self._decide(self.people.of(owner), chat_id)

    async def ends(self) -> None:
        """All is answered, and last words go through every group."""
        await self.people.answered(60)
        for device in self.people.members:
            for chat_id in device.groups:
                device.say(chat_id, "that is all")
        await self.people.answered(60)

    def owns(self, device: MemberDevice) -> bool:
        """Whether its user owns a group."""
        return device.who.user_id in GROUPS.values()

    def _act(self, device: MemberDevice) -> None:
        """Nobody does much while away: it would be refused one by one if they were removed."""
        if not device.caught_up.is_set():
            return
        chat_id, what = self.rng.choice(list(GROUPS)), self.rng.random()
        owns = GROUPS[chat_id] == device.who.user_id
        if chat_id not in device.groups:
            if what < (0.02 if chat_id == CLOSED else 0.2):
                self._change(device, chat_id, added_ids=[device.who.user_id])
        elif what < 0.8:
            self._say(device, chat_id)
        elif what < 0.9 and self.reads:
            seen = [each.id for each in device.got.values() if each.chat_id == chat_id]
            device.put(
                Send(chat_id=chat_id, receipt=Receipt(read_up_to=self.rng.choice(seen[-9:])))
            )
        elif owns:
            self._decide(device, chat_id)
        elif what < 0.94:
            self._change(device, chat_id, removed_ids=[device.who.user_id])

    def _say(self, device: MemberDevice, chat_id: str) -> None:
        """Something that mentions some, who may belong to the group or not."""
        named = self.rng.sample(USERS, self.rng.choice([0, 0, 0, 1, 2]))
        mentions = [Mention(user_id=each, length=1) for each in named]
        message = Message(text=self.rng.choice(real_texts()), mentions=mentions)
        device.put(Send(chat_id=chat_id, message=message))

    def _decide(self, owner: MemberDevice, chat_id: str) -> None:
        """Of somebody, who may have gone, or come, without the owner knowing yet."""
        user = self.rng.choice([each for each in USERS if each != owner.who.user_id])
        match self.rng.choice(["add", "remove", "remove", "invite", "appoint", "options"]):
            case "add":
                self._change(owner, chat_id, added_ids=[user])
            case "remove":
                self._change(owner, chat_id, removed_ids=[user])
            case "invite":
                self._change(owner, chat_id, invited_ids=[user])
            case "appoint":
                role = self.rng.choice([ROLE_ADMIN, ROLE_MEMBER])
                appointed = [Appointment(user_id=user, role=role)]
                self._change(owner, chat_id, appointments=appointed)
            case "options":
                name, hides_past = f"room {self.rng.random()}", self.rng.random() < 0.5
                is_open = chat_id != CLOSED
                options = GroupOptions(name=name, is_open=is_open, hides_past=hides_past)
                self._change(owner, chat_id, options=options)

    def _change(self, device: MemberDevice, chat_id: str, **what: object) -> None:
        device.put(Send(chat_id=chat_id, membership=Membership(**what)))  # type: ignore[arg-type]


async def recounted(people: People) -> dict[str, Recount]:
    """Every group, from what its owner reads."""
    token, found = await people.token_for_all(), {}
    for chat_id, owner in GROUPS.items():
        async with people.asking(owner) as pages:
            found[chat_id] = Recount(await pages.events(chat_id, token))
    return found


async def queries_differ(people: People, groups: dict[str, Recount]) -> list[str]:
    """Where the history tells somebody something else than what was recounted."""
    token, wrong = await people.token_for_all(), []
    for user in USERS:
        async with people.asking(user) as pages:
            request = GetChatsRequest(after_chat_id="", token=token)
            listed = await pages.ask(GET_CHATS, request, GetChatsResponse)
            chats = {each.chat_id: each for each in listed.chats}
            for chat_id, recount in groups.items():
                read = await ids_read(pages, chat_id, token)
                if read != recount.may_read(user):
                    wrong.append(f"{user} may not read just that of {chat_id}: {read[-9:]}")
                if user in recount.roles:
                    up_to = read_up_to(people.members, user, chat_id)
                    wrong += chat_differs(user, chats.get(chat_id), recount, up_to)
                    wrong += await members_differ(pages, chat_id, recount, token)
    return wrong


async def ids_read(pages: RawHistory, chat_id: str, token: ReadToken) -> list[int]:
    try:
        return [each.id for each in await pages.events(chat_id, token)]
    except grpc.aio.AioRpcError as error:
        if (typed := typed_error(error)) and typed.code == ERROR_CODE_NOT_FOUND:
            return []
        raise


def chat_differs(user: str, chat: Chat | None, recount: Recount, up_to: int) -> Iterator[str]:
    """How a member's list of chats shows a group."""
    if chat is None:
        yield f"{user} does not have {recount.options.name} in the list"
        return
    expected = (*recount.unread(user, up_to), recount.roles[user], recount.options)
    counts = (chat.unread_count, chat.unread_mention_count)
    if (*counts, chat.role, chat.options) != expected:
        yield f"{user} has {chat}, not {expected}"


async def members_differ(
    pages: RawHistory, chat_id: str, recount: Recount, token: ReadToken
) -> list[str]:
    request = ListMembersRequest(chat_id=chat_id, limit=100, token=token)
    found = await pages.ask(LIST_MEMBERS, request, ListMembersResponse)
    roles = {each.user_id: each.role for each in found.members if each.role}
    invited = {each.user_id for each in found.members if each.is_invited}
    if (roles, invited) == (recount.roles, recount.invited):
        return []
    return [f"{chat_id} lists {found}, not {recount.roles} and {recount.invited}"]


async def until_right(people: People) -> dict[str, Recount]:
    """Wait until all has arrived, and return the groups."""
    groups: dict[str, Recount] = {}
    found: list[str] = []

    async def right() -> bool:
        groups.update(await recounted(people))
        found[:] = judge(people.members, groups)
        return not found

    try:
        await eventually(right, within_s=60, every_s=0.5)
    except AssertionError as error:
        raise AssertionError("\n".join(found[:20])) from error
    assert await queries_differ(people, groups) == []
    return groups


def assert_seen(people: People, groups: dict[str, Recount], faults: int) -> dict[str, int]:
    """The run counts only if much happened. Returns how much."""
    changes = [e for each in groups.values() for e in each.events if e.HasField("membership")]
    stays = [stay for each in groups.values() for of in each.stays.values() for stay in of]
    refused = [code for each in people.members for code in each.refused.values()]
    mentions = sum(
        recount.unread(user, read_up_to(people.members, user, chat_id))[1]
        for chat_id, recount in groups.items()
        for user in recount.roles
    )
    assert mentions > len(GROUPS), "hardly anybody has a mention to read"
    assert len(stays) > 3 * faults, "hardly anybody came or went"
    assert set(refused) <= {"NOT_FOUND", "FORBIDDEN", "INVALID_ARGUMENT"}
    counts = {"changes": len(changes), "stays": len(stays), "refused": len(refused)}
    return counts | {"unread_mentions": mentions}


@asynccontextmanager
async def embedded(folder: Path) -> AsyncIterator[tuple[People, Fault]]:
    """One process with twelve partitions."""
    async with running(folder, {"CECOCHAT_PARTITIONS": "12"}) as server:

        async def kill() -> None:
            assert await server.kill() == -9
            await server.start()

        yield People(lambda: server.connect_url, server.secret_file, server.record), kill


@asynccontextmanager
async def on_cluster(trial: Trial, ways: Sequence[str]) -> AsyncIterator[tuple[People, Fault]]:
    """Two messaging servers on real backends. It is mostly these that something happens to."""
    rng = trial.rng
    async with processes(trial.folder, trial.environment, COUNTS) as cluster:

        async def fault() -> None:
            service = rng.choice(["messaging", "messaging", "messaging", "materialize"])
            await befall(rng.choice(cluster.of(service)), rng.choice(ways), trial)

        yield People(lambda: cluster.connect_url, cluster.secret_file, cluster.record), fault


async def befall(victim: ServerProcess, way: str, trial: Trial) -> None:
    match way:
        case "killed":
            assert await victim.kill() == -9
            await victim.start()
        case "drained":
            assert await victim.terminate() == 0
            await victim.start()
        case "paused":
            victim.pause()
            await asyncio.sleep(trial.rng.uniform(3, 10))  # it may lose its partitions
            victim.go_on()
        case "without Kafka":
            await outage(trial.backends, ["kafka"], trial.rng.uniform(1, 8))


@pytest.fixture(params=["embedded", "real", pytest.param("real-all", marks=pytest.mark.slow)])
async def lived(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[tuple[str, People, Fault]]:
    """Where people talk, and what happens there: a server is killed, and in one place also paused
    or drained, or loses Kafka.
    """
    if request.param == "embedded":
        where = embedded(tmp_path)
    else:
        ways = EVERY_WAY if request.param == "real-all" else EVERY_WAY[:1]
        where = on_cluster(request.getfixturevalue("trial"), ways)
    async with where as (people, fault):
        yield request.param, people, fault


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param(3, marks=pytest.mark.timeout(420)),
        pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(1_200)]),
    ],
)
async def test_who_belongs_gets_all_of_it_and_nobody_else(
    faults: int, lived: tuple[str, People, Fault], rng: Random, base_seed: int
) -> None:
    name, people, fault = lived
    life = Life(people, rng)
    async with people.connected(DEVICES, ()):
        await life.found()
        async with asyncio.TaskGroup() as group:
            living = [
                group.create_task(life.goes_on(ACTS_PER_S[name])),
                group.create_task(life.goes_away()),
            ]
            for _ in range(faults):
                await asyncio.sleep(rng.uniform(1.0, 3.0))  # any moment
                life.volley()
                await asyncio.sleep(rng.uniform(0, 0.05))  # with much of it under way
                await fault()
                await people.all_back()
            await asyncio.sleep(1.0)
            for each in living:
                each.cancel()
        await life.ends()
        groups = await until_right(people)
    seen = assert_seen(people, groups, faults)
    figures = report(f"groups-{faults}-{name}", base_seed, people, **seen)
    assert figures["sent_again"] > 0, "no kill met a send under way"
