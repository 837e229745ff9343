"""The servers themselves: health, metrics, a configuration that is followed, the end."""

from __future__ import annotations

import asyncio
import re
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from cecochat.auth.minting import mint
from cecochat.client import find_route
from cecochat.ports.configuration import ASSIGNMENT, CONFIGURATION
from cecochat.run import system
from cecochat.servers.connect.main import connect
from cecochat.servers.history.main import history
from cecochat.servers.messaging.main import messaging
from cecochat.settings import private
from cecochat.v1.errors_pb2 import ERROR_CODE_TOO_LARGE
from cecochat.v1.messaging_pb2 import Position
from scripts import metrics
from tests.integration import streams
from tests.integration.streams import Ended, message
from tests.integration.systems import (
    PORTS,
    QUICK,
    Running,
    metric,
    running,
    settings,
    until_metric,
    write_document,
)
from tests.support import operators

CHAT = "d:alice~bob"


def families(text: str) -> dict[str, str]:
    """Name -> type of what a server tells; when a counter was made, which comes along, is not."""
    found = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.M))
    return {name: type_ for name, type_ in found.items() if not name.endswith("_created")}


async def test_health_and_metrics_on_each_server(tmp_path: Path) -> None:
    async with running(tmp_path) as system, operators.client() as client:
        assert set(system.addresses.health) == {
            "connect",
            "messaging",
            "history",
            "materialize",
            "hooks",
        }
        for url in system.addresses.health.values():
            assert (await client.get(f"{url}/livez")).json() == {"status": "alive"}
            before = await client.get(f"{url}/livez?instance=of-an-earlier-start")
            assert before.status_code == 410, "the next on its port keeps a dead server alive"
            ready = await client.get(f"{url}/readyz")
            assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
            metrics = await client.get(f"{url}/metrics")
            assert "cecochat_configuration_version 1.0" in metrics.text
            missing = await client.get(f"{url}/nothing")
            assert missing.status_code == 404
            assert missing.json()["error"]["message"]


async def test_clients_of_connect_find_nothing_but_their_route(tmp_path: Path) -> None:
    async with running(tmp_path) as system, httpx.AsyncClient() as client:
        url, internal = system.addresses.connect, system.addresses.health["connect"]
        assert url != internal
        assert (await client.get(f"{internal}/v1/connect")).status_code == 404
        assert (await client.get(f"{url}/livez")).json() == {"status": "alive"}
        for path in ("/metrics", "/readyz", "/documents", "/documents/configuration", "/"):
            assert (await client.get(f"{url}{path}")).status_code == 404


async def test_metrics_move(tmp_path: Path) -> None:
    async with running(tmp_path, partitions=12) as system:  # alice and bob are not at one place
        assert await metric(system, "messaging", "cecochat_partitions_owned") == 12
        assert await metric(system, "messaging", "cecochat_takeovers_total") == 12
        async with system.stream("alice") as alice:
            assert await metric(system, "messaging", "cecochat_sessions ") == 1
            await alice.send(message("m", CHAT))
            await alice.until_acks(1)
        await until_metric(system, "messaging", "cecochat_sessions ", 0)
        await until_metric(system, "materialize", 'cecochat_rows_written_total{table="mess', 1)
        assert await metric(system, "messaging", 'cecochat_resumes_total{how="live"}') == 1
        assert await metric(system, "messaging", 'cecochat_streams_total{code="ok"}') == 1
        for stage in ("acknowledged", "forwarded", "delivered"):
            count = f'cecochat_message_seconds_count{{stage="{stage}"}}'
            await until_metric(system, "messaging", count, 1)
            age_s = await metric(system, "messaging", count.replace("_count", "_sum"))
            assert 0 <= age_s < 60
        count = 'cecochat_message_seconds_count{stage="materialized"}'
        assert await metric(system, "materialize", count) == 1


async def test_a_repeated_send_is_counted_once(tmp_path: Path) -> None:
    async with running(tmp_path) as system, system.stream("alice") as alice:
        for repeats in (0.0, 1.0):
            await alice.send(message("m", CHAT))
            await alice.until_acks(int(repeats) + 1)
            assert await metric(system, "messaging", "cecochat_sends_repeated_total") == repeats
        assert await metric(system, "messaging", "cecochat_sends_accepted_total") == 1


async def test_a_token_that_does_not_verify_is_counted(tmp_path: Path) -> None:
    async with running(tmp_path) as system, httpx.AsyncClient() as client:
        url, headers = system.addresses.connect, {"authorization": "Bearer nonsense"}
        assert (await client.get(f"{url}/v1/connect", headers=headers)).status_code == 401
        failures = 'cecochat_token_failures_total{code="unauthenticated"}'
        assert await metric(system, "connect", failures) == 1


@pytest.mark.parametrize("server", ["messaging", "materialize", "history", "connect", "hooks"])
async def test_a_server_has_the_metrics_that_are_listed(tmp_path: Path, server: str) -> None:
    async with running(tmp_path) as system, operators.client() as client:
        text = (await client.get(f"{system.addresses.health[server]}/metrics")).text
    assert families(text) == {metric.name: metric.type for metric in metrics.of(server)}


@pytest.mark.parametrize("service", ["messaging", "history"])
async def test_grpc_health_and_reflection(tmp_path: Path, service: str) -> None:
    name = f"cecochat.v1.{service.capitalize()}"
    async with running(tmp_path) as system:
        address = getattr(system.addresses, service)
        async with grpc.aio.insecure_channel(address) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            for asked in ("", name):
                answer = await health.Check(health_pb2.HealthCheckRequest(service=asked))
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
            stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[arg-type]
            call = stub.ServerReflectionInfo(
                iter([reflection_pb2.ServerReflectionRequest(list_services="")])
            )
            async for response in call:
                names = {each.name for each in response.list_services_response.service}
                assert name in names
                break


async def test_limits_are_followed_while_running(tmp_path: Path) -> None:
    async with running(tmp_path) as system, system.stream("alice") as alice:
        assert alice.welcome.limits.text_max_bytes == 16 << 10
        document = await system.configure({**QUICK, "text.max_bytes": 4, "history.page_max": 2})
        await until_metric(
            system, "messaging", "cecochat_configuration_version", float(document.version)
        )
        await alice.send(message("1", CHAT, "four"), message("2", CHAT, "fives"))
        refused = (await alice.until("refused")).refused  # told at once, the ack once it is read
        assert (refused.client_message_id, refused.error.code) == ("2", ERROR_CODE_TOO_LARGE)
        assert (await alice.until("ack")).ack.client_message_id == "1"
        async with system.stream("bob") as bob:
            assert bob.welcome.limits.text_max_bytes == 4


async def test_a_repeat_is_settled_before_a_new_limit_refuses_it(tmp_path: Path) -> None:
    async with running(tmp_path) as system, system.stream("alice") as alice:
        await alice.send(message("1", CHAT, "fives"))
        first = (await alice.until_acks(1))[0].ack
        document = await system.configure({**QUICK, "text.max_bytes": 4})
        await until_metric(
            system, "messaging", "cecochat_configuration_version", float(document.version)
        )
        await alice.send(message("1", CHAT, "fives"))
        assert (await alice.until("ack")).ack.message_id == first.message_id


@pytest.mark.parametrize(
    "document",
    ['{"text.max_bytes": 0}', '{"text_max_bytes": 5}', '{"text.max_bytes": "5"}', "[]", "7", "{",
     '{"log.level": ["info"]}', "null"],
)  # fmt: skip
async def test_a_broken_document_keeps_the_last_good_one(tmp_path: Path, document: str) -> None:
    async with running(tmp_path, {**QUICK, "text.max_bytes": 4}) as system:
        write_raw(tmp_path, CONFIGURATION, document)
        for server in system.addresses.health:
            await until_metric(system, server, "cecochat_configuration_refused_total", 1)
            assert await metric(system, server, "cecochat_configuration_version") == 1
        async with system.stream("alice") as alice:
            await alice.send(message("1", CHAT, "four"), message("2", CHAT, "fives"))
            await alice.until("refused")
        await write_document(system.configuration, CONFIGURATION, {**QUICK, "text.max_bytes": 5})
        await until_metric(system, "messaging", "cecochat_configuration_version", 3)
        async with system.stream("alice") as alice:
            await alice.send(message("2", CHAT, "fives"))
            await alice.until_acks(1)


@pytest.mark.parametrize("document", ["[]", "{", '{"x": "y"}', '{"0": null}'])
async def test_a_broken_assignment_moves_nobody(tmp_path: Path, document: str) -> None:
    async with running(tmp_path) as system, system.stream("alice") as alice:
        write_raw(tmp_path, ASSIGNMENT, document)
        for server in ("messaging", "connect"):
            await until_metric(system, server, "cecochat_assignment_refused_total", 1)
        await alice.send(message("m", CHAT))
        await alice.until_acks(1)
        async with httpx.AsyncClient() as client:
            answer = await client.get(
                f"{system.addresses.connect}/v1/connect",
                headers={"authorization": f"Bearer {system.token('alice')}"},
            )
            assert answer.status_code == 200


def write_raw(folder: Path, name: str, text: str) -> None:
    """What no writer of ours would write."""
    connection = sqlite3.connect(folder / "configuration.db")
    with connection:
        connection.execute(
            "INSERT INTO versions SELECT name, max(version) + 1, ?, 0, 'test' FROM versions "
            "WHERE name = ?",
            (text, name),
        )
    connection.close()


async def test_nobody_owns_the_partition(tmp_path: Path) -> None:
    async with running(tmp_path) as system, system.stream("alice") as alice:
        await write_document(system.configuration, ASSIGNMENT, {})
        assert (await alice.ended()).code == "MOVED"
        with pytest.raises(Ended) as refused:
            async with system.stream("alice"):
                pass
        assert refused.value.code == "WRONG_SERVER"
        async with httpx.AsyncClient() as client:
            async with asyncio.timeout(60):
                while True:
                    answer = await client.get(
                        f"{system.addresses.connect}/v1/connect",
                        headers={"authorization": f"Bearer {system.token('alice')}"},
                    )
                    if answer.status_code == 503:
                        break
                    await asyncio.sleep(0.02)
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["error"]["code"] == "unavailable"
            assert answer.json()["error"]["retriable"] is True


async def test_a_stop_sends_everybody_away_and_loses_nothing(tmp_path: Path) -> None:
    """Sends are under way when the system stops; afterwards each is there once, acked or not."""
    users = [f"user{n}" for n in range(8)]
    positions: dict[str, Position | None] = {}
    acked: dict[str, set[str]] = {}

    async def talk(system: Running, user: str, ready: asyncio.Event) -> str:
        async with system.stream(user) as stream, asyncio.TaskGroup() as both:
            reading = both.create_task(stream.ended())
            for n in range(1_000):
                if reading.done():
                    break
                await stream.send(message(f"{n}", f"d:bob~{user}"))
                if n == 20:
                    ready.set()
            ended = await reading
            positions[user] = stream.position
            acked[user] = {i.ack.client_message_id for i in stream.items if i.HasField("ack")}
            return ended.code

    async with (
        asyncio.TaskGroup() as group,
        running(tmp_path, {**QUICK, "drain.spread_s": 0.2}) as system,
    ):
        readies = [asyncio.Event() for _ in users]
        talking = [
            group.create_task(talk(system, user, ready))
            for user, ready in zip(users, readies, strict=True)
        ]
        for ready in readies:
            await ready.wait()
    assert {task.result() for task in talking} == {"DRAINING"}

    async with running(tmp_path) as system, asyncio.TaskGroup() as group:
        for user in users:
            group.create_task(check_all_once(system, user, positions[user], acked[user]))


async def check_all_once(
    system: Running, user: str, position: Position | None, acked: set[str]
) -> None:
    async with system.stream(user, position) as stream:
        caught_up = {
            item.delivered.event.client_message_id
            for item in stream.items
            if item.HasField("delivered")
        }
        assert not caught_up & acked, "what was acknowledged lies before the position"
        known = acked | caught_up
        assert known == {str(n) for n in range(len(known))}, "accepted in order, without a hole"


UP = """
import asyncio, sys
from pathlib import Path
from cecochat.run import system
from cecochat.settings.settings import Settings
ports = dict.fromkeys(sys.argv[2].split(","), 0)
settings = Settings(data_dir=Path(sys.argv[1]), **ports)
told = lambda addresses: print(addresses.messaging, flush=True)
asyncio.run(system.run(system.started(settings), told))
"""


async def started(folder: Path, drain_s: float) -> asyncio.subprocess.Process:
    async with running(folder, {**QUICK, "drain.spread_s": drain_s}):
        pass  # leaves the configuration there
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", UP, str(folder), ",".join(PORTS),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout
    assert await process.stdout.readline()
    return process


async def test_one_signal_stops_in_order(tmp_path: Path) -> None:
    process = await started(tmp_path, drain_s=0.0)
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(60):
        _, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")


async def test_a_second_signal_exits_at_once(tmp_path: Path) -> None:
    async with running(tmp_path, {**QUICK, "drain.spread_s": 300.0}) as system:
        token = system.token("alice"), system.token("bob")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", UP, str(tmp_path), ",".join(PORTS),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout
    address = (await process.stdout.readline()).decode().strip()
    async with (
        streams.caught_up(address, token[0]) as alice,
        streams.caught_up(address, token[1]) as bob,
        asyncio.TaskGroup() as group,
    ):
        process.send_signal(signal.SIGTERM)
        ends = {group.create_task(alice.ended()), group.create_task(bob.ended())}
        (first,), (other,) = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        assert first.result().code == "DRAINING"  # the other's turn would come in 150 s
        other.cancel()
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            assert await process.wait() == 130


async def test_a_lookup_is_answered_while_no_history_server_is_live(tmp_path: Path) -> None:
    async with system.opened(settings(tmp_path, partitions=4)) as parts:
        everything = dict.fromkeys(map(str, range(4)), "only")
        await write_document(parts.configuration, ASSIGNMENT, everything)
        secret_file = parts.settings.secret_file
        assert secret_file
        token = mint(private.drawn_secret(secret_file), "alice", 60)
        async with messaging(parts, "only") as server, connect(parts, "connect-1") as here:
            url = f"http://{here.address}"
            route = await find_route(url, token)
            assert (route.messaging, route.history) == (server.address, None)
            async with history(parts, "history-1") as live:
                assert (await find_route(url, token)).history == live.address
