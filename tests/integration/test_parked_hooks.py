"""Webhooks that an endpoint does not take: parked, listed, and sent again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cecochat.adapters.embedded.backplane import EmbeddedBackplane
from cecochat.cli.errors import UsageError
from cecochat.cli.operate.replaying import parked, replay
from cecochat.domain.errors import Refusal
from cecochat.domain.hooks.endpoints import Endpoint, adding
from cecochat.domain.hooks.lane import Item
from cecochat.domain.hooks.told import Told
from cecochat.domain.log.dead_letters import DeadLetter
from cecochat.domain.log.place import Place
from cecochat.ports.backplane import Log
from cecochat.ports.burying import Burial
from cecochat.servers.hooks.parked import Parked, Spot, find, letter_of, page_of, replayed
from tests.integration.shops import Shop, ask, change, endpoint, shop
from tests.integration.streams import message
from tests.integration.systems import running, until_metric
from tests.support import operators
from tests.support.eventually import eventually

CHAT = "d:alice~bob"
DOWN = "http://127.0.0.1:9/hooks"


async def test_what_it_refuses_is_parked_and_replayed(tmp_path: Path) -> None:
    async with running(tmp_path) as system, shop() as told:
        told.answer = lambda body: 422 if body["data"]["message"]["text"] == "bad" else 204
        await change(system, adding(endpoint(told.url)))
        async with system.stream("alice") as alice:
            await alice.send(message("1", CHAT, "bad"), message("2", CHAT, "good"))
            (bad, _) = await alice.until_acks(2)
        await told.until(lambda: told.texts == ["good"])
        id_ = f"event-{bad.ack.message_id}"
        (found,) = (await ask(system, "GET", "/shop")).json()["parked"]
        assert (found["id"], found["chat_id"], found["kind"], found["reason"]) == (
            *(id_, CHAT, "message.created", "status 422"),
        )
        assert (await ask(system, "GET", "/crm")).json() == {"parked": [], "next": ""}
        await until_metric(system, "hooks", "cecochat_hooks_parked_total", 1)
        refused = (await ask(system, "POST", "/shop", replay=id_)).json()
        assert (refused["verdict"], refused["why"]) == ("refused", "status 422")
        told.answer = lambda _: 204
        assert (await ask(system, "POST", "/shop", replay=id_)).json()["verdict"] == "taken"
        assert told.ids[-1] == id_
        assert (await ask(system, "GET", "/shop")).json() == {"parked": [], "next": ""}
        for name, params in (("shop", {"replay": id_}), ("crm", {}), ("crm", {"replay": id_})):
            assert (await ask(system, "POST", f"/{name}", **params)).status_code == 400
        async with operators.client() as client:
            letters = await client.get(f"{system.addresses.health['history']}/letters")
        assert letters.json() == {"letters": []}, "those are of the log and the history alone"


@pytest.fixture
def pages_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cecochat.servers.hooks.parked.PAGE", 2)


@pytest.mark.usefixtures("pages_of_two")
async def test_all_that_is_parked_is_found_page_by_page(tmp_path: Path) -> None:
    log = await EmbeddedBackplane.open(tmp_path, partition_count=3)
    known = await Log.of(log)
    shop_, crm = endpoint(DOWN), endpoint(DOWN, name="crm")
    item = Item(0, Told("", "test", "d:a~b", 1, {}), Place(0, 0), 0)
    burial = Burial(log)

    def letter(number: int, partition: int, of: Endpoint = shop_) -> DeadLetter:
        told = item.told._replace(id=f"{number}")
        return letter_of(of, partition, replace(item, told=told), "status 422")

    first, *others = [letter(number, 1) for number in range(5)]
    await burial.bury([letter(9, 0), letter(8, 1, crm), first, *others])
    await burial.bury([replayed(Parked(each, 0), "anna") for each in (first, others[2])])
    await burial.bury([letter(7, 2), first])
    found, begin = [], Spot(0, 0)
    for _ in range(4):
        page = await page_of(known, "shop", begin)
        assert len(page.parked) <= 2
        found += page.parked
        if page.next is None:
            break
        begin = page.next
    assert [each["id"] for each in found] == ["9", "1", "2", "4", "0", "7"]
    last = Spot.parse(found[4]["letter"], known)
    for at in (None, last):
        there = await find(known, "shop", "0", at)
        assert there is not None
        assert there.id == "0"
    assert await find(known, "shop", "3", None) is None, "it was replayed"
    assert await find(known, "crm", "0", last) is None
    for text in ("", "1", "3:0", "1:x", "-1:0", "1:" + "9" * 30):
        with pytest.raises(Refusal):
            Spot.parse(text, known)
    await log.close()


@asynccontextmanager
async def parking(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *chats: str
) -> AsyncIterator[tuple[Shop, str, list[str]]]:
    """A shop that has refused a message in each of these chats, the hook server, and their ids."""
    monkeypatch.setenv("CECOCHAT_OPERATOR_TOKEN", operators.token())
    async with running(folder) as system, shop() as told:
        told.answer = lambda _: 422
        await change(system, adding(endpoint(told.url)))
        async with system.stream("alice") as alice:
            await alice.send(*(message(f"{n}", chat) for n, chat in enumerate(chats)))
            ids = [f"event-{each.ack.message_id}" for each in await alice.until_acks(len(chats))]
        server = system.addresses.health["hooks"]

        async def all_are_parked() -> bool:
            return len(await parked("shop", server, None)) == len(ids)

        await eventually(all_are_parked)
        yield told, server, ids


@pytest.mark.usefixtures("pages_of_two")
async def test_the_command_replays_all_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with parking(tmp_path, monkeypatch, *[CHAT] * 5) as (told, server, ids):
        told.answer = lambda _: 204
        with pytest.raises(UsageError, match="event-7 is not parked"):
            await replay("shop", ["event-7"], server, None)
        assert await replay("shop", ids[4:], server, None) == (1, [])
        assert await replay("shop", [], server, None) == (4, [])
        assert told.ids[-5:] == [ids[4], *ids[:4]]
        assert await parked("shop", server, None) == []


async def test_of_a_chat_that_is_refused_again_the_later_webhooks_stay_parked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chats = (CHAT, "d:alice~carol") * 2
    async with parking(tmp_path, monkeypatch, *chats) as (told, server, ids):
        told.answer = lambda body: 422 if body["data"]["chatId"] == chats[1] else 204
        taken, refused = await replay("shop", [], server, None)
        assert (taken, refused) == (2, [f"{ids[1]}: status 422"])
        assert told.ids == [ids[0], ids[2]]
        waiting = [each["id"] for each in await parked("shop", server, None)]
        assert waiting == [ids[1], ids[3]]
