"""Webhooks of a running system: to whom, in which order, from when on, and what is said of what
the log no longer has.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from prometheus_client import CollectorRegistry

from cecochat.adapters.embedded.backplane import EmbeddedBackplane
from cecochat.adapters.embedded.silences import EmbeddedSilences
from cecochat.auth.hooks import Signer
from cecochat.domain.hooks.endpoints import Endpoint, adding, changing, removing
from cecochat.domain.hooks.told import KINDS
from cecochat.domain.log.ids import stamp_at
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import State, Takeover
from cecochat.internal.client import InternalClient
from cecochat.ports.backplane import MESSAGES, Log
from cecochat.ports.burying import Burial
from cecochat.run.system import keyring
from cecochat.runtime import web
from cecochat.runtime.clock import now_ms
from cecochat.sealing.opening import Opening
from cecochat.servers.hooks import posting
from cecochat.servers.hooks.metrics import HookMetrics
from cecochat.servers.hooks.people import People
from cecochat.servers.hooks.worker import Hooks
from cecochat.v1.events_pb2 import GroupOptions, Membership
from cecochat.v1.messaging_pb2 import Send
from tests.integration.shops import append, ask, change, endpoint, origin, shop
from tests.integration.streams import message, receipt
from tests.integration.systems import Running, metric, running, settings, until_metric
from tests.support import operators
from tests.support.eventually import eventually
from tests.support.hooks import free_port

CHAT = "d:alice~bob"
EXAMPLE = Path(__file__).parents[2] / "examples" / "webhooks" / "receiver.py"
DOWN = "http://127.0.0.1:9/hooks"


async def followed(system: Running, version: int) -> None:
    await until_metric(system, "hooks", "cecochat_hooks_version", version)


async def waits(system: Running) -> dict[str, Any]:
    body: dict[str, Any] = (await ask(system, "GET", "")).json()["endpoints"]
    return body


async def shown(system: Running, line: str) -> bool:
    """Whether the metrics say so, of which those of what waits are set every second."""
    async with operators.client() as client:
        text = (await client.get(f"{system.addresses.health['hooks']}/metrics")).text
    return line in text.splitlines()


async def test_an_endpoint_is_told_all_kinds_in_order(tmp_path: Path) -> None:
    async with running(tmp_path, partitions=4) as system, shop() as told:
        await change(system, adding(endpoint(told.url, kinds=KINDS)))
        begins = Membership(options=GroupOptions(name="hikers"), added_ids=["bob"])
        async with system.stream("alice") as alice, system.stream("bob") as bob:
            await alice.send(message("1", CHAT, "hello"))
            (ack,) = await alice.until_acks(1)
            await bob.until_texts(1)
            await bob.send(message("2", CHAT, "hi"))
            await bob.until_acks(1)
            id_ = ack.ack.message_id
            await alice.send(Send(client_message_id="3", chat_id="g:hikers", membership=begins))
            await alice.until_acks(2)
            await alice.send(receipt("4", CHAT, read=id_))
            await alice.until_acks(3)
        await told.until(lambda: len(told.told) == 4)
    assert sorted(told.kinds) == ["group.changed", "message.created", "message.created", "receipt"]
    assert sorted(told.texts) == ["hello", "hi"], "in order is only what is of one partition"
    assert f"event-{id_}" in told.ids


async def test_it_chooses_kinds_and_chats(tmp_path: Path) -> None:
    async with running(tmp_path) as system, shop() as told:
        kinds, chats = ("message.created",), ("d:alice~*",)
        await change(system, adding(endpoint(told.url, kinds=kinds, chats=chats)))
        async with system.stream("bob") as bob:
            await bob.send(message("1", "d:bob~carol", "not this"), message("2", CHAT, "this"))
            acks = await bob.until_acks(2)
            await bob.send(receipt("3", CHAT, delivered=acks[1].ack.message_id))
            await bob.send(message("4", CHAT, "that"))
            await bob.until_acks(4)
        await told.until(lambda: len(told.told) == 2)
    assert told.texts == ["this", "that"]


async def test_one_that_is_away_holds_up_no_other_and_misses_nothing(tmp_path: Path) -> None:
    texts = [str(number) for number in range(60)]
    async with running(tmp_path) as system, shop() as told, shop() as away:
        away.answer = lambda _: 503
        await change(system, adding(endpoint(told.url)))
        await change(system, adding(endpoint(away.url, "away")))
        await change(system, adding(endpoint(DOWN, "down")))
        async with system.stream("alice") as alice:
            await alice.send(*(message(text, CHAT, text) for text in texts))
            await alice.until_acks(60)
        await told.until(lambda: len(told.told) == 60)

        async def only_one_is_told() -> bool:
            waiting = {name: each["waiting"] for name, each in (await waits(system)).items()}
            return waiting == {"shop": 0, "away": 60, "down": 60}

        await eventually(only_one_is_told)
        await eventually(lambda: shown(system, 'cecochat_hooks_waiting{endpoint="away"} 60.0'))
        assert await metric(system, "hooks", 'cecochat_hooks_oldest_seconds{endpoint="away"}') > 0
        away.answer = lambda _: 204
        await away.until(lambda: len(away.told) == 60)
    assert told.texts == away.texts == texts


async def test_it_is_told_of_what_happens_from_when_it_is_added(tmp_path: Path) -> None:
    """Also in the time until servers know of it; and while it is disabled, later."""
    async with running(tmp_path) as system, shop() as told, system.stream("alice") as alice:
        await alice.send(message("1", CHAT, "before"))
        await alice.until_acks(1)
        await asyncio.sleep(0.01)  # the log's clock and ours are one, in ms
        made = endpoint(told.url)
        await alice.send(message("2", CHAT, "between"))
        await alice.until_acks(2)
        await change(system, adding(made))
        await told.until(lambda: told.texts == ["between"])
        await until_metric(system, "hooks", "cecochat_hooks_delivered_total", 1)
        await change(system, changing("shop", enabled=False))
        await followed(system, 2)
        await alice.send(message("3", CHAT, "meanwhile"))
        await alice.until_acks(3)
        assert told.texts == ["between"]
        await change(system, changing("shop", enabled=True))
        await told.until(lambda: len(told.texts) > 1)
        await change(system, removing("shop"))
        await followed(system, 4)
        await alice.send(message("4", CHAT, "after"))
        await alice.until_acks(4)
        await asyncio.sleep(0.01)
        await change(system, adding(endpoint(told.url)))
        await followed(system, 5)
        await alice.send(message("5", CHAT, "again"))
        await told.until(lambda: "again" in told.texts)
    assert told.texts == ["between", "meanwhile", "again"]


async def test_a_test_is_sent_at_once(tmp_path: Path) -> None:
    async with running(tmp_path) as system, shop() as told:
        await change(system, adding(endpoint(told.url, kinds=("receipt",))))
        await followed(system, 1)
        assert (await ask(system, "POST", "/shop")).json()["verdict"] == "taken"
        told.answer = lambda _: 500
        answer = (await ask(system, "POST", "/shop")).json()
    assert (answer["verdict"], answer["why"]) == ("again", "status 500")
    assert [(body["type"], body["data"]) for body in told.told] == [("test", {"endpoint": "shop"})]


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    async with running(tmp_path) as system, shop() as told:
        told.answer = lambda _: 307
        await change(system, adding(endpoint(told.url)))
        await followed(system, 1)
        assert (await ask(system, "POST", "/shop")).json()["why"] == "status 307"


# -- a log that has dropped something


@asynccontextmanager
async def hooking(
    folder: Path, log: EmbeddedBackplane, endpoints: Mapping[str, Endpoint]
) -> AsyncIterator[CollectorRegistry]:
    registry = CollectorRegistry()
    async with web.client(posting.ANSWER_S) as client, keyring(settings(folder)) as ring:
        poster = posting.Poster(client, Signer(bytes(32)), Opening(ring))
        silences = await EmbeddedSilences.open(folder)
        known = await Log.of(log)
        nobody = People(InternalClient(client), list, list, known.id, ring)
        server = Hooks(known, poster, Burial(log), HookMetrics(registry), nobody, silences)
        server.apply(endpoints)
        task = asyncio.create_task(server.run())
        try:
            yield registry
        finally:
            task.cancel()
            await asyncio.wait([task])
            await silences.close()


async def test_what_the_log_has_dropped_is_said(tmp_path: Path) -> None:
    log = await EmbeddedBackplane.open(tmp_path, retention_ms=1)
    async with shop() as told:
        at = {"shop": endpoint(told.url)}
        await append(log, Takeover("server", "session", 1), *map(origin, range(3)))
        async with hooking(tmp_path, log, at) as registry:
            name = "cecochat_hooks_delivered_total"  # as it goes on after them
            await told.until(lambda: registry.get_sample_value(name, {"endpoint": "shop"}) == 3)
        state = State(6, Place(0, 0), 6, stamp_at(now_ms()), {}, 0, groups=())
        await append(log, *map(origin, range(3, 6)), state, *map(origin, range(6, 9)))
        await asyncio.sleep(0.01)
        await log.release(MESSAGES, 0, 7)
        await log.trim()
        assert (await log.bounds(MESSAGES, 0))[0] == 7
        async with hooking(tmp_path, log, at) as registry:
            await told.until(lambda: len(told.texts) == 6)
            name = "cecochat_hooks_dropped_records_total"
            assert registry.get_sample_value(name, {"endpoint": "shop"}) == 3
    await log.close()
    assert told.texts == ["0", "1", "2", "6", "7", "8"]
    (dropped,) = [body for body in told.told if body["type"] == "events.dropped"]
    assert dropped["data"] == {"partition": 0, "fromOffset": "4", "belowOffset": "7"}


async def test_a_place_in_a_lost_end_is_counted(tmp_path: Path) -> None:
    log = await EmbeddedBackplane.open(tmp_path)
    async with shop() as told:
        made = endpoint(told.url)
        await append(log, Takeover("server", "session", 1), *map(origin, range(3)))
        await log.commit(made.group, MESSAGES, {0: Place(1, 3)})  # what stands there came later
        async with hooking(tmp_path, log, {"shop": made}) as registry:
            await told.until(lambda: len(told.texts) == 3)
            name = "cecochat_hooks_lost_places_total"
            assert registry.get_sample_value(name, {"endpoint": "shop"}) == 1
    await log.close()


async def test_what_has_vanished_from_the_middle_is_said(tmp_path: Path) -> None:
    log = await EmbeddedBackplane.open(tmp_path)
    await append(log, Takeover("server", "session", 1), *map(origin, range(5)))
    await log.close()
    with closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as database:
        database.execute("DELETE FROM records WHERE place = 3")
    log = await EmbeddedBackplane.open(tmp_path)
    async with shop() as told:
        at = {"shop": replace(endpoint(told.url), created_ms=1)}
        async with hooking(tmp_path, log, at):
            await told.until(lambda: len(told.told) == 5)
    await log.close()
    assert told.texts == ["0", "1", "3", "4"]
    (dropped,) = [body for body in told.told if body["type"] == "events.dropped"]
    assert dropped["data"] == {"partition": 0, "fromOffset": "3", "belowOffset": "4"}


# -- the example of docs/how-to/webhooks.md


async def test_the_example_verifies_and_prints_each_once(tmp_path: Path) -> None:
    async with running(tmp_path) as system:
        port = free_port()
        made = endpoint(f"http://127.0.0.1:{port}/hooks")
        secret = Signer(operators.SECRET_FILE.read_bytes()).secret(made)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, EXAMPLE, str(port)),
            env={"CECOCHAT_HOOK_SECRET": secret},
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            await change(system, adding(made))
            async with system.stream("alice") as alice:
                await alice.send(message("1", CHAT, "hé"))
                await alice.until_acks(1)
            assert process.stdout
            line = await asyncio.wait_for(process.stdout.readline(), 60)
            kind, _, data = line.decode().partition(" ")
            assert (kind, json.loads(data)["message"]) == ("message.created", {"text": "hé"})
            poster = Signer(bytes(32)).headers(made, "event-1", "{}", now_ms())
            async with httpx.AsyncClient(trust_env=False) as client:
                forged = await client.post(made.url, content="{}", headers=dict(poster))
            assert forged.status_code == 401
        finally:
            process.kill()
            await process.wait()
