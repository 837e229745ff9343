"""The synchronous client: against a real server, in several threads, at exit and after a fork."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import pytest

from cecochat.auth.minting import mint
from cecochat.client import (
    ChatSettings,
    Closed,
    Deletion,
    Edit,
    Event,
    GroupChange,
    GroupOptions,
    InvalidArgument,
    Member,
    Mention,
    Message,
    NotReachable,
    Reaction,
    Receipt,
    SendRejected,
    StateInUse,
    TimedOut,
    sync,
)
from tests.support.server import Server, free_ports

WITHIN_S = 30.0
E = TypeVar("E", bound=Event)


def token(server: Server, user: str) -> str:
    return mint(server.secret_file.read_bytes(), user, 3_600)


def opened(server: Server, user: str, **options: object) -> sync.Client:
    return sync.connect(server.connect_url, token(server, user), **options)  # type: ignore[arg-type]


def next_of(client: sync.Client, kind: type[E]) -> E:
    """The next event of that kind; others are passed over."""
    until_s = time.monotonic() + WITHIN_S
    while time.monotonic() < until_s:
        event = client.next_event(1.0)
        if isinstance(event, kind):
            return event
    raise AssertionError(f"no {kind.__name__} within {WITHIN_S} s")


def messages(client: sync.Client) -> Iterator[Message]:
    return (event for event in client if isinstance(event, Message))


def chatting(server: Server) -> None:
    with opened(server, "alice") as alice, opened(server, "bob") as bob:
        sent = alice.send("bob", "hello")
        got = next_of(bob, Message)
        assert (got.id, got.text, got.user_id) == (sent, "hello", alice.user_id)
        with pytest.raises(InvalidArgument, match="synchronous"):
            _ = got.reply("not like this")
        answer = bob.reply(got, "hello to you")
        assert bob.reply(got, "hello to you") == answer
        assert next_of(alice, Message).id == answer
        posted = [alice.post("bob", str(number)) for number in range(50)]
        ids = [each.result() for each in posted]
        assert ids == sorted(set(ids))
        assert [each.result() for each in posted] == ids
        assert all(each.done for each in posted)
        texts = [message.text for message in islice(messages(bob), 50)]
        assert texts == [str(number) for number in range(50)]
        bob.mark_read("alice", ids[-1])
        while next_of(alice, Receipt).read_up_to < ids[-1]:
            pass
        assert [m.id for m in alice.history("bob", 2).messages] == ids[-2:]
        edit = alice.edit("bob", ids[-1], "the last")
        assert next_of(bob, Edit) == edit
        reaction = bob.react("alice", ids[-1], "👍")
        assert next_of(alice, Reaction) == reaction
        assert alice.delete("bob", ids[-2]) == next_of(bob, Deletion)
        reply = bob.send("alice", "fine", reply_to_id=ids[-1])
        deleted, edited, said = bob.history("alice", 3).messages
        assert (deleted.text, edited.text, said.reply_to_id) == ("", "the last", ids[-1])
        assert said.id == reply
        assert [chat.chat_id for chat in alice.chats()] == ["d:alice~bob"]
        assert [m.id for m in bob.search("HELL").messages] == [answer, sent]
        (found,) = alice.search("last", chat="bob").messages
        assert (found.id, found.text) == (ids[-1], "the last")


async def test_two_users_chat(server: Server) -> None:
    await asyncio.to_thread(chatting, server)


def in_a_group(server: Server) -> None:
    with opened(server, "alice") as alice, opened(server, "bob") as bob:
        us = alice.groups.create("Us", members=["bob"], invited=["carol"])
        assert next_of(bob, GroupChange).is_first
        said = bob.send(us, "hello")
        assert next_of(alice, Message).id == said
        groups = alice.groups
        for change, expected in (
            (groups.add(us, "dan"), {"added": ("dan",)}),
            (groups.remove(us, "dan"), {"removed": ("dan",)}),
            (groups.invite(us, "dan"), {"invited": ("dan",)}),
            (groups.appoint(us, "bob", "admin"), {"appointed": (Member("bob", "admin"),)}),
            (groups.rename(us, "We"), {"options": GroupOptions("We")}),
            (groups.configure(us, is_open=True), {"options": GroupOptions("We", is_open=True)}),
        ):
            told = replace(next_of(bob, GroupChange), client_message_id="")
            assert told == GroupChange(change, us, "alice", **expected)
        with opened(server, "carol") as carol:
            carol.groups.join(us)
            assert carol.groups.get(us).role == "member"
            carol.groups.leave(us)
            assert carol.groups.get(us).role is None
        assert [each.user_id for each in groups.every_member(us)] == ["alice", "bob", "dan"]
        page = groups.members(us, 1)
        assert (page.members, page.has_more) == ([Member("alice", "owner")], True)
        mentions = [Mention("bob", 4, 4)]
        alice.send(us, "see @bob", mentions=mentions)
        assert next_of(bob, Message).mentions == tuple(mentions)
        deleted = alice.delete(us, said, as_admin=True)
        assert next_of(bob, Deletion) == deleted
        again = groups.create("Us", client_message_id="one")
        assert groups.create("Us", client_message_id="one") == again


async def test_groups_are_those_of_the_other_client(server: Server) -> None:
    await asyncio.to_thread(in_a_group, server)


def failing(server: Server) -> None:
    with pytest.raises(NotReachable):
        sync.connect(
            f"http://127.0.0.1:{free_ports()['CECOCHAT_CONNECT_PORT']}", "t", timeout_s=0.1
        )
    with opened(server, "alice") as alice:
        with pytest.raises(InvalidArgument):
            alice.send("alice", "to oneself")
        with pytest.raises(InvalidArgument):
            alice.mark_read("bob", -1)
        with pytest.raises(SendRejected) as rejected:
            alice.send("bob", "x" * 20_000)
        assert rejected.value.code == "too_large"
        late = alice.post("d:bob~carol", "not mine")
        with pytest.raises(SendRejected):
            late.result()
    late_calls: tuple[Callable[[], object], ...] = (
        lambda: alice.send("bob", "late"),
        lambda: alice.history("bob"),
    )
    for late_call in late_calls:
        with pytest.raises(Closed):
            late_call()
    assert [event for event in alice if isinstance(event, Message)] == []
    with pytest.raises(Closed):
        alice.next_event()
    alice.close()


async def test_errors_are_those_of_the_other_client(server: Server) -> None:
    await asyncio.to_thread(failing, server)


def in_threads(server: Server) -> None:
    with opened(server, "alice", listen=False) as alice, opened(server, "bob") as bob:
        with ThreadPoolExecutor(8) as pool:
            ids = list(pool.map(lambda number: alice.send("bob", str(number)), range(200)))
        assert len(set(ids)) == 200
        got = list(islice(messages(bob), 200))
        assert sorted(message.id for message in got) == sorted(ids)


async def test_threads_share_a_client(server: Server) -> None:
    await asyncio.to_thread(in_threads, server)


def interrupted(server: Server) -> None:
    """A loop over events ends when another thread closes the client."""
    bob, seen = opened(server, "bob"), list[str]()
    thread = threading.Thread(target=lambda: seen.extend(m.text for m in messages(bob)))
    thread.start()
    with opened(server, "alice", listen=False) as alice:
        alice.send("bob", "hello")
    next_ = opened(server, "bob")  # whoever closes does not wait for the loop
    until_s = time.monotonic() + WITHIN_S
    while not seen and time.monotonic() < until_s:
        time.sleep(0.01)
    assert seen == ["hello"]
    bob.close()
    thread.join(WITHIN_S)
    assert not thread.is_alive()
    next_.close()


async def test_closing_ends_the_loop_of_another_thread(server: Server) -> None:
    await asyncio.to_thread(interrupted, server)


def unseen(server: Server, state: str) -> None:
    """A message comes after the last wait for one has given up, and the client is closed then."""
    opened(server, "bob", state=state).close()
    with opened(server, "bob", state=state) as bob:
        while bob.next_event(0.2):
            pass
        waiting = bob._asked
        assert waiting
        with opened(server, "alice", listen=False) as alice:
            alice.send("bob", "late")
        waiting.result(WITHIN_S)
    with opened(server, "bob", state=state) as bob:
        assert next(messages(bob)).text == "late"


async def test_an_event_that_nobody_has_got_is_not_handled(server: Server, tmp_path: Path) -> None:
    await asyncio.to_thread(unseen, server, str(tmp_path / "bob.json"))


def unhandled(server: Server, state: str) -> None:
    opened(server, "bob", state=state).close()
    with opened(server, "alice", listen=False) as alice:
        for text in ("one", "two"):
            alice.send("bob", text)

    def fail_on_a_message() -> None:
        with opened(server, "bob", state=state) as bob:
            assert next_of(bob, Message).text == "one"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_on_a_message()
    with opened(server, "bob", state=state) as bob:
        with pytest.raises(StateInUse):
            opened(server, "bob", state=state)
        assert next_of(bob, Message).text == "one"
    with opened(server, "bob", state=state) as bob:
        assert next_of(bob, Message).text == "two"


async def test_what_was_not_handled_comes_again(server: Server, tmp_path: Path) -> None:
    await asyncio.to_thread(unhandled, server, str(tmp_path / "bob.json"))


def impatient(server: Server) -> None:
    """An event that comes after the wait for it is there for the next call."""
    with opened(server, "bob") as bob, opened(server, "alice", listen=False) as alice:
        while bob.next_event(0.2):
            pass
        sent = [alice.send("bob", str(number)) for number in range(30)]
        got = list[int]()
        while len(got) < len(sent):
            event = bob.next_event(0.0)
            got += [event.id] if isinstance(event, Message) else []
        assert got == sent


async def test_a_short_wait_loses_no_event(server: Server) -> None:
    await asyncio.to_thread(impatient, server)


async def test_a_send_gives_up_in_time_and_can_be_made_again(server: Server) -> None:
    alice = await asyncio.to_thread(opened, server, "alice")
    sent = await asyncio.to_thread(alice.send, "bob", "before")
    us = await asyncio.to_thread(alice.groups.create, "Us")
    changes: tuple[Callable[..., object], ...] = (
        partial(alice.edit, "bob", sent, "twice"),
        partial(alice.react, "bob", sent, "👍"),
        partial(alice.delete, "bob", sent),
        partial(alice.set_chat, "bob", ChatSettings(pinned=True)),
        partial(alice.groups.add, us, "erin"),
    )
    await server.kill()
    began_s = time.monotonic()
    with pytest.raises(TimedOut) as late:
        await asyncio.to_thread(lambda: alice.send("bob", "once", timeout_s=0.5))
    assert time.monotonic() - began_s < 10
    assert late.value.retriable
    id_ = late.value.client_message_id
    for number, change in enumerate(changes):
        with pytest.raises(TimedOut) as late:
            await asyncio.to_thread(change, client_message_id=f"late {number}", timeout_s=0.0)
        assert late.value.client_message_id == f"late {number}"
    await server.start()
    first = await asyncio.to_thread(lambda: alice.send("bob", "once", client_message_id=id_))
    page = await asyncio.to_thread(alice.history, "bob")
    assert [message.id for message in page.messages] == [sent, first]
    for number, change in enumerate(changes):
        again = partial(change, client_message_id=f"change {number}")
        assert await asyncio.to_thread(again) == await asyncio.to_thread(again)
    await asyncio.to_thread(alice.close)


# -- processes

HEAD = """
import os, sys, threading
from cecochat.client import Closed, Message
from cecochat.client.sync import connect
url, token, state = sys.argv[1:]
"""
LEFT_OPEN = f"""{HEAD}
alice = connect(url, token, state=state)
print(alice.send("bob", "hello"), flush=True)
threading.Thread(target=lambda: list(alice), daemon=True).start()
"""
FORKED = f"""{HEAD}
def child(code):
    pid = os.fork()
    if pid == 0:
        os._exit(code())
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def connects():
    with connect(url, token) as alice:
        alice.send("bob", "from the child")
    return 7

def uses_the_parents():
    for use in (lambda: alice.send("bob", "no"), alice.next_event, lambda: next(alice)):
        try:
            use()
        except Closed as error:
            assert "forked" in str(error)
        else:
            return 1
    alice.close()
    return 7

if state.endswith("first.json"):
    sys.exit(print("done") if child(connects) == 7 else 1)
alice = connect(url, token, state=state)
assert child(uses_the_parents) == 7
alice.send("bob", "from the parent")
alice.close()
connect(url, token, state=state).close()
print("done")
"""
FUNCTION = f"""{HEAD}
made = []

def fetch():
    made.append(threading.current_thread())
    return token

with connect(url, fetch) as alice:
    alice.send("bob", "hello")
assert made and threading.main_thread() not in made
print("done")
"""


@pytest.mark.parametrize(
    ("program", "state"),
    [(LEFT_OPEN, "alice.json"), (FORKED, "first.json"), (FUNCTION, "alice.json")],
    ids=["left open", "forked before it connects", "token of a function"],
)
async def test_a_program_ends_cleanly(
    server: Server, tmp_path: Path, program: str, state: str
) -> None:
    assert await ran(server, program, tmp_path / state) == ""


async def test_the_child_of_a_connected_process_cannot_harm_it(
    server: Server, tmp_path: Path
) -> None:
    said = await ran(server, FORKED, tmp_path / "alice.json")
    assert all("fork" in line for line in said.splitlines()), "gRPC alone may say something"


async def ran(server: Server, program: str, state: Path) -> str:
    """Run a program to its end. Returns what it wrote to standard error."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", program, server.connect_url, token(server, "alice"), str(state)],
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        # without it, gRPC itself ends one child in ten whose parent had connected
        env=os.environ | {"PYTHONWARNINGS": "error", "GRPC_ENABLE_FORK_SUPPORT": "0"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    return done.stderr
