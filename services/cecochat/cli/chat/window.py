"""A chat window: shows on a screen what happens at a client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Set
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from cecochat.cli.attached import said_in
from cecochat.cli.chat.conversation import Conversation, at
from cecochat.cli.chat.screen import Screen, screen_for
from cecochat.cli.errors import Failed
from cecochat.cli.group_change import in_words
from cecochat.cli.output import REACH_S, as_it_is, hole_line
from cecochat.cli.systems import state_dir
from cecochat.cli.target import Target, check_user, target, token_for
from cecochat.client import (
    CaughtUp,
    Change,
    Client,
    Deletion,
    Edit,
    Entry,
    Event,
    GroupChange,
    Hole,
    InvalidArgument,
    Message,
    Reaction,
    Receipt,
    Reconnecting,
    Rejected,
    SendRejected,
    Sent,
    StateInUse,
    Timeline,
    Token,
    chat_of,
    connect,
    find_route,
    peer_of,
)
from cecochat.domain.log.ids import is_group
from cecochat.domain.printable import beginning

CONTEXT = 10  # how many earlier messages to show
MISSED_MAX = 500  # beyond this many, missed messages are shown as they come
WINDOWS_MAX = 9  # how many windows a user may have on this machine
ANSWER_S = 3.0


async def converse(peer: str, as_: str | None, url: str | None, token: str | None) -> None:
    """Chat until the person leaves."""
    where = target(url)
    async with AsyncExitStack() as stack:
        given = token_for(where, as_, token)
        user = (await find_route(where.connect_url, given)).user_id
        check_user(as_, user)
        client = await _open(stack, where, user, given)
        window = Window(client, chat_of(client.user_id, peer))
        screen = screen_for(Conversation(client.user_id, peer))
        stack.enter_context(screen.shown())
        await window.run(screen)


async def _open(stack: AsyncExitStack, where: Target, user: str, token: Token) -> Client:
    """Each window of a user is a device with a state of its own."""
    for number in range(1, WINDOWS_MAX + 1):
        state = state_dir() / "chat" / where.name / f"{user}-{number}.json"
        opening = connect(
            where.connect_url, token, state=state, device="terminal", timeout_s=REACH_S
        )
        with suppress(StateInUse):
            return await stack.enter_async_context(opening)
    raise Failed(f"{user} already has {WINDOWS_MAX} chat windows open: close one of them")


class Window:
    """One chat of a client, on a screen."""

    def __init__(self, client: Client, chat_id: str) -> None:
        self._client = client
        self._chat_id = chat_id
        self._missed: list[Entry] | None = []  # None once they are shown
        self._timeline = Timeline()
        self._opened = asyncio.Event()  # set once the earlier messages are shown

    async def run(self, screen: Screen) -> None:
        """Show the chat until the person leaves."""
        answers: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(self._listen(screen))
            watching = group.create_task(self._watch(screen))
            async for text in screen.lines():
                if text.strip():
                    doing = self._asked_for(text, screen, set(answers)) or self._say(text, screen)
                    answer = group.create_task(doing)
                    answers.add(answer)
                    answer.add_done_callback(answers.discard)
            with suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_S):
                    await asyncio.gather(self._opened.wait(), *answers)
            for task in (listening, watching, *answers):
                task.cancel()
        waiting = screen.conversation.unanswered
        screen.conversation.settle_all()
        screen.refresh()
        if waiting:
            screen.note(f"{waiting} not sent yet: they are kept, and sent the next time you chat")

    async def _say(self, text: str, screen: Screen) -> None:
        conversation = screen.conversation
        line = conversation.say(text, datetime.now(UTC).astimezone())
        screen.refresh()
        try:
            conversation.accepted(line, id_ := await self._client.send(self._chat_id, text))
            self._timeline.add(Message(id_, self._chat_id, conversation.me, text, ""))
        except (InvalidArgument, SendRejected) as error:
            conversation.refused(line, error.message)
        screen.refresh()

    def _asked_for(
        self, text: str, screen: Screen, unanswered: Set[asyncio.Task[None]]
    ) -> Coroutine[Any, Any, None] | None:
        """Return what a line asks for if it is a command, such as `/edit`; else None. It is done
        once all is answered that was said before: only then is it known which message is the last.
        """
        command, _, rest = text.strip().partition(" ")
        client, rest = self._client, rest.strip()
        if command == "/edit" and rest:
            make: Callable[..., Awaitable[Change]] = partial(client.edit, text=rest)
        elif command == "/delete" and not rest:
            make = client.delete
        elif command == "/react" and rest:
            make = partial(client.react, emoji=rest)
        else:
            return None
        return self._change(make, command != "/react", screen, unanswered)

    def _last(self, is_mine: bool) -> Message | None:
        """Return the newest message of this user, or of others, that is not deleted."""
        me = self._client.user_id
        newest = (each for each in reversed(self._timeline.messages()) if each.text)
        return next((each for each in newest if (each.user_id == me) == is_mine), None)

    async def _change(
        self,
        make: Callable[..., Awaitable[Change]],
        is_mine: bool,
        screen: Screen,
        unanswered: Set[asyncio.Task[None]],
    ) -> None:
        if unanswered:
            await asyncio.wait(unanswered)
        if (last := self._last(is_mine)) is None:
            screen.note("there is no message to do that to")
            return
        try:
            change = await make(self._chat_id, last.id)
        except (InvalidArgument, SendRejected) as error:
            screen.note(f"not done: {error.message}")
        else:
            self._changed(change, screen)
        screen.refresh()

    # -- what happens

    async def _watch(self, screen: Screen) -> None:
        """Show how the other user is, or who types in a group, and tell when this person types."""
        signals = self._client.signals
        signals.watch([self._chat_id])
        screen.on_typing = lambda active: signals.typing(self._chat_id, active)
        async for signal in signals:
            screen.conversation.signal(signal)
            screen.refresh()

    async def _listen(self, screen: Screen) -> None:
        async for event in self._client:
            await self._take(event, screen)
            screen.refresh()

    async def _take(self, event: Event, screen: Screen) -> None:
        conversation = screen.conversation
        match event:
            case Message() | GroupChange():
                self._happened(event, screen)
            case Edit() | Deletion() | Reaction():
                self._changed(event, screen)
            case Receipt(chat_id=chat_id, user_id=user) if chat_id == self._chat_id:
                if user != conversation.me:
                    conversation.mark(event)
            case Sent(message) if message.chat_id == self._chat_id:
                self._happened(message, screen)
            case Rejected(text=text, error=error):
                screen.note(f"not sent: {text} ({error.message})")
            case Hole(chat_id=chat_id) if chat_id == self._chat_id:
                screen.note(hole_line(event))
            case CaughtUp():
                await self._caught_up(screen)
            case Reconnecting():
                screen.status = "reconnecting …"

    def _happened(self, entry: Entry, screen: Screen) -> None:
        if entry.chat_id != self._chat_id:
            if text := _elsewhere(self._client.user_id, entry):
                screen.note(text)
        elif self._missed is not None and len(self._missed) < MISSED_MAX:
            self._missed.append(entry)
        else:
            self._show(entry, screen)

    def _changed(self, change: Change, screen: Screen) -> None:
        """Say below what has become of a message: it may have been printed long ago."""
        before = self._timeline.get(change.message_id)
        now = self._timeline.add(change)
        if change.chat_id == self._chat_id and before and now and now != before:
            screen.note(_news(change, before))

    def _show(self, entry: Entry, screen: Screen) -> None:
        if isinstance(entry, Message):
            self._show_message(entry, screen)
            return
        screen.refresh()  # what came before is above it
        if words := in_words(entry):
            screen.note(f"-- {words} --")
        before = _status(screen.conversation)
        self._follow(entry, screen.conversation)
        if screen.status == before:
            screen.status = _status(screen.conversation)

    def _follow(self, change: GroupChange, conversation: Conversation) -> None:
        if change.options:
            conversation.name = change.options.name
        if self._client.user_id in (*change.added, *change.removed):
            conversation.has_left = self._client.user_id in change.removed
            self._client.signals.watch([self._chat_id])  # which takes a member

    def _show_message(self, message: Message, screen: Screen) -> None:
        message = self._timeline.add(message) or message
        quoted = self._timeline.get(message.reply_to_id)
        about = f"↪ {beginning(as_it_is(quoted), 40)}: " if quoted else ""
        screen.conversation.show(replace(message, text=f"{about}{as_it_is(message)}"))
        if message.user_id != self._client.user_id:
            self._client.mark_read(self._chat_id, message.id)

    async def _caught_up(self, screen: Screen) -> None:
        if self._missed is not None and is_group(self._chat_id):
            group = await self._client.groups.get(self._chat_id)
            screen.conversation.name, screen.conversation.has_left = group.name, not group.role
        screen.status = _status(screen.conversation)
        if self._missed is None:
            return
        missed, self._missed = sorted(self._missed, key=lambda entry: entry.id), None
        await self._show_context(screen, missed[0].id if missed else None)
        me = self._client.user_id
        others = sum(isinstance(each, Message) and each.user_id != me for each in missed)
        if others:
            screen.note(f"-- {others} missed --")
        for entry in missed:
            self._show(entry, screen)
        self._opened.set()

    async def _show_context(self, screen: Screen, before: int | None) -> None:
        page = await self._client.history(self._chat_id, CONTEXT, before=before)
        for mark in page.marks:
            if mark.user_id != self._client.user_id:
                screen.conversation.mark(mark)
        for entry in page.entries:
            self._show(entry, screen)
        screen.refresh()


def _status(conversation: Conversation) -> str:
    """Say that there is a connection, and with whom."""
    here = "you are not a member any more" if conversation.has_left else "connected"
    return f"{conversation.title}: {here}"


def _elsewhere(me: str, entry: Entry) -> str:
    """Return a line about what has happened in another chat; empty if it is nobody's concern."""
    where = peer_of(me, entry.chat_id)
    if isinstance(entry, Message):
        who = f"{entry.user_id}: " if is_group(entry.chat_id) else ""
        return f"[{where}] {who}{beginning(said_in(entry), 200)}"
    named = (*entry.added, *entry.removed)
    return f"[{where}] {in_words(entry)}" if me in named else ""


def _news(change: Change, before: Message) -> str:
    """Say what somebody has done to a message, which was like this before."""
    said = f"“{beginning(said_in(before), 40)}”"
    match change:
        case Edit(user_id=user, text=text):
            return f"-- {user} edited {said}: {text} --"
        case Deletion(user_id=user):
            return f"-- {user} deleted a message of {at(before.sent_at.astimezone())} --"
        case Reaction(user_id=user, emoji=emoji, removed=removed):
            return f"-- {user} {'takes back ' if removed else ''}{emoji} on {said} --"
