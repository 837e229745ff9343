"""An app is erased: the texts of all its users can be read nowhere, and those of others can."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from cecochat.adapters import build
from cecochat.adapters.cassandra.settings import CassandraSettings
from cecochat.adapters.kafka.settings import KafkaSettings
from cecochat.auth.minting import mint
from cecochat.client import Client, Refused, connect
from cecochat.domain.log.ids import UserId
from cecochat.domain.log.place import NOWHERE
from cecochat.ports.backplane import MESSAGES
from cecochat.ports.reading import records_after
from cecochat.settings.settings import Settings, load
from tests.contract.openers.cassandra import drop_keyspace
from tests.contract.openers.kafka import remove
from tests.integration.test_erase import back_up, wrapped
from tests.support.backends import Backends
from tests.support.commands import rows, run
from tests.support.eventually import eventually
from tests.support.left import places_of
from tests.support.server import Server, running, started

SHOP = ("quicksilver", "salamander", "thunderstruck", "moonlight")  # what the shop's users say
NEWS = ("porcupine", "lanterns")
WORDS = [each.encode() for each in SHOP]
BACKENDS = ("kafka", "cassandra", "redis", "consul")
FILE = b"the bytes of a file of the shop"


def client(server: Server, user: str) -> AbstractAsyncContextManager[Client]:
    return connect(server.connect_url, mint(server.secret_file.read_bytes(), UserId(user), 600))


async def add(server: Server, app: str) -> None:
    """Add an app, and wait until the servers know it."""
    await run(server, "apps", "add", app)

    async def is_known() -> bool:
        try:
            async with client(server, f"{app}/alice"):
                return True
        except Refused:
            return False

    await eventually(is_known)


async def chat(server: Server, *, with_file: bool = True) -> None:
    """Three users of a shop and two of a newspaper talk, and somebody in no app does."""
    await add(server, "shop")
    await add(server, "news")
    async with AsyncExitStack() as stack:
        names = ("shop/alice", "shop/bob", "shop/carol", "news/eve", "dave")
        alice, bob, carol, eve, dave = [
            await stack.enter_async_context(client(server, name)) for name in names
        ]
        first = await alice.send("shop/bob", f"{SHOP[0]} one")
        await alice.edit("shop/bob", first, f"{SHOP[1]} two")
        team = await bob.groups.create("Team", members=["shop/alice", "shop/carol"])
        await carol.send(team, f"{SHOP[2]} three")
        files = []
        if with_file:
            files = [await bob.files.upload("shop/alice", FILE, client_message_id="1", name="a")]
        await bob.send("shop/alice", SHOP[3], client_message_id="1", attachments=files)
        await eve.send("news/frank", f"{NEWS[0]} one")
        await dave.send("erin", f"{NEWS[1]} two")


async def texts(server: Server, user: str, other: str) -> list[str]:
    found = await rows(server, "history", "--as", user, other, "--json")
    return [each["text"] for each in found]


async def others_are_there(server: Server) -> None:
    assert await texts(server, "news/frank", "news/eve") == [f"{NEWS[0]} one"]
    assert await texts(server, "erin", "dave") == [f"{NEWS[1]} two"]


async def erase(server: Server, *more: str) -> dict[str, Any]:
    out, _ = await run(server, "erase", "--app", "shop", "--json", *more)
    report: dict[str, Any] = json.loads(out)
    return report


async def test_an_app_is_erased_everywhere_and_no_other(server: Server, tmp_path: Path) -> None:
    await chat(server)
    keys = [wrapped(server.data, f"shop/{name}") for name in ("alice", "bob", "carol")]
    kept, copy = wrapped(server.data, "news/eve"), back_up(server, tmp_path / "before")
    await eventually(lambda: bool(places_of(WORDS, server.data)))
    assert places_of([FILE], server.data), "this search finds nothing"
    looked = await erase(server, "--dry-run")
    assert (looked["erased"], looked["users"], looked["users_erased_before"]) == (False, 3, 0)
    assert (looked["sealed_texts"], looked["plain_texts"], looked["chats"]) == (4, 0, 2)
    assert looked["files"] == 1
    async with client(server, "shop/alice") as alice:
        assert (await erase(server, "--yes"))["erased"]
        with pytest.raises(Refused, match="the app shop was erased"):
            await alice.send("shop/bob", "too late")

    assert places_of([*WORDS, *keys, FILE], server.data) == []
    assert places_of([kept], server.data), "the key of another app is where it was"
    await others_are_there(server)
    back_up(server, tmp_path / "after")
    assert places_of([*WORDS, *keys, FILE], tmp_path / "after") == []
    assert places_of(WORDS, tmp_path / "before") == [], "the data alone shows nothing"

    (newest,) = (tmp_path / "after" / "keys").iterdir()
    await server.terminate()
    again = tmp_path / "again"
    await run(server, "restore", str(copy), "--data", str(again / "data"), "--keys", str(newest))
    async with started(Server(again)) as restored:
        await others_are_there(restored)
        found = await rows(restored, "history", "--as", "shop/alice", "shop/bob", "--json")
        assert {each["text"] for each in found} == {""}, "an older copy has the app, and no text"


async def test_it_is_for_good_and_can_be_done_again(server: Server) -> None:
    await add(server, "shop")
    async with client(server, "shop/alice") as alice:
        await alice.send("shop/bob", "hello")
    assert (await erase(server, "--yes"))["users_erased_before"] == 0
    again = await erase(server, "--yes")
    assert (again["users"], again["users_erased_before"], again["erased"]) == (1, 1, True)
    for words, why in (
        (("change", "shop", "--enable"), "can never be enabled again"),
        (("add", "shop"), "never used"),
    ):
        assert why in (await run(server, "apps", *words, code=4))[1]
    (listed,) = await rows(server, "apps", "list", "--json")
    assert (listed["name"], listed["enabled"], listed["erased_ms"] > 0) == ("shop", False, True)
    acts = await rows(server, "moderate", "log", "--json")
    assert [(each["what"], each["detail"]) for each in acts] == [("erase", "app shop")] * 2
    (erased,) = await rows(server, "erase", "--list", "--json")
    assert erased["user_id"] == "shop/alice"


async def test_a_hold_is_in_the_way(server: Server) -> None:
    await add(server, "shop")
    async with client(server, "shop/alice") as alice:
        await alice.send("shop/bob", "hello")
    await run(server, "hold", "set", "d:shop/alice~shop/bob", "--why", "case 17")
    await run(server, "hold", "set", "shop", "--why", "a user of this name, in no app")
    _, err = await run(server, "erase", "--app", "shop", "--yes", code=1)
    assert "a hold on d:shop/alice~shop/bob, so nothing was destroyed" in err
    out, _ = await run(server, "hold", "lift", "d:shop/alice~shop/bob", "--why", "closed")
    assert "run `cecochat erase --app shop`" in out
    assert await texts(server, "shop/bob", "shop/alice") == ["hello"], "the app goes on"
    assert (await erase(server, "--yes"))["held"] == []
    assert "is to be erased" not in (await run(server, "hold", "list"))[0]


async def test_it_asks_first(server: Server) -> None:
    for words, code, why in (
        (("--app", "shop", "--dry-run"), 4, "there is no app 'shop'"),
        (("shop/alice", "--app", "shop"), 2, "name a user"),
        (("--list", "--app", "shop"), 2, "name a user"),
    ):
        assert why in (await run(server, "erase", *words, code=code))[1]
    await add(server, "shop")
    assert "--yes" in (await run(server, "erase", "--app", "shop", code=2))[1]
    out, _ = await run(server, "erase", "--app", "shop", "--dry-run")
    assert "users of shop: 1, of whom 0 erased before" in out


@pytest.fixture
async def on_real(backends: Backends) -> AsyncIterator[dict[str, str]]:
    """The variables that put a new system on the real backends."""
    namespace = f"test_{uuid.uuid4().hex[:12]}"
    where = {f"CECOCHAT_{name.upper()}": backends.address(name) for name in BACKENDS}
    yield {**where, "CECOCHAT_NAMESPACE": namespace, "CECOCHAT_PARTITIONS": "2"}
    await remove(KafkaSettings(where["CECOCHAT_KAFKA"], namespace=namespace))
    for suffix in ("", "_keys", "_mod"):
        settings = CassandraSettings(
            (where["CECOCHAT_CASSANDRA"],), namespace=f"{namespace}{suffix}"
        )
        await drop_keyspace(settings)


async def stored(settings: Settings) -> bytes:
    """All records of the log, and all events of the history."""
    found = list[bytes]()
    async with build.backplane(settings) as backplane:
        for partition in range(settings.partitions):
            end = (await backplane.bounds(MESSAGES, partition))[1]
            async with aclosing(records_after(backplane, partition, NOWHERE)) as batches:
                async for batch in batches:
                    found += [each.key + each.value for each in batch]
                    if batch[-1].offset >= end - 1:
                        break
    async with build.history(settings) as history, aclosing(history.chat_ids()) as pages:
        chats = [chat_id async for page in pages for chat_id in page]
        for chat_id in chats:
            page = await history.messages(
                chat_id, before=None, after=0, limit=100, with_changes=True
            )
            found += page.events
    return b"".join(found)


@pytest.mark.slow
async def test_an_app_is_erased_on_the_real_backends(
    on_real: dict[str, str], tmp_path: Path
) -> None:
    async with running(tmp_path / "up", on_real) as server:
        settings = load({**on_real, "CECOCHAT_DATA_DIR": str(server.data)})
        await chat(server, with_file=False)
        users = [UserId(name) for name in ("shop/alice", "shop/bob", "shop/carol", "news/eve")]
        looked = await erase(server, "--dry-run")
        assert (looked["sealed_texts"], looked["plain_texts"], looked["users"]) == (4, 0, 3)
        assert (await erase(server, "--yes"))["erased"]
        async with build.keys(settings) as keys:
            found = await keys.get(users)
        assert [bool(found[user]) for user in users] == [False, False, False, True]
        everything = await stored(settings)
        assert b"shop/alice" in everything, "ids stay"
        assert [each for each in WORDS if each in everything] == []
        assert places_of(WORDS, server.data) == []
        await others_are_there(server)
        archive = tmp_path / "alice.zip"
        await run(server, "takeout", "shop/alice", "--output", str(archive))
        with ZipFile(archive) as packed:
            lines = packed.read("messages.jsonl").decode().splitlines()
        assert [json.loads(line)["text"] for line in lines] == [""], "no operator can read it"
        _, err = await run(server, "send", "--as", "shop/alice", "shop/bob", "again", code=4)
        assert "the app shop was erased" in err
