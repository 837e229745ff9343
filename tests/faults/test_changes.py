"""Changes of messages outlive the server: SIGKILL under edits, deletions and reactions.

The judge reads raw answers of the history, and works out what each message is by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

import pytest

from cecochat.auth.minting import mint
from cecochat.client import (
    CaughtUp,
    Client,
    Deletion,
    Edit,
    Message,
    Reaction,
    Timeline,
    connect,
    open_history,
)
from cecochat.client.events import Change, event_of
from cecochat.client.lookup import Lookup
from cecochat.client.queries import HistoryCalls
from cecochat.domain.log.ids import ChatId
from cecochat.v1.events_pb2 import Event
from tests.support.eventually import eventually
from tests.support.server import Server, running

WITHIN_S = 60.0
CHAT = ChatId("d:alice~bob")
EMOJI = ("👍", "❤️", "😂")


@dataclass
class Person:
    """Somebody who sends and changes, and what they were told."""

    client: Client
    peer: str
    sent: list[int] = field(default_factory=list)
    made: list[Change] = field(default_factory=list)  # acknowledged
    got: list[Message | Change] = field(default_factory=list)
    sessions: int = 0

    async def listens(self) -> None:
        async for event in self.client:
            if isinstance(event, Message | Edit | Deletion | Reaction):
                self.got.append(event)
            self.sessions += isinstance(event, CaughtUp)

    async def acts(self, rng: Random) -> None:
        """Do one thing after the other, until cancelled."""
        while True:
            await self._act(rng)
            await asyncio.sleep(rng.uniform(0, 0.02))  # so that there are several at a time

    async def _act(self, rng: Random) -> None:
        what, client, peer = rng.random(), self.client, self.peer
        theirs = [each.id for each in self.got if isinstance(each, Message)]
        if what < 0.4 or not self.sent:
            self.sent.append(await client.send(peer, f"message {len(self.sent)}"))
        elif what < 0.6:
            text = f"edit {len(self.made)}"
            self.made.append(await client.edit(peer, rng.choice(self.sent[-9:]), text))
        elif what < 0.65:
            self.made.append(await client.delete(peer, rng.choice(self.sent[-9:])))
        else:
            about = rng.choice([*self.sent[-9:], *theirs[-9:]])
            removed = rng.random() < 0.3
            emoji = rng.choice(EMOJI)
            self.made.append(await client.react(peer, about, emoji, removed=removed))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
async def test_changes_are_never_lost_nor_doubled_and_come_to_the_same(
    kills: int, tmp_path: Path, rng: Random
) -> None:
    async with running(tmp_path) as server, two(server, tmp_path) as people:
        async with asyncio.TaskGroup() as group:
            listening = [group.create_task(each.listens()) for each in people]
            acting = [group.create_task(each.acts(rng)) for each in people for _ in range(4)]
            for number in range(1, kills + 1):
                await asyncio.sleep(rng.uniform(1.0, 2.0))  # any moment
                await server.kill()
                await server.start()
                await eventually(partial(are_back, people, number), WITHIN_S)
            await asyncio.sleep(1.0)
            for task in acting:
                task.cancel()
            await asyncio.gather(*acting, return_exceptions=True)
            await eventually(lambda: all_arrived(server, people), WITHIN_S, every_s=0.5)
            for task in listening:
                task.cancel()
        events = await accepted(server)
        judge(people, events)
        expected = {event.id: read_plainly(event, events) for event in events if said(event)}
        assert len(expected) > 10 * kills, "hardly any traffic"
        assert await folded(server) == expected
        await eventually(lambda: finds(server, expected), WITHIN_S, every_s=0.5)
        for person in people:
            assert timeline_of(person, events) == expected


def are_back(people: tuple[Person, Person], deaths: int) -> bool:
    return all(person.sessions > deaths for person in people)


@asynccontextmanager
async def two(server: Server, folder: Path) -> AsyncIterator[tuple[Person, Person]]:
    async with (
        connect(server.connect_url, token(server, "alice"), state=folder / "alice") as alice,
        connect(server.connect_url, token(server, "bob"), state=folder / "bob") as bob,
    ):
        yield Person(alice, "bob"), Person(bob, "alice")


def token(server: Server, user: str) -> str:
    return mint(server.secret_file.read_bytes(), user, 3_600)


# -- what was accepted


async def accepted(server: Server) -> list[Event]:
    """All events of the chat in the history, in the order of their ids."""
    lookup = Lookup(server.connect_url, token(server, "alice"), None)
    calls = HistoryCalls(lookup)
    try:
        pages = calls.every_page(CHAT, 0, with_changes=True)
        return [event async for page in pages for event in page.messages]
    finally:
        await calls.close()
        await lookup.close()


async def all_arrived(server: Server, people: tuple[Person, Person]) -> bool:
    """Whether everything is answered, in the history, and told to the other."""
    if any(person.client._local.progress.live.outbox for person in people):
        return False
    events = await accepted(server)
    found = {event.id for event in events}
    own = {id_ for each in people for id_ in (*each.sent, *(change.id for change in each.made))}
    told = {each.id for person in people for each in person.got}
    return own <= found and told == found


def judge(people: tuple[Person, Person], events: list[Event]) -> None:
    """What was acknowledged is there, and everything is told to the other, once and in order."""
    ids = [event.id for event in events]
    assert ids == sorted(set(ids))
    for person in people:
        assert {*person.sent, *(each.id for each in person.made)} <= set(ids)
        told = [each.id for each in person.got]
        assert told == [event.id for event in events if event.user_id == person.peer]


# -- what becomes of the messages

Become = tuple[str, int, int, frozenset[tuple[str, str]]]
"""Text, revision, deletion, and who reacts with what."""


def said(event: Event) -> bool:
    return event.HasField("message")


def read_plainly(message: Event, events: list[Event]) -> Become:
    """What a message is, from all events in the order of their ids. The history has left out the
    texts of deleted messages, which do not count.
    """
    text, revision, deletion = message.message.text, 0, 0
    reactions: set[tuple[str, str]] = set()
    for event in events:
        if event.edit.message_id == message.id and event.user_id == message.user_id:
            text, revision = event.edit.text, event.id
        if event.deletion.message_id == message.id and event.user_id == message.user_id:
            deletion = event.id
        if event.reaction.message_id == message.id:
            reaction = (event.user_id, event.reaction.emoji)
            (reactions.discard if event.reaction.removed else reactions.add)(reaction)
    return ("", 0, deletion, frozenset()) if deletion else (text, revision, 0, frozenset(reactions))


def become(message: Message) -> Become:
    reactions = frozenset((each.user_id, each.emoji) for each in message.reactions)
    return message.text, message.revision_id, message.deletion_id, reactions


async def folded(server: Server) -> dict[int, Become]:
    async with open_history(server.connect_url, token(server, "bob")) as history:
        return {each.id: become(each) async for each in history.every_message("alice")}


def timeline_of(person: Person, events: list[Event]) -> dict[int, Become]:
    """Of what the person was told, and then of what they did."""
    timeline = Timeline()
    own = [event_of(each) for each in events if each.user_id == person.client.user_id]
    for event in (*person.got, *own):
        assert event is not None
        timeline.add(event)
    return {each.id: become(each) for each in timeline.messages()}


async def finds(server: Server, expected: dict[int, Become]) -> bool:
    """Whether searches find every message by the words that it has now, and by no others, newest
    first and once. They may be behind.
    """
    texts = {id_: text for id_, (text, _, deletion, _) in expected.items() if not deletion}
    return await found(server, "message") == newest_first(texts, "message") and (
        await found(server, "edit") == newest_first(texts, "edit")
    )


def newest_first(texts: dict[int, str], word: str) -> list[tuple[int, str]]:
    return sorted(((id_, text) for id_, text in texts.items() if word in text), reverse=True)


async def found(server: Server, word: str) -> list[tuple[int, str]]:
    messages: list[Message] = []
    async with open_history(server.connect_url, token(server, "bob")) as history:
        more, before = True, None
        while more:
            page = await history.search(word, 200, before=before)
            messages += page.messages
            more, before = page.has_more, messages[-1].id if messages else None
    return [(each.id, each.text) for each in messages]
