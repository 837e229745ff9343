"""A group of the package's clients: applications come and go, one of them is added and removed, and
the server is killed. Each sees what happens while its user is a member, once and in one order.
"""

from __future__ import annotations

import asyncio
from asyncio import TaskGroup
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest
from typing_extensions import override

from cecochat.auth.minting import mint
from cecochat.client import (
    Client,
    Closed,
    Entry,
    GroupChange,
    Message,
    Reconnecting,
    Rejected,
    SendRejected,
    connect,
    open_history,
)
from cecochat.domain.cluster.partitions import partition_of
from tests.faults.test_client import DONE_WITHIN_S, USERS, Application, Seen
from tests.support.eventually import eventually
from tests.support.server import Server, running

US, PARTITIONS = "g:us", 8
ANN, *OTHERS = USERS
COMES_AND_GOES = USERS[-1]
KILLS = 3
CHANGES_BETWEEN_KILLS = 2
EVENTS_BETWEEN_CHANGES = 40


class InGroup(Application):
    """An application that writes to the group alone."""

    was_refused = False

    @override
    async def _post(self, client: Client, other: str, text: str) -> asyncio.Future[int]:
        answer = await super()._post(client, other, text)
        answer.add_done_callback(self._note)
        return answer

    def _note(self, answer: asyncio.Future[int]) -> None:
        self.was_refused |= not answer.cancelled() and isinstance(answer.exception(), SendRejected)

    @override
    def _take(self, event: object) -> None:
        self.was_refused |= isinstance(event, Rejected)
        if isinstance(event, Message | GroupChange):
            self._seen.got[US, self.user].append(str(event.id))
            self._seen.progress.set()
        self._seen.reconnects += isinstance(event, Reconnecting)

    @override
    async def _speak(self, client: Client) -> None:
        while not self.quiet:
            texts = [f"{next(self._numbers)} from {self.user}" for _ in range(4)]
            answers = [await self._post(client, US, text) for text in texts]
            with suppress(Closed):
                await asyncio.wait(answers)

    async def history(self) -> list[Entry]:
        """What the history has of the group for this user."""
        async with open_history(self._server.connect_url, self._token) as history:
            return [entry async for page in history.every_page(US) for entry in page.entries]

    def got(self) -> list[int]:
        return [int(id_) for id_ in self._seen.got[US, self.user]]

    def is_told_of(self, entry: Entry) -> bool:
        """Whether it comes as an event: all but what this application has said itself."""
        return isinstance(entry, GroupChange) or entry.user_id != self.user

    def said(self, entries: list[Entry]) -> list[str]:
        """What of these this application has said."""
        mine = [each for each in entries if isinstance(each, Message) and each.user_id == self.user]
        return [each.text for each in mine]

    async def has_all(self) -> bool:
        """Whether it was told of all that the history has, and has nothing to send any more."""
        entries, wanted = await self.history(), self._seen.said[self.user, US]
        is_done = self.user == COMES_AND_GOES or len(self.said(entries)) == len(wanted)
        return is_done and self.got() == [each.id for each in entries if self.is_told_of(each)]


async def changes(owner: Client, seen: Seen, made: asyncio.Semaphore) -> None:
    """Remove and add somebody, until cancelled."""
    while True:
        for change in (owner.groups.remove, owner.groups.add):
            await seen.until(seen.total + EVENTS_BETWEEN_CHANGES)
            await change(US, COMES_AND_GOES)
            made.release()


async def traffic(
    server: Server, apps: list[InGroup], seen: Seen, owner: Client, rng: Random
) -> None:
    made = asyncio.Semaphore(0)

    async def goes_on() -> None:
        for _ in range(CHANGES_BETWEEN_KILLS):
            await made.acquire()
        await seen.until(seen.total + rng.randrange(2 * EVENTS_BETWEEN_CHANGES))

    async with TaskGroup() as group:
        tasks = [group.create_task(app.run()) for app in apps]
        changing = group.create_task(changes(owner, seen, made))
        for _ in range(KILLS):
            await goes_on()
            await server.kill()
            await server.start()
        await goes_on()
        while not apps[-1].was_refused:
            await goes_on()
        changing.cancel()
        for app in apps:
            app.quiet = True
        for app in apps:
            await eventually(app.has_all, DONE_WITHIN_S, every_s=1.0)
        for task in tasks:
            task.cancel()


@pytest.mark.timeout(600)
async def test_every_member_sees_what_happens_while_they_belong_to_it_once_and_in_one_order(
    on: dict[str, str], tmp_path: Path, rng: Random
) -> None:
    places = [partition_of(each, PARTITIONS) for each in (US, *USERS)]
    assert len(set(places)) >= 3, "all live in one place: this shows little"
    async with running(tmp_path / "up", {"CECOCHAT_PARTITIONS": f"{PARTITIONS}"} | on) as server:
        seen = Seen()
        apps = [
            InGroup(user, server, tmp_path, seen, Random(f"{user} {rng.random()}"))
            for user in USERS
        ]
        for app in apps:
            async with app.opened():
                pass  # from now on it is owed everything
        token = mint(server.secret_file.read_bytes(), ANN, 3_600)
        async with connect(server.connect_url, token, listen=False) as owner:
            await owner.groups.create("Us", members=OTHERS, chat_id=US, hides_past=True)
            await traffic(server, apps, seen, owner, rng)
        judge(await apps[0].history(), apps, seen)


def judge(whole: list[Entry], apps: list[InGroup], seen: Seen) -> None:
    """`whole` is what somebody sees who was always there; all have seen their part of that."""
    ids = [entry.id for entry in whole]
    assert ids == sorted(set(ids))
    for app in apps:
        said, wanted = app.said(whole), seen.said[app.user, US]
        if app.user == COMES_AND_GOES:
            assert not Counter(said) - Counter(wanted), "doubled or never said"
            assert 0 < len(said) < len(wanted), "nothing was refused: this shows nothing"
        else:
            assert said == wanted
        assert set(app.got()) <= set(ids)
    changes = [each for each in whole if isinstance(each, GroupChange)]
    assert len(changes) > CHANGES_BETWEEN_KILLS * (KILLS + 1), "nobody came or went"
    assert seen.reconnects >= KILLS, "nobody lost a connection: this shows nothing"
