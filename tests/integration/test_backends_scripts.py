"""Real backends, started by `scripts/backends` for each test alone: they answer, they keep what
they acknowledged when they are killed, and nothing of them is left.
"""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, Session
from cassandra.policies import RoundRobinPolicy
from redis.asyncio import Redis

from scripts.backends import launch, ports
from scripts.backends.instance import Failed
from scripts.backends.kinds import KINDS, kind
from scripts.backends.launch import Backend
from scripts.backends.process import Process
from tests.conftest import backends_key

ROOT = Path(__file__).parents[2]
SMALL_HEAP = {"kafka": {"heap": "256m"}, "cassandra": {"heap": "512m"}}
COMMAND_WITHIN_S = 120

pytestmark = pytest.mark.timeout(400)

Start = Callable[[str], Backend]


@pytest.fixture
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """Starts a private backend of a kind; whatever still runs at the end is killed."""
    started: list[Backend] = []

    def start(name: str) -> Backend:
        need(request, name)
        started.append(launch.private(name, tmp_path / name, SMALL_HEAP.get(name)))
        started[-1].start()
        return started[-1]

    yield start
    for backend in started:
        backend.kill()


def need(request: pytest.FixtureRequest, name: str) -> None:
    """End the test where `name` was never brought: no test builds for minutes."""
    request.config.stash[backends_key].provisioned(name)


# Each kind


@pytest.mark.parametrize("name", ["kafka", "redis", "consul"])
async def test_it_keeps_what_it_acknowledged_when_killed(name: str, start: Start) -> None:
    backend = await asyncio.to_thread(start, name)
    write, read = CLIENTS[name]
    await write(backend.address)
    first = backend.pid
    await asyncio.to_thread(backend.kill)
    assert backend.pid is None
    await asyncio.to_thread(backend.start)
    assert backend.pid != first
    assert await read(backend.address) == "kept"


async def test_redis_is_stopped_in_order_and_keeps_its_data(start: Start) -> None:
    backend = await asyncio.to_thread(start, "redis")
    await write_redis(backend.address)
    await asyncio.to_thread(backend.stop)
    await asyncio.to_thread(backend.start)
    assert await read_redis(backend.address) == "kept"


async def test_consul_elects_itself_again_after_it_has_left(start: Start) -> None:
    backend = await asyncio.to_thread(start, "consul")
    await write_consul(backend.address)
    await asyncio.to_thread(backend.stop)
    await asyncio.to_thread(backend.start)
    assert await read_consul(backend.address) == "kept"


async def test_jaeger_takes_spans_and_shows_them(start: Start) -> None:
    backend = await asyncio.to_thread(start, "jaeger")
    async with httpx.AsyncClient(timeout=30) as http:
        sent = await http.post(f"http://{backend.instance.at('otlp-http')}/v1/traces", json=SPAN)
        assert sent.status_code == 200
        found = await http.get(f"http://{backend.address}/api/services")
    assert found.json()["data"] == ["probe"]


def test_cassandra_killed_while_it_writes_loses_no_row(start: Start) -> None:
    """With `commitlog_sync: periodic`, one kill of two lost 142 of 19,057 acknowledged rows."""
    backend = start("cassandra")
    acknowledged: set[int] = set()
    with session(backend.instance.port) as cql:
        cql.execute(KEYSPACE)
        cql.execute("CREATE TABLE kept.rows (part int, number int, PRIMARY KEY (part, number))")
        writer = threading.Thread(target=write_rows, args=(cql, acknowledged))
        writer.start()
        wait_until(lambda: len(acknowledged) > 2_000)
        backend.kill()
        writer.join(60)
        assert not writer.is_alive()
    backend.start()
    with session(backend.instance.port) as cql:
        rows = {row.number for row in cql.execute("SELECT number FROM kept.rows")}
    assert acknowledged - rows == set()


def test_one_that_is_paused_can_be_stopped(start: Start) -> None:
    backend = start("redis")
    pid = backend.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    backend.stop()
    assert backend.pid is None


def test_one_that_ends_at_its_start_shows_its_log(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    need(request, "redis")
    backend = launch.private("redis", tmp_path)
    backend.instance.data.mkdir()
    append_only = backend.instance.data / "appendonlydir"
    append_only.write_text("a file where Redis wants a folder")
    with pytest.raises(Failed, match=r"(?s)last lines of .*redis ended at its start"):
        backend.start()
    assert backend.pid is None


# The command line


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[str]]:
    """Options that keep a run apart from all others; what it has started is stopped."""
    need(request, "redis")
    options = ["--data", str(tmp_path / "data"), "--env-file", str(tmp_path / "backends.env")]
    yield options
    command("down", *options)


def test_up_and_down_leave_nothing_behind(place: list[str], tmp_path: Path) -> None:
    up = command("up", "redis", "--ports", "free", *place)
    assert up.returncode == 0, up.stderr
    (found,) = json.loads(command("status", "redis", "--json", *place).stdout)
    assert found["answers"]
    assert (tmp_path / "backends.env").read_text() == f"CECOCHAT_REDIS={found['address']}\n"
    running = Process.read(tmp_path / "data" / "redis" / "pid")
    assert running is not None
    assert running.pid == found["pid"]
    assert command("down", "redis", *place).returncode == 0
    assert not running.alive
    assert not ports.taken("127.0.0.1", int(found["address"].rpartition(":")[2]))
    assert (tmp_path / "backends.env").read_text() == ""
    assert command("status", "redis", *place).returncode == 1


def test_up_twice_changes_nothing(place: list[str]) -> None:
    command("up", "redis", "--ports", "free", *place)
    before = command("status", "redis", "--json", *place).stdout
    assert command("up", "redis", "--ports", "free", *place).returncode == 0
    after = command("status", "redis", "--json", *place).stdout
    assert json.loads(after)[0]["pid"] == json.loads(before)[0]["pid"]


def test_down_never_ends_a_process_of_another(place: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "data" / "redis"
    folder.mkdir(parents=True)
    with subprocess.Popen(["sleep", "600"]) as other:
        noted = {"pid": other.pid, "began": "then", "ports": {"clients": 1}, "host": "127.0.0.1"}
        (folder / "pid").write_text(json.dumps(noted))
        assert "does not run" in command("down", "redis", *place).stdout
        assert other.poll() is None
        other.kill()


def test_a_port_that_is_taken_is_named(start: Start, place: list[str]) -> None:
    taken = start("redis").instance.port
    up = command("up", "redis", "--ports", f"redis={taken}", *place)
    assert up.returncode == 1
    assert f"another program listens on 127.0.0.1:{taken}" in up.stderr
    assert "--ports" in up.stderr.splitlines()[-1]


def test_one_that_is_given_is_checked_noted_and_left_alone(
    start: Start, place: list[str], tmp_path: Path
) -> None:
    given = start("redis")
    up = command("up", "redis", "--redis", given.address, *place)
    assert up.returncode == 0, up.stderr
    assert f"redis at {given.address}: answers" in up.stdout
    assert (tmp_path / "backends.env").read_text() == f"CECOCHAT_REDIS={given.address}\n"
    command("down", *place)
    assert given.answers()


def test_one_that_is_given_and_not_there_is_refused(place: list[str]) -> None:
    (port,) = ports.free(kind("redis")).values()
    up = command("up", "redis", "--redis", f"127.0.0.1:{port}", *place)
    assert up.returncode == 1
    assert "nothing listens at --" in up.stderr


def test_run_is_the_backend_itself(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    need(request, "redis")
    (port,) = ports.free(kind("redis")).values()
    argv = [sys.executable, "-m", "scripts.backends", "run", "redis", "--port", str(port)]
    running = subprocess.Popen([*argv, "--data", str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
    with running:
        wait_until(lambda: ports.taken("127.0.0.1", port))
        assert "redis-server" in Path(f"/proc/{running.pid}/cmdline").read_text()
        running.terminate()
        assert running.wait(30) == 0


def test_an_unknown_backend_is_refused() -> None:
    refused = command("up", "kafak")
    assert refused.returncode == 1
    assert refused.stderr == f"there is no backend kafak: use one of {', '.join(KINDS)}\n"


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.backends", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_WITHIN_S,
    )


# How each is written and read


async def write_kafka(address: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    await admin.create_topics([NewTopic("kept", 1, 1)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=address, acks="all", enable_idempotence=True)
    await producer.start()
    await producer.send_and_wait("kept", b"kept", partition=0)
    await producer.stop()


async def read_kafka(address: str) -> str:
    partition = TopicPartition("kept", 0)
    consumer = AIOKafkaConsumer(bootstrap_servers=address, auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign([partition])
    record = await asyncio.wait_for(consumer.getone(partition), 30)
    await consumer.stop()
    return bytes(record.value).decode()


KEYSPACE = """
CREATE KEYSPACE kept WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}
"""


@contextmanager
def session(port: int) -> Iterator[Session]:
    profile = ExecutionProfile(load_balancing_policy=RoundRobinPolicy(), request_timeout=30)
    profiles = {EXEC_PROFILE_DEFAULT: profile}
    cluster = Cluster(
        ["127.0.0.1"],
        port=port,
        protocol_version=4,
        execution_profiles=profiles,
        connect_timeout=30,
        control_connection_timeout=30,
    )
    try:
        yield cluster.connect()
    finally:
        cluster.shutdown()


def write_rows(cql: Session, acknowledged: set[int]) -> None:
    """Rows without end, 64 at a time, until the server is gone."""
    insert = cql.prepare("INSERT INTO kept.rows (part, number) VALUES (?, ?)")
    places, gone, number = threading.Semaphore(64), threading.Event(), 0

    def done(_: object, number: int) -> None:
        acknowledged.add(number)
        places.release()

    def failed(_: object) -> None:
        gone.set()
        places.release()

    while not gone.is_set():
        places.acquire()
        row = cql.execute_async(insert, (number % 32, number))
        row.add_callbacks(done, failed, callback_args=(number,))
        number += 1


async def write_redis(address: str) -> None:
    async with Redis.from_url(f"redis://{address}") as redis:
        await redis.set("kept", "kept")


async def read_redis(address: str) -> str:
    async with Redis.from_url(f"redis://{address}", decode_responses=True) as redis:
        return str(await redis.get("kept"))


async def write_consul(address: str) -> None:
    async with httpx.AsyncClient(timeout=30) as http:
        put = await http.put(f"http://{address}/v1/kv/kept", content=b"kept")
    assert put.json() is True


async def read_consul(address: str) -> str:
    async with httpx.AsyncClient(timeout=30) as http:
        return (await http.get(f"http://{address}/v1/kv/kept?raw")).text


CLIENTS: dict[str, tuple[Callable[[str], Awaitable[None]], Callable[[str], Awaitable[str]]]] = {
    "kafka": (write_kafka, read_kafka),
    "redis": (write_redis, read_redis),
    "consul": (write_consul, read_consul),
}

SPAN = {
    "resourceSpans": [
        {
            "resource": {
                "attributes": [{"key": "service.name", "value": {"stringValue": "probe"}}]
            },
            "scopeSpans": [
                {
                    "spans": [
                        {
                            "traceId": "0af7651916cd43dd8448eb211c80319c",
                            "spanId": "b7ad6b7169203331",
                            "name": "kept",
                            "startTimeUnixNano": "1",
                            "endTimeUnixNano": "2",
                        }
                    ]
                }
            ],
        }
    ]
}


def wait_until(condition: Callable[[], bool], within_s: float = 60) -> None:
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until, f"not within {within_s:.0f} s"
        time.sleep(0.02)
