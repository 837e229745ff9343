"""The package's client as a user sees it: applications come and go, and the server is killed.

Unlike the raw clients it is expected to hide all of that: each application sees every message for
it once, and those of one sender in the order in which they were said.
"""

from __future__ import annotations

import asyncio
from asyncio import TaskGroup
from collections import Counter, defaultdict
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random

import pytest

from cecochat.auth.minting import mint
from cecochat.client import (
    ChatError,
    Client,
    Closed,
    Connecting,
    Message,
    NotReachable,
    Reconnecting,
    connect,
)
from tests.support.server import Server, running

USERS = ("ann", "bea", "cyd", "dot")
KILLS = 5
MESSAGES_BETWEEN_KILLS = 120
SMALL_BUFFER_BYTES = 3_000  # a dozen messages: it overruns all the time
DONE_WITHIN_S = 180.0


@dataclass
class Seen:
    """What all applications did and saw."""

    said: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    got: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    visits: int = 0
    reconnects: int = 0
    progress: asyncio.Event = field(default_factory=asyncio.Event)

    def wrong(self) -> list[str]:
        """Say what was lost, doubled or out of order, and between whom."""
        return [
            f"{pair}: {sorted(said - got)} lost, {sorted(got - said)} doubled or never said, "
            f"in order: {self.got[pair] == self.said[pair]}"
            for pair in self.said | self.got
            for said, got in [(Counter(self.said[pair]), Counter(self.got[pair]))]
            if self.got[pair] != self.said[pair]
        ]

    @property
    def total(self) -> int:
        return sum(map(len, self.got.values()))

    async def until(self, total: int) -> None:
        while self.total < total:
            self.progress.clear()
            await self.progress.wait()


class Application:
    """One user's device, whose state is on disk; its process comes and goes."""

    def __init__(self, user: str, server: Server, folder: Path, seen: Seen, rng: Random) -> None:
        self.user = user
        self._state = folder / f"{user}.json"
        self._server, self._seen, self._rng = server, seen, rng
        self._token = mint(server.secret_file.read_bytes(), user, 3_600)
        self._numbers = count()
        self.quiet = False

    async def run(self) -> None:
        """Visit after visit, until cancelled."""
        while True:
            try:
                async with self.opened() as client:
                    await self._visit(client)
            except ChatError as error:
                if not error.retriable:  # a start can take longer than a client tries
                    raise

    def opened(self) -> AbstractAsyncContextManager[Client]:
        return connect(
            self._server.connect_url, self._token, state=self._state,
            buffer_max_bytes=SMALL_BUFFER_BYTES,
        )  # fmt: skip

    async def _visit(self, client: Client) -> None:
        self._seen.visits += 1
        stay = self._rng.randrange(20, 120)  # events
        async with TaskGroup() as group:
            speaking = group.create_task(self._speak(client))
            async for event in client:
                self._take(event)
                stay -= 1
                if stay <= 0 and not self.quiet:
                    break
            speaking.cancel()

    def _take(self, event: object) -> None:
        if isinstance(event, Message):
            self._seen.got[event.user_id, self.user].append(event.text)
            self._seen.progress.set()
        self._seen.reconnects += isinstance(event, Reconnecting)

    async def _speak(self, client: Client) -> None:
        while not self.quiet:
            other = self._rng.choice([user for user in USERS if user != self.user])
            texts = [f"{next(self._numbers)} from {self.user}" for _ in range(8)]
            answers = [await self._post(client, other, text) for text in texts]
            with suppress(Closed):
                await asyncio.wait(answers)

    async def _post(self, client: Client, other: str, text: str) -> asyncio.Future[int]:
        answer = await client.post(other, text)
        self._seen.said[self.user, other].append(text)
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        return answer


@pytest.mark.timeout(600)
async def test_every_application_sees_every_message_once_and_in_order(
    on: dict[str, str], tmp_path: Path, rng: Random
) -> None:
    async with running(tmp_path / "up", on) as server:
        seen = Seen()
        apps = [
            Application(user, server, tmp_path, seen, Random(f"{user} {rng.random()}"))
            for user in USERS
        ]
        for app in apps:
            async with app.opened():
                pass  # from now on it is owed everything
        async with TaskGroup() as group:
            tasks = [group.create_task(app.run()) for app in apps]
            for _ in range(KILLS):
                await seen.until(seen.total + MESSAGES_BETWEEN_KILLS)
                await server.kill()
                await server.start()
            await seen.until(seen.total + MESSAGES_BETWEEN_KILLS)
            for app in apps:
                app.quiet = True
            async with asyncio.timeout(DONE_WITHIN_S):
                await seen.until(sum(map(len, seen.said.values())))
            for task in tasks:
                task.cancel()
        assert seen.wrong() == []
        assert seen.visits > 2 * len(USERS), "nobody came back: this shows nothing"
        assert seen.reconnects >= KILLS, "nobody lost a connection: this shows nothing"


class Bot:
    """Answers with a handler that fails now and then, before it has answered or after."""

    def __init__(self, server: Server, state: Path, rng: Random) -> None:
        self._server, self._state, self._rng = server, state, rng
        self.failed_before = self.failed_after = self.visits = 0

    def opened(self) -> Connecting:
        token = mint(self._server.secret_file.read_bytes(), "bot", 3_600)
        return connect(self._server.connect_url, token, state=self._state)

    async def run(self) -> None:
        """Visit after visit, until cancelled. Whatever goes wrong, it just comes again."""
        while True:
            self.visits += 1
            with suppress(NotReachable, ZeroDivisionError):
                async with self.opened() as client:
                    client.on_message(self._answer)
                    with suppress(ZeroDivisionError):
                        await client.run()  # in the same process again,
                    await client.run()  # and then in another

    async def _answer(self, message: Message) -> None:
        if self._rng.random() < 0.1:
            self.failed_before += 1
            raise ZeroDivisionError
        await message.reply(f"You said: {message.text}")
        if self._rng.random() < 0.1:
            self.failed_after += 1
            raise ZeroDivisionError


@pytest.mark.timeout(600)
async def test_a_bot_whose_handler_fails_answers_each_message_once(
    tmp_path: Path, rng: Random
) -> None:
    async with running(tmp_path / "up", {}) as server:
        bot = Bot(server, tmp_path / "bot.json", rng)
        async with bot.opened():
            pass  # from now on it is owed everything
        ann = mint(server.secret_file.read_bytes(), "ann", 3_600)
        async with connect(server.connect_url, ann) as client, TaskGroup() as group:
            running_bot = group.create_task(bot.run())
            said, got = [f"question {number}" for number in range(200)], list[str]()
            for number, text in enumerate(said):
                answer = await client.post("bot", text)
                answer.add_done_callback(lambda done: done.cancelled() or done.exception())
                if number % 60 == 59:
                    await server.kill()
                    await server.start()
            async with asyncio.timeout(DONE_WITHIN_S):
                async for event in client:
                    got += [event.text] if isinstance(event, Message) else []
                    if len(got) == len(said):
                        break
            running_bot.cancel()
        assert got == [f"You said: {text}" for text in said]
        assert min(bot.failed_before, bot.failed_after) > 5, "this shows nothing"
        assert bot.visits > 5, "this shows nothing"
