"""Sends a transcript in order, each line once, and notes in a ledger what is done."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from cecochat.cli.data.ledger import Ledger, SenderState
from cecochat.cli.data.transcript import Entry, Transcript
from cecochat.cli.failure import say
from cecochat.cli.systems import state_dir
from cecochat.cli.target import Target, check_user, token_for
from cecochat.client import (
    Client,
    InvalidArgument,
    Message,
    Refused,
    Rejected,
    SendRejected,
    Sent,
    connect,
)


async def send_all(
    transcript: Transcript, where: Target, token: str | None
) -> tuple[int, int, int]:
    """Send all that was not sent before. Return how many were sent now, before, and refused."""
    senders = sorted({entry.sender for entry in transcript.entries})
    log_id = await _log_id(where, senders[0], token)
    path = state_dir() / "imports" / f"{transcript.name}-{log_id}.db"
    async with _senders(path, where, senders, token) as (ledger, devices):
        todo = [e for e in transcript.entries if not _is_answered(e, ledger, devices[e.sender])]
        before = len(transcript.entries) - len(todo)
        with _progress(len(transcript.entries), before) as advance:
            refused = await _Import(devices, advance).send(todo)
        return len(todo) - refused, before, refused


def _is_answered(entry: Entry, ledger: Ledger, device: _Device) -> bool:
    id_ = entry.client_message_id
    return id_ in device.restored or ledger.is_answered(entry.sender, id_)


async def _log_id(where: Target, user: str, token: str | None) -> str:
    """Return which system this is. An emptied data folder is another one at the same address."""
    token_of = token_for(where, user, token)
    async with connect(where.connect_url, token_of, listen=False) as client:
        check_user(user, client.user_id)
        return client.log_id


class _Device:
    """A sender's connected client.

    All of them listen, so that an answer can wait until its sender has seen what it answers.
    """

    def __init__(self, client: Client, state: SenderState) -> None:
        self.client = client
        self.restored = frozenset(state.unanswered)  # the sends that an earlier run left unanswered
        self._waiting = set(self.restored)
        self._seen: dict[str, int] = defaultdict(int)  # chat id -> highest id from others
        self._changed = asyncio.Condition()

    async def listen(self) -> None:
        """Note what arrives, until cancelled."""
        async for event in self.client:
            async with self._changed:
                match event:
                    case Message():
                        self._seen[event.chat_id] = max(self._seen[event.chat_id], event.id)
                    case Sent(message):
                        self._waiting.discard(message.client_message_id)
                    case Rejected(client_message_id=id_):
                        self._waiting.discard(id_)
                self._changed.notify_all()

    async def until_restored(self) -> None:
        """Wait until what an earlier run left unanswered is answered."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._waiting)

    async def until_seen(self, chat_id: str, message_id: int) -> None:
        """Wait until this sender has seen a message, so that what it sends next sorts after it."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._seen[chat_id] >= message_id)


@asynccontextmanager
async def _senders(
    path: Path, where: Target, users: list[str], token: str | None
) -> AsyncIterator[tuple[Ledger, dict[str, _Device]]]:
    """Connect a device for every sender, in the state that the ledger has kept."""
    async with AsyncExitStack() as stack:
        ledger = Ledger(path)
        stack.callback(ledger.close)
        devices: dict[str, _Device] = {}
        for user in users:
            state = SenderState(ledger, user)
            opening = connect(
                where.connect_url,
                token_for(where, user, token),
                state=state,
                device="import",
                receipts=False,
            )
            devices[user] = _Device(await stack.enter_async_context(opening), state)
        async with asyncio.TaskGroup() as group:
            listening = [group.create_task(device.listen()) for device in devices.values()]
            for device in devices.values():
                await device.until_restored()
            yield ledger, devices
            for task in listening:
                task.cancel()


class _Import:
    """Sends entries in order, and as many at once as their order allows."""

    def __init__(self, devices: dict[str, _Device], advance: Callable[[], None]) -> None:
        self._devices = devices
        self._advance = advance
        self._last: dict[str, tuple[str, asyncio.Future[int]]] = {}  # chat -> sender, message id
        self._under_way: list[tuple[Entry, asyncio.Future[int]]] = []
        self._refused = 0

    async def send(self, entries: list[Entry]) -> int:
        """Send all entries, and return how many were refused."""
        for entry in entries:
            device = self._devices[entry.sender]
            await self._until_answerable(entry, device)
            try:
                answer = await device.client.post(
                    entry.chat_id, entry.text, client_message_id=entry.client_message_id
                )
            except InvalidArgument as error:
                self._note_refused(entry, error)
                self._advance()
                continue
            answer.add_done_callback(lambda _: self._advance())
            self._last[entry.chat_id] = entry.sender, answer
            self._under_way.append((entry, answer))
        await self._all_answered()
        return self._refused

    async def _until_answerable(self, entry: Entry, device: _Device) -> None:
        """Wait until the sender of an answer has seen what it answers.

        Messages of the same sender keep their order by themselves.
        """
        sender, answer = self._last.get(entry.chat_id, (entry.sender, None))
        if answer is None or sender == entry.sender:
            return
        try:
            await device.until_seen(entry.chat_id, await answer)
        except SendRejected:
            return

    async def _all_answered(self) -> None:
        for entry, answer in self._under_way:
            try:
                await answer
            except SendRejected as error:
                self._note_refused(entry, error)

    def _note_refused(self, entry: Entry, error: Refused) -> None:
        say(f"line {entry.line} was refused: {error}")
        self._refused += 1


@contextmanager
def _progress(total: int, done: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar on standard error, if that is a terminal."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total, completed=done)
        yield lambda: progress.advance(task)
