"""What steers a terminal never reaches one, whoever has written it and whatever command prints it:
each runs in a pty here, and all that it writes is looked at, byte by byte.
"""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from cecochat.adapters.embedded.backplane import EmbeddedBackplane
from cecochat.adapters.embedded.history import EmbeddedHistory
from cecochat.auth.minting import mint
from cecochat.domain.log.dead_letters import DeadLetter
from cecochat.domain.log.ids import ChatId
from cecochat.ports.burying import Burial
from cecochat.ports.history import Hole
from cecochat.settings.private import drawn_secret
from cecochat.v1.events_pb2 import Event, Message
from cecochat.v1.messaging_pb2 import ClientFrame, Hello
from tests.integration import streams
from tests.integration.streams import message
from tests.support.server import CECOCHAT, Server, command, started
from tests.unit.test_printable import STEERS

MARK = "STEERED"
HOSTILE = "seen" + "".join(f"{each}{MARK}" for each in sorted(STEERS - {"\n", "\t", "\0"}))
LABEL = f"seen\x1b{MARK}\x9b{MARK}\u202e{MARK}"
STEERED = re.compile(f"[{re.escape(''.join(STEERS))}]{MARK}")
WITHIN_S = 30.0
ID = 778_254_961_901_568_000
CHAT = "d:alice~bob"


def hole(log_id: str) -> Hole:
    return Hole(log_id, 1, 5, 6, ID, ID, ChatId(f"d:{HOSTILE}"), "refused", HOSTILE, 1)


def letters() -> list[DeadLetter]:
    """Of records that a stranger wrote: one that nobody can read, one with ids that are none."""
    event = Event(
        id=ID, user_id=HOSTILE, chat_id=HOSTILE, recipient_ids=[HOSTILE], client_message_id=HOSTILE,
        message=Message(text=HOSTILE),
    )  # fmt: skip
    return [
        DeadLetter("undecodable", 1, 4, HOSTILE, HOSTILE.encode(), HOSTILE.encode()),
        DeadLetter("refused", 1, 5, HOSTILE, b"", event.SerializeToString(), message_id=ID),
    ]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """With all that can be hostile in it: texts, the label of a device, dead letters, a hole."""
    made = Server(tmp_path / "up")
    data = tmp_path / "up" / "data"
    log = await EmbeddedBackplane.open(data, partition_count=12)
    await Burial(log).bury(letters())
    history = await EmbeddedHistory.open(data)
    await history.write([], [], None, [hole(await log.log_id())])
    await history.close()
    await log.close()
    async with started(made):
        yield made


def token(server: Server, user: str) -> str:
    return mint(drawn_secret(server.secret_file), user, 3_600)


async def said(server: Server) -> int:
    """Alice has said it to Bob; the id of the message."""
    async with streams.caught_up(server.ready["messaging"], token(server, "alice")) as alice:
        await alice.send(message("hostile", CHAT, HOSTILE))
        (item,) = await alice.until_acks(1)
    return item.ack.message_id


def environment(server: Server) -> dict[str, str]:
    return {"XDG_STATE_HOME": str(server.folder / "state"), "TERM": "xterm-256color"}


async def on_a_terminal(server: Server, *words: str, typed: bytes = b"") -> str:
    """All that a command writes to the terminal that it runs in."""
    ours, its = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        CECOCHAT, *words, stdin=its, stdout=its, stderr=its, env=os.environ | environment(server)
    )
    os.close(its)
    seen = bytearray()

    def read() -> None:
        with suppress(OSError):  # its other end is closed: that is how a pty ends
            seen.extend(os.read(ours, 65_536))

    loop = asyncio.get_running_loop()
    loop.add_reader(ours, read)
    try:
        async with asyncio.timeout(WITHIN_S):
            while typed and b"seen" not in seen:  # noqa: ASYNC110 - what it writes has no event
                await asyncio.sleep(0.05)
            os.write(ours, typed)
            await process.wait()
    finally:
        loop.remove_reader(ours)
        if process.returncode is None:
            process.kill()
            await process.wait()
        read()
        os.close(ours)
    return seen.decode()


READERS = [
    "history --as bob alice", "history --as bob alice --json", "chats --as bob",
    "chats --as bob --json", "export --as bob", "holes list", "holes list --json", "dead list",
    "dead list --json", "dead show 1:4", "dead show 1:4 --json", "dead show 1:5",
    "dead show 1:5 --json", "doctor", "doctor --json", "audit",
]  # fmt: skip


async def test_no_command_hands_it_on(server: Server) -> None:
    await said(server)
    await in_the_history(server)
    shown = {words: await on_a_terminal(server, *words.split()) for words in READERS}
    assert {words for words, text in shown.items() if STEERED.search(text)} == set()
    silent = {words for words, text in shown.items() if "seen" not in text}
    assert silent <= {"audit", "doctor", "doctor --json"}, "it is not there to be shown"
    (row,) = shown["history --as bob alice --json"].splitlines()
    assert json.loads(row)["text"] == HOSTILE, "a program gets the very text"


async def test_where_shows_labels_of_devices_without_it(server: Server) -> None:
    async with streams.opened(server.ready["messaging"], token(server, "bob")) as bob:
        await bob.write(ClientFrame(hello=Hello(device=LABEL)))
        await bob.until("caught_up")
        id_ = await said(server)
        for words in (("where", str(id_)), ("where", str(id_), "--json")):
            text = await on_a_terminal(server, *words)
            assert "seen" in text
            assert not STEERED.search(text)


async def test_a_chat_on_a_terminal_shows_it_without(server: Server) -> None:
    await said(server)
    await in_the_history(server)
    text = await on_a_terminal(server, "chat", "--as", "bob", "alice", typed=b"\x04")
    assert "seen" in text
    assert not STEERED.search(text)


async def test_an_error_of_a_server_is_shown_without(server: Server) -> None:
    for words in (("send", "--as", HOSTILE, "bob", "x"), ("history", "--as", "bob", HOSTILE)):
        text = await on_a_terminal(server, *words)
        assert text.startswith(("cecochat: ", "\x1b[31mcecochat: "))
        assert not STEERED.search(text)


async def in_the_history(server: Server) -> None:
    async with asyncio.timeout(WITHIN_S):
        while "seen" not in await command(environment(server), "history", "--as", "bob", "alice"):
            continue
