"""What a chat does not keep any more is told by nothing from that moment on, and then removed."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from copy import deepcopy
from pathlib import Path

from prometheus_client import CollectorRegistry

from cecochat.adapters.embedded.configuration import EmbeddedConfiguration
from cecochat.adapters.embedded.history import EmbeddedHistory
from cecochat.adapters.embedded.search import EmbeddedSearch
from cecochat.auth.minting import mint
from cecochat.documents.holds import KnownHolds
from cecochat.domain.cluster.retention import Retention, Rule, parse, with_rule
from cecochat.domain.log.ids import UserId, time_ms
from cecochat.ports.configuration import ASSIGNMENT, CONFIGURATION, HOLDS, RETENTION
from cecochat.servers.materialize.sweeping import LATE_MS, Sweeper
from tests.integration import streams
from tests.integration.systems import running
from tests.support import operators
from tests.support.commands import rows, run
from tests.support.eventually import eventually
from tests.support.left import places_of
from tests.support.server import Server, started

KEEP_S = 2
REMOVED_MS = KEEP_S * 1_000 + LATE_MS
PARTITIONS = 16


def token(server: Server, user: str) -> str:
    return mint(server.secret_file.read_bytes(), UserId(user), 600)


async def texts(server: Server, chat: str) -> list[str]:
    found = await rows(server, "history", "--as", "bob", chat, "--json")
    return [each["text"] for each in found if "text" in each]


async def shown(server: Server, chat: str, text: str) -> bool:
    return await texts(server, chat) == [text]


async def outlived(since_s: float) -> None:
    """Until what was sent before that is too old, by a rule of which servers know."""
    known_s = time.time() + 2
    await eventually(lambda: time.time() > max(since_s + KEEP_S, known_s))


async def test_it_is_told_by_nothing_from_that_moment_on(server: Server) -> None:
    await run(server, "group", "create", "--as", "alice", "Hikers", "bob", "--id", "g:hikers")
    async with streams.caught_up(server.ready["messaging"], token(server, "bob")) as bob:
        position = deepcopy(bob.position)
    out, _ = await run(server, "send", "--as", "alice", "bob", "quicksilver one")
    await run(server, "edit", "--as", "alice", "bob", out.strip(), "salamander two")
    await run(server, "send", "--as", "alice", "g:hikers", "thunderstruck stays")
    sent_s = time.time()
    assert await texts(server, "alice") == ["salamander two"]
    await run(server, "retention", "set", "d:alice~bob", f"{KEEP_S}s")
    await outlived(sent_s)

    (report,) = await rows(server, "takeout", "alice", "-o", str(server.folder / "a.zip"), "--json")
    assert (report["files"]["messages.jsonl"], report["too_old"]) == (1, 2)
    assert await texts(server, "alice") == []
    assert await texts(server, "g:hikers") == ["thunderstruck stays"]
    for word in ("quicksilver", "salamander"):
        assert await rows(server, "search", "--as", "bob", word, "--json") == []
    (dialog,) = [
        each for each in await rows(server, "chats", "--as", "bob", "--json")
        if each["chat_id"] == "d:alice~bob"
    ]  # fmt: skip
    assert (dialog["last_message"]["text"], dialog["last_message"]["expired"]) == ("", True)
    out, _ = await run(server, "export", "--as", "bob", "alice")
    assert out == ""
    async with streams.opened(server.ready["messaging"], token(server, "bob")) as late:
        await late.hello(position)
        assert (await late.until_texts(2))[-1] == "thunderstruck stays"
        assert "salamander" not in str(late.items)
        assert "quicksilver" not in str(late.items)
    await run(server, "retention", "set", "d:alice~bob", "1h")
    await run(server, "send", "--as", "alice", "bob", "the chat goes on")
    await eventually(lambda: shown(server, "alice", "the chat goes on"))


async def test_what_is_gone_comes_back_by_no_other_rule(server: Server) -> None:
    await run(server, "send", "--as", "alice", "bob", "once and never again")
    sent_s = time.time()
    await run(server, "retention", "set", "dialogs", f"{KEEP_S}s")
    await outlived(sent_s)
    out, _ = await run(server, "retention", "set", "dialogs", "forever")
    assert "dialogs: forever" in out
    assert await texts(server, "alice") == []
    out, _ = await run(server, "retention", "list")
    assert out.splitlines()[1].startswith("dialogs  forever")
    for words in (("set", "everything", "1d"), ("set", "groups", "soon"), ("unset", "dialogs")):
        await run(server, "retention", *words, code=2)


@asynccontextmanager
async def opened(server: Server) -> AsyncIterator[tuple[EmbeddedHistory, EmbeddedSearch]]:
    """The history and the index of a server that is down."""
    history, search = (
        await EmbeddedHistory.open(server.data),
        await EmbeddedSearch.open(server.data),
    )
    try:
        yield history, search
    finally:
        await history.close()
        await search.close()


def late_ms() -> int:
    """A time at which all that was said until now is to be removed."""
    return time.time_ns() // 1_000_000 + REMOVED_MS + 1


async def swept(server: Server, retention: Retention, at_ms: int) -> list[int]:
    """How many texts two sweeps remove, one at that time and one a second later."""
    async with opened(server) as (history, search):
        configuration = await EmbeddedConfiguration.open(server.data)
        holds, mine = KnownHolds(configuration, history), range(PARTITIONS)
        sweeper = Sweeper(history, search, holds, PARTITIONS, lambda: mine, CollectorRegistry())
        sweeper.keep(retention)
        try:
            return [await sweeper.sweep(at_ms), await sweeper.sweep(at_ms + 1_000)]
        finally:
            await configuration.close()


def left(folder: Path, words: list[bytes]) -> set[str]:
    """The names of the files of the history and the index that have one of these."""
    names = {Path(each).name for each in places_of(words, folder)}
    return {each for each in names if each.startswith(("history.db", "search.db"))}


async def test_a_sweep_removes_it_and_an_audit_does_not_miss_it(server: Server) -> None:
    """Without the keys nobody reads the history's sealed texts, so their bytes are looked for."""
    out, _ = await run(server, "send", "--as", "alice", "bob", "quicksilver one")
    await run(server, "edit", "--as", "alice", "bob", out.strip(), "salamander two")
    words = [b"quicksilver", b"salamander"]
    await eventually(lambda: left(server.data, words) != set())
    await server.terminate()
    sealed = await texts_in(server)
    assert len(sealed) == 2
    assert left(server.data, sealed) == {"history.db"}

    retention = with_rule(Retention(), "dialogs", KEEP_S, time.time_ns() // 1_000_000)
    early_ms = time_ms(int(out)) + REMOVED_MS - 2_000
    assert await swept(server, retention, early_ms) == [0, 0], "it may be too early"
    assert await swept(server, retention, late_ms()) == [2, 0]
    assert left(server.data, [*words, *sealed]) == set()

    async with started(Server(server.folder)) as again:
        out, _ = await run(again, "audit")
        assert "nothing is missing" in out


async def texts_in(server: Server) -> list[bytes]:
    """The sealed texts that the history of a server that is down has."""
    from cecochat.domain.changes.texts import said
    from cecochat.domain.log.ids import ChatId
    from cecochat.v1.events_pb2 import Event

    async with opened(server) as (history, _):
        page = await history.messages(
            ChatId("d:alice~bob"), before=None, after=0, limit=100, with_changes=True
        )
    bodies = [said(Event.FromString(each)) for each in page.events]
    return [body.sealed for body in bodies if body]


REQUESTS = {
    "nothing": ({}, 400),
    "no time": ({"what": "groups"}, 400),
    "a word": ({"what": "groups", "keep_s": "long"}, 400),
    "a kind like its kind": ({"what": "groups", "keep_s": "kind"}, 400),
    "too long": ({"what": "groups", "keep_s": "99999999999"}, 400),
    "no chat": ({"what": "hikers", "keep_s": "60"}, 400),
    "a kind": ({"what": "groups", "keep_s": "60"}, 200),
    "a chat": ({"what": "g:hikers", "keep_s": "0"}, 200),
    "an app that does not exist": ({"what": "shop/groups", "keep_s": "60"}, 400),
    "a chat of such an app": ({"what": "g:shop/team", "keep_s": "60"}, 400),
    "a chat as its kind": ({"what": "g:hikers", "keep_s": "kind"}, 200),
}


async def test_the_back_end_sets_it_over_http(tmp_path: Path) -> None:
    async with running(tmp_path) as system, operators.client() as client:
        url = f"{system.addresses.health['history']}/retention"
        for name, (asked, status) in REQUESTS.items():
            answer = await client.post(url, params=asked)
            assert answer.status_code == status, (name, answer.text)
        assert answer.json() == {"what": "g:hikers", "keep_s": None, "version": 3}
        document = await system.configuration.get(RETENTION)
        retention = parse(document.value)
        assert document.changed_by == "POST /retention"
        assert retention.groups == Rule(60)
        assert [retention.keep_s(each) for each in ("g:hikers", "d:alice~bob")] == [60, 0]


# -- holds


async def taken_out(server: Server, *more: str) -> tuple[int, int]:
    """How many messages of alice are in an archive, and how many texts are left out as too old."""
    words = ("--output", str(server.folder / "alice.zip"), "--data", str(server.data), "--json")
    (report,) = await rows(server, "takeout", "alice", *words, *more)
    return report["files"]["messages.jsonl"], report["too_old"]


async def test_under_a_hold_nobody_is_erased_and_that_it_was_asked_for_is_kept(
    server: Server,
) -> None:
    await run(server, "group", "create", "--as", "alice", "Hikers", "bob", "--id", "g:hikers")
    await run(server, "send", "--as", "alice", "bob", "evidence")
    await run(server, "group", "leave", "--as", "bob", "g:hikers")
    await run(server, "hold", "set", "bob", "--why", "case 17", "--by", "anna")
    _, err = await run(server, "erase", "alice", "--yes", code=1)
    assert "hold on d:alice~bob, g:hikers, so nothing was destroyed" in err
    out, _ = await run(server, "erase", "alice", "--dry-run")
    assert "on hold: d:alice~bob, g:hikers" in out
    assert await texts(server, "alice") == ["evidence"]
    hold, erasure = await rows(server, "hold", "list", "--json")
    assert (hold["what"], hold["by"], hold["why"]) == ("bob", "anna", "case 17")
    assert erasure["erasure"] == "alice"

    out, _ = await run(server, "hold", "lift", "bob", "--why", "closed", "--by", "berta")
    assert "alice is to be erased" in out
    await run(server, "erase", "alice", "--yes")
    assert await texts(server, "alice") == [""]
    assert await rows(server, "hold", "list", "--json") == []
    (past,) = await rows(server, "hold", "list", "--all", "--json")
    assert (past["why"], past["lifted_by"], past["lifted_why"]) == ("case 17", "berta", "closed")
    _, err = await run(server, "hold", "set", "shop/bob", "--why", "x", code=2)
    assert "there is no app 'shop'" in err
    for what in ("shop/dialogs", "g:shop/team"):
        _, err = await run(server, "retention", "set", what, "1d", code=2)
        assert "there is no app 'shop'" in err
    for words in (("set", "no one", "--why", "x"), ("lift", "bob", "--why", "x")):
        await run(server, "hold", *words, code=2 if words[0] == "set" else 4)
    acts = await rows(server, "moderate", "log", "--json")
    assert [(each["what"], each["user_id"], each["reason"]) for each in acts] == [
        ("erase", "alice", ""),
        ("not hold", "bob", "closed"),
        ("hold", "bob", "case 17"),
    ]
    assert [each["by"] for each in acts[1:]] == ["berta", "anna"]


def lose_documents(server: Server, *names: str) -> None:
    """As a store that comes back empty, or older than it was."""
    with closing(sqlite3.connect(server.data / "configuration.db")) as store, store:
        for name in names:
            store.execute("DELETE FROM versions WHERE name = ?", (name,))


async def test_nobody_is_erased_while_the_store_has_lost_the_holds(server: Server) -> None:
    await run(server, "send", "--as", "alice", "bob", "evidence")
    await run(server, "hold", "set", "alice", "--why", "case 17")
    lose_documents(server, HOLDS)
    for words in (("--yes",), ("--dry-run",)):
        _, err = await run(server, "erase", "alice", *words, code=3)
        assert "lost the holds: it has version 0 of them, and 1 is known" in err
    await server.kill()
    lose_documents(server, ASSIGNMENT, CONFIGURATION)
    _, err = await run(server, "erase", "alice", "--yes", "--data", str(server.data), code=1)
    assert "has lost its documents" in err
    await server.start()
    assert await texts(server, "alice") == ["evidence"]
    await run(server, "erase", "alice", "--yes")


async def test_under_a_hold_a_sweep_removes_nothing(server: Server) -> None:
    await run(server, "send", "--as", "alice", "bob", "quicksilver one")
    await run(server, "send", "--as", "carol", "dave", "not concerned")
    await run(server, "hold", "set", "alice", "--why", "case 17")
    await eventually(lambda: left(server.data, [b"quicksilver"]))
    await server.terminate()
    (sealed,) = await texts_in(server)
    retention = with_rule(Retention(), "dialogs", KEEP_S, time.time_ns() // 1_000_000)
    assert await swept(server, retention, late_ms()) == [1, 0]
    assert left(server.data, [sealed]) == {"history.db"}
    await run(server, "retention", "set", "dialogs", "1s", "--data", str(server.data))
    assert [await taken_out(server), await taken_out(server, "--with-expired")] == [(0, 1), (1, 0)]
    await run(server, "hold", "lift", "alice", "--why", "closed", "--data", str(server.data))
    assert await swept(server, retention, late_ms()) == [1, 0]
    assert left(server.data, [sealed]) == set()
