"""The two screens of `cecochat chat`: a terminal, or plain lines."""

from __future__ import annotations

import asyncio
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from typing_extensions import override

from cecochat.cli.chat.conversation import (
    DELIVERED,
    OPEN_MAX,
    READ,
    SENDING,
    Conversation,
    Line,
    body,
    clock,
)
from cecochat.cli.output import echo
from cecochat.domain.printable import beginning, printable

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.formatted_text import StyleAndTextTuples as Fragments


class Screen(ABC):
    """Shows a conversation, and reads what the person writes."""

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.status = ""
        self.on_typing: Callable[[bool], None] = lambda _: None  # called as the person writes

    @abstractmethod
    def refresh(self) -> None:
        """Show the conversation and the status as they are now."""

    @abstractmethod
    def note(self, text: str) -> None:
        """Show a line that is not a message."""

    @abstractmethod
    def lines(self) -> AsyncIterator[str]:
        """Yield what the person writes, until Ctrl-D or the end of the input."""

    def shown(self) -> AbstractContextManager[object]:
        """Return a context in which the conversation is on the screen."""
        return nullcontext()


class TerminalScreen(Screen):
    """Lets messages scroll by above the line that is being written.

    Messages whose ticks may still change stay right above that line, and change in place.
    """

    def __init__(self, conversation: Conversation) -> None:
        from prompt_toolkit import PromptSession

        super().__init__(conversation)
        self._session: PromptSession[str] = PromptSession(
            message=self._prompt, bottom_toolbar=self._toolbar, erase_when_done=True
        )
        self._session.default_buffer.on_text_changed += lambda buffer: self._typed(buffer.text)

    def _typed(self, text: str) -> None:
        self.on_typing(bool(text.strip()))

    @override
    def shown(self) -> AbstractContextManager[object]:
        from prompt_toolkit.patch_stdout import patch_stdout

        return patch_stdout()

    @override
    def refresh(self) -> None:
        for line in self.conversation.take_settled():
            self._print(self._fragments(line, self._lasting(line)))
        for line, tick in self.conversation.take_news():
            self._print([(_colour(tick), news(line, tick))])
        self._session.app.invalidate()

    @override
    def note(self, text: str) -> None:
        self._print([("ansibrightblack", printable(text))])

    @override
    async def lines(self) -> AsyncIterator[str]:
        while True:
            try:
                yield await self._session.prompt_async()
            except EOFError:
                return

    def _print(self, fragments: Fragments) -> None:
        from prompt_toolkit import print_formatted_text
        from prompt_toolkit.formatted_text import FormattedText

        print_formatted_text(FormattedText(fragments))

    def _prompt(self) -> Fragments:
        fragments: Fragments = []
        for line in self.conversation.open_lines[-OPEN_MAX:]:  # the toolbar counts the others
            fragments += [*self._fragments(line, self.conversation.tick(line)), ("", "\n")]
        return [*fragments, ("bold", f"{self.conversation.me}> ")]

    def _lasting(self, line: Line) -> str:
        """Return the tick to print for good: none that would be wrong later."""
        return self.conversation.tick(line) if self.conversation.is_final(line) else ""

    def _fragments(self, line: Line, tick: str) -> Fragments:
        own = line.user_id == self.conversation.me
        head = f"{clock(line)}  "
        user_id, tick = printable(line.user_id), printable(tick)
        indent = len(head) + len(user_id) + 2
        return [
            ("ansibrightblack", head),
            ("ansicyan" if own else "ansigreen bold", f"{user_id}: "),
            ("", body(line, indent)),
            (_colour(tick), f"  {tick}" if tick else ""),
        ]

    def _toolbar(self) -> Fragments:
        waiting = self.conversation.unanswered
        sending = f"  ·  {waiting} waiting to be sent" if waiting else ""
        peer_is = f"  ·  {printable(said)}" if (said := self.conversation.peer_is) else ""
        return [("", f" {printable(self.status)}{peer_is}{sending}  ·  Ctrl-D leaves ")]


class PlainScreen(Screen):
    """Reads and prints plain lines, for pipes. A new tick of a message is a line of its own."""

    def __init__(self, conversation: Conversation) -> None:
        super().__init__(conversation)
        self._said = ""

    @override
    def refresh(self) -> None:
        settled = self.conversation.take_settled()
        for line in [*settled, *self.conversation.open_lines]:
            self._show(line)
        for line, tick in self.conversation.take_news():
            echo(news(line, tick))
        if self.status != self._said:
            self.note(self.status)
            self._said = self.status

    def _show(self, line: Line) -> None:
        tick = self.conversation.tick(line)
        if tick in (SENDING, line.shown):
            return
        if line.shown is not None:
            echo(news(line, tick))
        else:
            mark = f"  {tick}" if tick else ""
            echo(f"{clock(line)}  {line.user_id}: {body(line, 2)}{mark}")
        line.shown = tick

    @override
    def note(self, text: str) -> None:
        echo(text, err=True)

    @override
    async def lines(self) -> AsyncIterator[str]:
        while line := await asyncio.to_thread(sys.stdin.readline):
            yield line.rstrip("\r\n")


def news(line: Line, tick: str) -> str:
    """Return a line that says how far one that was printed before has come."""
    return f"{tick}  {beginning(' '.join(printable(line.text).split()), 40)}"


def _colour(tick: str) -> str:
    if tick == READ:
        return "ansicyan"
    if tick == DELIVERED:
        return ""
    return "ansired" if tick.startswith("✗") else "ansibrightblack"


def screen_for(conversation: Conversation) -> Screen:
    """Return a terminal screen if input and output are a terminal, or else a plain one."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        return TerminalScreen(conversation)
    return PlainScreen(conversation)
