"""The chat page in a real browser as a device of a run: what people type, what the page shows them,
and what its client has stored, go into the record.

A page shows no ids. So texts are unique, and name a message everywhere in the record.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import NamedTuple

from playwright.async_api import Browser, BrowserContext
from playwright.async_api import Error as BrowserError
from typing_extensions import override

from cecochat.v1.messaging_pb2 import ReadToken
from tests.support import chatpage
from tests.support.apps import ends_of, without_forgotten
from tests.support.browser import troubles
from tests.support.chatpage import Person
from tests.support.crowd import AnyCrowd
from tests.support.eventually import eventually
from tests.support.porcupine import Reading
from tests.support.records import (
    Acked,
    Closed,
    Delivered,
    DeviceKey,
    Entry,
    Happening,
    Message,
    Place,
    Record,
    Sent,
    Welcomed,
    participants,
)

STORED = Path(__file__).with_name("stored.js").read_text()
LOOKED_EVERY_S = 0.3
TYPED_AHEAD_MAX = 3  # texts: nobody has more in mind than they can type


class Stored(NamedTuple):
    """What the client of a page has in IndexedDB, by text."""

    waiting: frozenset[str]  # sends without an answer
    messages: dict[str, Message]  # by text


class PageApp:
    """A user in front of the page, in a browser of their own, with some tabs. All that is done
    there waits for what was begun before.
    """

    def __init__(
        self,
        who: DeviceKey,
        record: Record,
        connect_url: Callable[[], str],
        chats: tuple[str, ...],
        browser: Browser,
        tabs: int,
    ) -> None:
        self.who = who
        self.chats = chats
        self.caught_up = asyncio.Event()
        self.unanswered: dict[str, str] = {}  # text -> chat
        self.forgotten: set[str] = set()  # typed, but not stored when their page went
        self._given_up: set[str] = set()  # those of the forgotten that may come yet
        self._record, self._connect_url, self._browser = record, connect_url, browser
        self.steps = count()  # what stands for offsets: a page shows none
        self._numbers = count()
        self._sent: set[str] = set()
        self._turn = asyncio.Lock()
        self._typed: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self._context: BrowserContext | None = None
        self._tabs: list[Person] = []
        self._tabs_wanted = tabs

    @property
    def context(self) -> BrowserContext:
        """The browser of this user."""
        assert self._context is not None, "not running"
        return self._context

    @property
    def violations(self) -> list[str]:
        """What went wrong in the tabs that are open."""
        return [each for tab in self._tabs for each in tab.violations]

    def say(self, chat_id: str, text: str, client_message_id: str = "") -> str:
        """Have the user type it, unless they have enough to type. Returns the text, which is
        unique.
        """
        del client_message_id  # the page chooses one
        unique = " ".join(f"{self.who.user_id} {next(self._numbers)}: {text}".split())
        if self._typed.qsize() < TYPED_AHEAD_MAX:
            self._has_to_say(chat_id, unique)
        return unique

    def say_last_words(self) -> None:
        """Have the user type something in every chat, however much there is to type."""
        for chat_id in self.chats:
            self._has_to_say(chat_id, f"{self.who.user_id} {next(self._numbers)}: the last word")

    def _has_to_say(self, chat_id: str, text: str) -> None:
        self.unanswered[text] = chat_id
        self._typed.put_nowait((chat_id, text))

    async def run(self) -> None:
        """Be there until cancelled."""
        async with chatpage.window(self._browser) as self._context, asyncio.TaskGroup() as group:
            async with self._turn:
                while len(self._tabs) < self._tabs_wanted:
                    self._tabs.append(await self._opened())
            self.note(Welcomed(Place("", 0, -1)))
            group.create_task(self._look_often())
            while True:
                await self._type(*await self._typed.get())

    async def _opened(self) -> Person:
        """Open a tab, as often as it takes: the page comes from the server."""
        while True:
            page = await self.context.new_page()
            person = Person(self.who.user_id, self._connect_url(), page, troubles(page))
            try:
                await person.opens()
                return person
            except (BrowserError, AssertionError):
                await page.close()
                await asyncio.sleep(0.2)

    async def _type(self, chat_id: str, text: str) -> None:
        (peer,) = participants(chat_id) - {self.who.user_id}
        async with self._turn:
            tab = self._tabs[len(text) % len(self._tabs)]
            await tab.goes_to(peer)
            self._sent.add(text)
            self.note(Sent(text, chat_id, text))
            await tab.says(peer, text)
            while await tab.field(peer).input_value():  # nothing can take it yet, so it stays there
                await asyncio.sleep(0.05)
                await tab.field(peer).press("Enter")

    def note(self, what: Happening) -> None:
        """Put something into the record."""
        self._record.add(self.who, 1, what)

    # -- what happens to a tab

    async def reload(self) -> None:
        """Have a tab loaded again."""
        async with self._turn:
            await self._forget_what_is_not_stored()
            tab = self._tabs[0]
            with suppress(BrowserError):
                await tab.page.reload()
                await tab.is_there()
                return
            await self._replace(0)

    async def close_a_tab(self) -> None:
        """Have a tab closed, and another one opened."""
        async with self._turn:
            await self._forget_what_is_not_stored()
            await self._replace(0)

    async def crash_a_tab(self) -> None:
        """Have the process of a tab die."""
        async with self._turn:
            await self._forget_what_is_not_stored()
            with suppress(BrowserError):
                await self._tabs[0].page.goto("chrome://crash")
            await self._replace(0)

    async def sleep(self, for_s: float) -> None:
        """Have the browser freeze the tabs, as it does with those that nobody looks at."""
        async with self._turn:
            sessions = [await self.context.new_cdp_session(tab.page) for tab in self._tabs]
            for state, wait_s in (("frozen", for_s), ("active", 0)):
                for session in sessions:
                    await session.send("Page.setWebLifecycleState", {"state": state})
                await asyncio.sleep(wait_s)

    async def _replace(self, number: int) -> None:
        """A session of its own for each tab: so another one takes its place."""
        await self._tabs.pop(number).page.close()
        self._tabs.append(await self._opened())

    async def _forget_what_is_not_stored(self) -> None:
        stored = await self.stored()
        kept = stored.waiting | stored.messages.keys()
        typed = {
            each.what.client_message_id for each in self._mine() if isinstance(each.what, Sent)
        }
        for text in typed & self.unanswered.keys() - kept:
            self.forgotten.add(text)
            self._given_up.add(text)
            del self.unanswered[text]

    def _mine(self) -> list[Entry]:
        return [entry for entry in self._record if entry.who == self.who]

    # -- what it shows and has stored

    async def stored(self) -> Stored:
        """Read the storage of the browser."""
        ours = [self._connect_url(), self.who.user_id]
        found = await self._tabs[-1].page.evaluate(STORED, ours) or {"waiting": [], "messages": []}
        messages = {
            text: Message(int(id_), user, chat, text, (), text)
            for id_, user, chat, text in found["messages"]
        }
        return Stored(frozenset(found["waiting"]), messages)

    async def _look_often(self) -> None:
        """Note which sends are acknowledged, and whether there is a connection."""
        while True:
            with suppress(BrowserError):  # a page that is being loaded
                async with self._turn:
                    await self._look()
            await asyncio.sleep(LOOKED_EVERY_S)

    async def _look(self) -> None:
        awaited = self.unanswered.keys() | self._given_up
        stored = await self.stored() if awaited else Stored(frozenset(), {})
        answered = awaited & stored.messages.keys()
        for text in sorted(answered, key=lambda each: stored.messages[each].message_id):
            self.unanswered.pop(text, None)
            self._given_up.discard(text)
            self.note(Acked(text, stored.messages[text].message_id, next(self.steps)))
        if all([await tab.has_connection() for tab in self._tabs]):
            self.caught_up.set()
        elif self.caught_up.is_set():
            self.caught_up.clear()
            self.note(Closed("", ""))

    async def shown(self, chat_id: str) -> list[list[str]]:
        """All texts of a chat, as each tab shows them from top to bottom."""
        (peer,) = participants(chat_id) - {self.who.user_id}
        async with self._turn:
            found = []
            for tab in self._tabs:
                await tab.goes_to(peer)
                found.append(await tab.scrolled_through())
            return found


class PageCrowd(AnyCrowd[PageApp]):
    """Users of the page. The second half of them have two tabs each."""

    def __init__(
        self, connect_url: Callable[[], str], secret_file: Path, record: Record, browser: Browser
    ) -> None:
        super().__init__(connect_url, secret_file, record)
        self._browser = browser

    @override
    def _made(self, who: DeviceKey, own: tuple[str, ...]) -> PageApp:
        tabs = 1 + len(self.devices) % 2
        return PageApp(who, self.record, self._connect_url, own, self._browser, tabs)

    @override
    async def _token_for_all(self) -> ReadToken:
        return await ends_of({who.user_id for who in self.devices}, self._connect_url(), self.token)

    @override
    def _left(self, readings: Sequence[Reading]) -> tuple[Sequence[Entry], list[Reading]]:
        """By texts; what was not stored when its page went counts only if it came."""
        entries, left = super()._left([_by_text(each) for each in readings])
        return without_forgotten(entries, left, lambda who: self.devices[who].forgotten)

    async def look(self) -> list[str]:
        """Put into the record what every page shows. Returns where one does not show what the
        history has, in the same order.
        """
        wrong = []
        rows = await self.histories()
        for who, app in self.devices.items():
            for chat_id in app.chats:
                expected = [each.text or "" for each in rows[chat_id]]
                for shown in await self._settled(app, chat_id, expected):
                    if shown != expected:
                        wrong.append(f"{who} in {chat_id}: {_difference(shown, expected)}")
                self._add(who, rows[chat_id], shown)
        return wrong

    async def _settled(self, app: PageApp, chat_id: str, expected: list[str]) -> list[list[str]]:
        """What each tab shows once it shows all, or after a while."""
        shown: list[list[str]] = []

        async def all_there() -> bool:
            shown[:] = await app.shown(chat_id)
            return all(each == expected for each in shown)

        with suppress(AssertionError):
            await eventually(all_there, within_s=30, every_s=0.5)
        return shown

    def _add(self, who: DeviceKey, rows: Sequence[Message], shown: Sequence[str]) -> None:
        by_text, app = {each.text: each for each in rows}, self.devices[who]
        for text in shown:
            row = by_text.get(text) or Message(-1, "", "", text, (), text)
            if row.user_id == who.user_id:
                app.note(Acked(text, row.message_id, next(app.steps)))
            else:
                app.note(Delivered(next(app.steps), row._replace(client_message_id=text)))

    @override
    def _say_last_words(self) -> None:
        """They were said before the pages were looked at."""

    async def come_to_rest(self) -> None:
        """Say last words in every chat, and wait until all is answered."""
        for app in self.devices.values():
            app.say_last_words()
        await self.answered(120)


def _by_text(reading: Reading) -> Reading:
    rows = [row._replace(client_message_id=row.text or "") for row in reading.messages]
    return reading._replace(messages=rows)


def _difference(shown: list[str], expected: list[str]) -> str:
    lacks = [each for each in expected if each not in shown]
    more = [each for each in shown if each not in expected]
    twice = [each for each, number in Counter(shown).items() if number > 1]
    return f"lacks {lacks[:5]}, has {more[:5]} besides, twice {twice[:5]}, or in another order"
