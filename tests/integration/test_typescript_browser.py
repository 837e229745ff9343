"""The TypeScript client in a real browser: reloads, crashes, and tabs that share a connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page

from tests.support import operators
from tests.support.backends import Backends
from tests.support.clientpage import (
    User,
    begin,
    count_transactions,
    freeze,
    send,
    stored,
    texts,
    told,
    until_connected,
    until_texts,
    web_server,
)
from tests.support.eventually import eventually
from tests.support.rawclient import mint
from tests.support.server import Server, running
from tests.support.typescript import bundle

TABS = 10
LISTENS = """async () => {
    const [{ name }] = await indexedDB.databases();
    const channel = new BroadcastChannel(name);
    const notes = [];
    channel.onmessage = ({ data }) => notes.push(data);
    window.say = (note) => channel.postMessage(note);
    window.heard = (kind) => notes.filter(({ note }) => note === kind);
    say({ note: "who" });
}"""
"""Hear what the tabs of a user tell each other, and be told who leads."""


@pytest.fixture(scope="module")
def script(backends: Backends) -> bytes:
    return bundle(backends)


@pytest.fixture
def pages(script: bytes) -> Iterator[str]:
    with web_server(script) as url:
        yield url


@pytest.fixture
async def server(tmp_path: Path, pages: str) -> AsyncIterator[Server]:
    async with running(tmp_path / "server", configuration={"web.origins": pages}) as started:
        yield started


Enter = Callable[[str], Awaitable[User]]


@pytest.fixture
def enter(chromium: Browser, server: Server, pages: str) -> Enter:
    async def user(name: str) -> User:
        token = mint(server.secret_file, name)
        context = await chromium.new_context()
        return User(context, f"{pages}/#{server.connect_url}#{token}")

    return user


async def streams(server: Server) -> float:
    async with operators.client() as client:
        answer = await client.get(f"{server.ready['health']['messaging']}/metrics")
    gauge = 'cecochat_streams_open{transport="websocket"}'
    [line] = [each for each in answer.text.splitlines() if each.startswith(gauge)]
    return float(line.rsplit(" ", 1)[1])


async def test_a_chat_between_pages(server: Server, enter: Enter) -> None:
    alice = await (await enter("alice")).tab()
    bob = await (await enter("bob")).tab()
    await until_connected(bob)
    sent = await send(alice, "bob", "hello 🙂")
    await until_texts(bob, ["hello 🙂"])
    [message] = await told(bob, "message")
    assert message["id"] == sent
    newest = "chat.client.history('alice').next().then(({ value }) => value && chat.plain(value))"

    async def is_newest() -> bool:
        return bool(await bob.evaluate(newest) == message)

    await eventually(is_newest)


async def test_a_reload_loses_no_queued_send_and_shows_the_chat_at_once(
    server: Server, enter: Enter
) -> None:
    alice = await (await enter("alice")).tab()
    bob = await (await enter("bob")).tab()
    await until_connected(bob)
    await send(alice, "bob", "one")
    await send(bob, "alice", "two")
    await until_texts(alice, ["two"])
    await server.kill()
    for text in ("three", "four"):
        await begin(alice, "bob", text)
    assert await stored(alice, "bob", "queued") == ["three", "four"]
    await alice.reload()
    await alice.wait_for_function("window.chat !== undefined")
    assert await stored(alice, "bob") == ["one", "two"]
    assert await stored(alice, "bob", "queued") == ["three", "four"]
    await server.start()
    await until_texts(alice, ["three", "four"], "sent")
    await until_texts(bob, ["one", "three", "four"])
    assert await texts(alice) == []  # "two" was shown before
    assert await stored(alice, "bob", "queued") == []
    assert await stored(alice, "bob") == ["one", "two", "three", "four"]


async def test_ten_tabs_share_one_connection(server: Server, enter: Enter) -> None:
    profile = await enter("alice")
    tabs = [await profile.tab() for _ in range(TABS)]
    bob = await (await enter("bob")).tab()
    for each in (*tabs, bob):
        await until_connected(each)
    assert await streams(server) == 2  # alice's and bob's
    for number, each in enumerate(tabs):
        await send(each, "bob", f"from {number}")
    said = [f"from {number}" for number in range(TABS)]
    await until_texts(bob, said)
    await send(bob, "alice", "to all")
    for each in tabs:
        await until_texts(each, ["to all"])
        await until_texts(each, said, "sent")
        assert await stored(each, "bob") == [*said, "to all"]
    assert await streams(server) == 2


async def test_changes_reach_all_tabs_once_and_outlive_the_server_and_a_reload(
    server: Server, enter: Enter
) -> None:
    user = await enter("alice")
    leads, follows = await user.tab(), await user.tab()
    bob = await (await enter("bob")).tab()
    await until_connected(bob)
    first, second = await send(leads, "bob", "one"), await send(leads, "bob", "two")
    edit = await follows.evaluate(f"chat.client.edit('bob', {first}n, 'edited').then(String)")
    await server.kill()
    await follows.evaluate(f"chat.client.delete('bob', {second}n).catch(() => {{}}), 0")
    await leads.evaluate(f"chat.client.react('bob', {first}n, '👍').catch(() => {{}}), 0")
    await server.start()

    async def all_told() -> bool:
        return all([len(await told(tab, "change")) == 3 for tab in (leads, follows, bob)])

    await eventually(all_told)
    changes = {each["kind"]: each for each in await told(bob, "change")}
    assert changes.keys() == {"edit", "deletion", "reaction"}
    assert (changes["edit"]["id"], changes["edit"]["messageId"]) == (edit, first)
    assert changes["deletion"]["messageId"] == second
    await leads.reload()
    await leads.wait_for_function("window.chat !== undefined")
    for tab in (leads, follows, bob):
        peer = "alice" if tab is bob else "bob"
        recent = await tab.evaluate("(peer) => chat.client.recent(peer).then(chat.plain)", peer)
        assert [each["text"] for each in recent] == ["edited", ""]
        assert [each["emoji"] for each in recent[0]["reactions"]] == ["👍"]


async def test_when_the_leading_tab_dies_another_goes_on(server: Server, enter: Enter) -> None:
    """It is closed, or crashes, while others send and are sent to."""
    profile = await enter("alice")
    tabs = [await profile.tab() for _ in range(4)]
    bob = await (await enter("bob")).tab()
    for each in (*tabs, bob):
        await until_connected(each)
    said = []
    for number, leader in enumerate(tabs[:3]):
        follower = tabs[-1]
        for part in range(5):
            await begin(follower, "bob", f"{number} {part}")
            await begin(bob, "alice", f"{number} {part}")
        if number % 2:
            await leader.close()
        else:
            await crash(leader)
        for part in range(5, 10):
            await begin(follower, "bob", f"{number} {part}")
            await begin(bob, "alice", f"{number} {part}")
        said += [f"{number} {part}" for part in range(10)]
        await until_texts(follower, said, "sent")
        await until_texts(follower, said)
        await until_texts(bob, said)
    assert sorted(await stored(tabs[-1], "bob")) == sorted([*said, *said])
    assert await streams(server) == 2


async def crash(page: Page) -> None:
    with suppress(Exception):  # the page cannot answer any more
        await asyncio.wait_for(page.goto("chrome://crash"), 5)


async def test_a_leading_tab_that_is_frozen_is_replaced_and_follows_when_it_wakes(
    server: Server, enter: Enter
) -> None:
    """As phones do with tabs in the background: the tab keeps its lock, and answers nothing."""
    profile = await enter("alice")
    leader, follower = await profile.tab(), await profile.tab()
    bob = await (await enter("bob")).tab()
    for each in (leader, follower, bob):
        await until_connected(each)
    await count_transactions(leader)
    await send(follower, "bob", "one")
    assert await stored(leader, "bob") == ["one"]
    devtools = await freeze(leader)
    await send(follower, "bob", "two")
    await send(bob, "alice", "three")
    await until_texts(follower, ["three"])
    await devtools.send("Debugger.disable")
    await send(leader, "bob", "four")
    await until_texts(bob, ["one", "two", "four"])
    await until_texts(leader, ["three"])
    assert await stored(leader, "bob") == ["one", "two", "three", "four"]
    assert await streams(server) == 2


async def test_a_save_that_the_browser_gives_up_is_made_again(enter: Enter) -> None:
    """As it does with a tab that was frozen in the middle of one."""
    alice = await (await enter("alice")).tab()
    bob = await (await enter("bob")).tab()
    for each in (alice, bob):
        await until_connected(each)
    await alice.evaluate(
        """() => {
            const { transaction } = IDBDatabase.prototype;
            IDBDatabase.prototype.transaction = function (...args) {
                const begun = transaction.apply(this, args);
                if (args[1] !== "readwrite") return begun;
                IDBDatabase.prototype.transaction = transaction;
                begun.objectStore("device").add("there is one", "owner"); // which ends it
                return begun;
            };
        }"""
    )
    await send(alice, "bob", "kept")
    await until_texts(bob, ["kept"])
    assert await stored(alice, "bob") == ["kept"]


async def test_a_tab_that_is_closed_by_its_page_leaves_the_others_connected(
    server: Server, enter: Enter
) -> None:
    profile = await enter("alice")
    first, second = await profile.tab(), await profile.tab()
    await until_connected(second)
    await first.evaluate("chat.client.close()")
    with pytest.raises(Exception, match="the client is closed"):
        await send(first, "bob", "after the end")
    await send(second, "bob", "hello")
    assert await stored(second, "bob") == ["hello"]


async def test_a_listener_that_throws_ends_its_own_tab_and_another_goes_on(enter: Enter) -> None:
    profile = await enter("alice")
    leader, follower = await profile.tab(), await profile.tab()
    bob = await (await enter("bob")).tab()
    for each in (leader, follower, bob):
        await until_connected(each)
    throwing = """(text) => chat.client.on("message", (message) => {
        if (message.text === text) throw new Error("I cannot show this");
    })"""
    await leader.evaluate(throwing, "two")
    for text in ("one", "two", "three"):
        await send(bob, "alice", text)
    await leader.wait_for_function("chat.client.status.state === 'closed'")
    assert (await told(leader, "status"))[-1]["error"]["code"] == "listener_failed"
    await send(follower, "bob", "four")
    await until_texts(follower, ["one", "two", "three"])
    assert await stored(follower, "bob") == ["one", "two", "three", "four"]


async def test_a_tab_that_has_missed_events_asks_once_and_ends_if_they_are_gone(
    enter: Enter,
) -> None:
    """What tabs tell each other is made up here: a tab would have to sleep for hours."""
    profile = await enter("alice")
    leader, follower = await profile.tab(), await profile.tab()
    for each in (leader, follower):
        await until_connected(each)
    await leader.evaluate(LISTENS)
    await leader.wait_for_function("heard('lead').length")
    await leader.evaluate(
        """() => {
            const [{ tab, told }] = heard("lead");
            for (let missed = 2; missed < 50; missed++) {
                const occurrence = { name: "receipt", value: {} };
                say({ note: "event", leader: tab, number: told + missed, occurrence });
            }
            say({ note: "since", leader: tab, tab: "another", number: 0 });
        }"""
    )
    await leader.wait_for_function("heard('gone').length")
    assert len(await leader.evaluate("heard('since')")) == 1
    assert (await leader.evaluate("heard('gone')[0].tab")) == "another"
    await leader.evaluate("say({ note: 'gone', tab: heard('since')[0].tab })")
    await follower.wait_for_function("chat.client.status.state === 'closed'")
    assert (await told(follower, "status"))[-1]["error"]["code"] == "slow"
    await until_connected(leader)


async def test_without_locks_a_shared_storage_is_refused_and_each_tab_is_a_device(
    server: Server, enter: Enter
) -> None:
    """As in a page over plain HTTP from elsewhere."""
    profile = await enter("alice")
    await profile.without_locks()
    first, second = await profile.tab(), await profile.tab()
    for each in (first, second):
        await until_connected(each)
    assert await streams(server) == 2
    asking = """async () => {
        const { connect, indexedDb } = await import("/client.js");
        const [, url, token] = location.hash.split("#");
        await connect({ url, token, storage: indexedDb() });
    }"""
    with pytest.raises(Exception, match="only in a page from HTTPS or localhost"):
        await first.evaluate(asking)


# -- a storage that is taken away

UPGRADE = """() => indexedDB.databases().then(([{ name }]) => new Promise((resolve, reject) => {
    const opening = indexedDB.open(name, 99);
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
        const store = opening.result.transaction("device").objectStore("device");
        store.get("device").onsuccess = ({ target }) => {
            opening.result.close();
            resolve(target.result.outbox.map((send) => send.message.text));
        };
    };
}))"""
DELETE = """() => indexedDB.databases().then(([{ name }]) => new Promise((resolve) => {
    indexedDB.deleteDatabase(name).onsuccess = () => resolve();
}))"""


async def ended_by(page: Page) -> str:
    await page.wait_for_function("chat.client.status.state === 'closed'")
    return str(await page.evaluate("chat.client.status.error.code"))


async def test_tabs_of_an_earlier_version_ask_to_be_reloaded(server: Server, enter: Enter) -> None:
    profile = await enter("alice")
    leader, follower = await profile.tab(), await profile.tab()
    for each in (leader, follower):
        await until_connected(each)
    await server.kill()
    await begin(follower, "bob", "queued")
    await eventually(lambda: stored(leader, "bob", "queued"))
    assert await follower.evaluate(UPGRADE) == ["queued"]
    assert await ended_by(leader) == "storage_upgraded"
    assert await ended_by(follower) == "storage_upgraded"


async def test_all_tabs_end_when_their_storage_is_deleted(enter: Enter) -> None:
    """As when a person logs out in one of them."""
    profile = await enter("alice")
    leader, follower = await profile.tab(), await profile.tab()
    for each in (leader, follower):
        await until_connected(each)
    await follower.evaluate(DELETE)
    assert await ended_by(leader) == "storage_deleted"
    assert await ended_by(follower) == "storage_deleted"


async def test_connecting_fails_where_nothing_can_be_stored(enter: Enter) -> None:
    tab = await (await enter("alice")).tab()
    asking = """async () => {
        indexedDB.__proto__.open = () => { throw new DOMException("denied", "SecurityError") };
        const { connect } = await import("/client.js");
        const [, url, token] = location.hash.split("#");
        await connect({ url, token });
    }"""
    with pytest.raises(Exception, match=r"IndexedDB cannot be used \(denied\)"):
        await tab.evaluate(asking)
