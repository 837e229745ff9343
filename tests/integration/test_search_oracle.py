"""A search finds what a scan of the history finds that shows what its user sees: the oracle reads
all pages of all chats of a user, and looks into the texts itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cecochat.adapters.embedded.history import EmbeddedHistory
from cecochat.adapters.embedded.search import EmbeddedSearch
from cecochat.domain.changes.about import about
from cecochat.domain.errors import Refusal
from cecochat.domain.log.ids import ChatId, UserId, dialog
from cecochat.domain.search.entries import entries_of
from cecochat.domain.search.words import query, words
from cecochat.ports.backplane import Log
from cecochat.ports.history import MessageRow, Progress
from cecochat.ports.search import Found, Search, Turn
from cecochat.sealing.keyring import KeyRing
from cecochat.sealing.opening import Opening
from cecochat.servers.history.queries import Queries
from cecochat.servers.history.searching import Searching
from cecochat.telemetry.tracing import OFF
from cecochat.v1.events_pb2 import Event, GroupOptions, Membership
from cecochat.v1.history_pb2 import (
    GetMessagesRequest,
    GetMessagesResponse,
    SearchMessagesRequest,
    SearchMessagesResponse,
)
from tests.contract.test_history import on_one_database
from tests.contract.test_search import matches
from tests.support.groups import GroupWorld

NAMES = ("ann", "bob", "carol")
TEXTS = ("pan", "pancake cake", "Käse 你好", "cake")
LOOKED_FOR = ("pan", "cake", "kase", "好")
LOG_ID = "a log"


class World:
    """Two groups and the dialogs of three people, in one partition."""

    def __init__(self, number: int) -> None:
        self.users = [UserId(f"{name}{number}") for name in NAMES]
        self.groups = [
            GroupWorld(f"g:{kind}{number}", 0, dict.fromkeys(self.users, 0)) for kind in "ab"
        ]
        self.rows: list[MessageRow] = []
        self._stamp = number << 12

    def next_id(self) -> int:
        self._stamp += 1
        return self._stamp << 22

    def add(self, user: UserId, chat_id: ChatId, **body: Any) -> None:
        """A message of somebody, or a change of one, whether they may or not."""
        event = Event(id=self.next_id(), chat_id=chat_id, user_id=user, **body)
        recipients = (UserId(chat_id),) if chat_id.startswith("g:") else self.others(user, chat_id)
        self.rows.append(
            MessageRow(event.id, chat_id, user, recipients, event.SerializeToString(), about(event))
        )

    def others(self, user: UserId, chat_id: ChatId) -> tuple[UserId, ...]:
        return tuple(UserId(each) for each in chat_id[2:].split("~") if each != user)

    def change(self, group: GroupWorld, actor: UserId, wanted: Membership) -> None:
        group.next_id = self.next_id  # type: ignore[method-assign]
        self.rows.append(group.change(actor, wanted))

    @property
    def chats(self) -> list[ChatId]:
        ann, bob, carol = self.users
        return [dialog(ann, bob), dialog(bob, carol), *(each.chat_id for each in self.groups)]


worlds = iter(range(1, 1 << 30))


@st.composite
def lives(draw: st.DrawFn) -> World:
    """What people say, change and delete, and who comes and goes."""
    world = World(next(worlds))
    for group in world.groups:
        options = GroupOptions(name="Us", is_open=True, hides_past=draw(st.booleans()))
        world.change(group, world.users[0], Membership(options=options))
    for _ in range(draw(st.integers(1, 25))):
        user = draw(st.sampled_from(world.users))
        kind = draw(st.sampled_from(["say", "say", "say", "edit", "delete", "come", "go"]))
        if kind in ("come", "go"):
            group = draw(st.sampled_from(world.groups))
            coming = Membership(added_ids=[user])
            wanted = coming if kind == "come" else Membership(removed_ids=[user])
            try:
                world.change(group, world.users[0], wanted)
            except Refusal:
                continue
            continue
        chat_id, text = draw(st.sampled_from(world.chats)), draw(st.sampled_from(TEXTS))
        said = [row for row in world.rows if row.chat_id == chat_id and not row.about]
        said = [row for row in said if not row.membership]
        if kind == "say" or not said:
            world.add(user, chat_id, message={"text": text})
            continue
        of = draw(st.sampled_from(said[-3:]))
        by = draw(st.sampled_from([of.user_id, of.user_id, user]))
        if kind == "edit":
            world.add(by, chat_id, edit={"message_id": of.message_id, "text": text})
        else:
            as_admin = chat_id.startswith("g:") and draw(st.booleans())
            deletion = {"message_id": of.message_id, "as_admin": as_admin}
            world.add(by, chat_id, deletion=deletion)
    return world


class Servers:
    """A history with an index, without a log."""

    def __init__(self, history: EmbeddedHistory, search: Search, turn: Turn) -> None:
        log = Log(cast("Any", None), LOG_ID, 1)
        self.history = history
        self.search = search
        self.turn = turn
        opening = Opening(KeyRing(cast("Any", None), b"secret"))  # nothing is sealed here
        self.queries = Queries(history, opening, log, OFF)
        self.searching = Searching(history, search, log, self.queries)

    async def scanned(self, user: UserId, chats: list[ChatId], text: str) -> list[tuple[int, str]]:
        """Id and text of what the user reads that matches, newest first."""
        wanted, found = query(text), list[tuple[int, str]]()
        for chat_id in chats:
            try:
                request = GetMessagesRequest(chat_id=chat_id, limit=200)
                page = await self.queries.messages(user, request)
            except Refusal:
                continue
            assert not GetMessagesResponse.FromString(page).has_more
            for event in GetMessagesResponse.FromString(page).messages:
                if matches(wanted, " ".join(words(event.message.text))):
                    found.append((event.id, event.message.text))
        return sorted(found, reverse=True)

    async def searched(
        self, user: UserId, text: str, limit: int, chat_id: str = ""
    ) -> list[tuple[int, str]]:
        """The same by searching, page by page."""
        request = SearchMessagesRequest(text=text, limit=limit, chat_id=chat_id)
        found: list[tuple[int, str]] = []
        while True:
            answer = await self.searching.messages(user, request)
            page = SearchMessagesResponse.FromString(answer)
            assert len(page.messages) == limit or not page.has_more
            found += [(event.id, event.message.text) for event in page.messages]
            if not page.has_more:
                return found
            request.before = page.messages[-1].id


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Servers]:
    history, search = await EmbeddedHistory.open(tmp_path), await EmbeddedSearch.open(tmp_path)
    yield Servers(history, search, await search.clear())
    await history.close()
    await search.close()


@on_one_database
@given(world=lives(), data=st.data())
async def test_it_finds_what_a_scan_finds(
    servers: Servers, world: World, data: st.DataObject
) -> None:
    await servers.history.write(world.rows, [], Progress(LOG_ID, 0, len(world.rows)))
    events = [row.event for row in world.rows]
    up_to = data.draw(st.integers(0, len(events)), label="indexed before the first search")
    await servers.search.write(entries_of(events[:up_to]), Progress(LOG_ID, 0, up_to), servers.turn)
    limit = data.draw(st.integers(1, 4))
    for user in world.users:
        for text in LOOKED_FOR:
            early = await servers.searched(user, text, limit)
            assert set(early) <= set(await servers.scanned(user, world.chats, text))
    rest = entries_of(events[up_to:])
    await servers.search.write(rest, Progress(LOG_ID, 0, len(events)), servers.turn)
    for user in world.users:
        for text in LOOKED_FOR:
            should = await servers.scanned(user, world.chats, text)
            assert await servers.searched(user, text, limit) == should
            for chat_id in world.chats:
                await check_one_chat(servers, user, chat_id, text, limit)


async def check_one_chat(
    servers: Servers, user: UserId, chat_id: ChatId, text: str, limit: int
) -> None:
    asked = GetMessagesRequest(chat_id=chat_id)
    refusal = await refused(servers.queries.messages(user, asked))
    if refusal:
        assert await refused(servers.searched(user, text, limit, chat_id)) == refusal
    else:
        should = await servers.scanned(user, [chat_id], text)
        assert await servers.searched(user, text, limit, chat_id) == should


async def refused(call: Awaitable[object]) -> str:
    """Why; "" if it is not."""
    try:
        await call
    except Refusal as refusal:
        return refusal.name
    return ""


async def test_what_is_hidden_is_passed_over(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever comes to a large group that hides its past does not pay for it, nor who has left."""
    world = World(next(worlds))
    ann, bob, _ = world.users
    group = world.groups[0]
    world.change(group, ann, Membership(options=GroupOptions(name="Us", hides_past=True)))
    for wanted in (Membership(added_ids=[bob]), Membership(removed_ids=[bob]), None):
        for _ in range(500):
            world.add(ann, group.chat_id, message={"text": "pan"})
        if wanted:
            world.change(group, ann, wanted)
    await servers.history.write(world.rows, [], Progress(LOG_ID, 0, 1))
    entries = entries_of(row.event for row in world.rows)
    await servers.search.write(entries, Progress(LOG_ID, 0, 1), servers.turn)
    looked_at: list[int] = []
    find = servers.search.find

    async def counted(*args: Any, **kwargs: Any) -> list[Found]:
        found = await find(*args, **kwargs)
        looked_at.append(len(found))
        return found

    monkeypatch.setattr(servers.search, "find", counted)
    answer = await servers.searching.messages(bob, SearchMessagesRequest(text="pan", limit=200))
    page = SearchMessagesResponse.FromString(answer)
    assert len(page.messages) == 200
    assert sum(looked_at) < 1_000, "the first page of what he does not see is enough"
    request = SearchMessagesRequest(text="pan", limit=200, before=page.messages[-1].id)
    while page.has_more:
        looked_at.clear()
        answer = await servers.searching.messages(bob, request)
        page = SearchMessagesResponse.FromString(answer)
        request.before = page.messages[-1].id
    assert sum(looked_at) < 1_000
    assert len(page.messages) == 100
