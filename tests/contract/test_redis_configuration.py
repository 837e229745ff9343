"""What only the configuration on Redis promises: other processes, outages, credentials, TLS."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from cecochat.adapters.redis.configuration import RedisConfiguration
from cecochat.adapters.redis.settings import RedisSettings
from cecochat.documents.follow import Following, valid
from cecochat.domain.cluster.values import parse
from cecochat.domain.errors import InvalidSettings, Unavailable
from cecochat.ports.configuration import ASSIGNMENT, CONFIGURATION, Document
from cecochat.settings.tls import Tls
from scripts.backends import redis as redis_kind
from scripts.backends.instance import Command, Instance, Kind
from scripts.backends.probe import listens
from tests.contract.openers import Place
from tests.contract.private import Private, private
from tests.support.certificates import Signed, certificates
from tests.support.eventually import eventually

SEEN_WITHIN_S = 30.0
CALL_WITHIN_S = 5.0
SLACK_S = 1.0  # of a busy machine
DEADLINE_S = 120
ELSEWHERE = "127.0.0.2"  # no name of it is in the certificates
KEY = f"cecochat:{CONFIGURATION}"
CHILD = """
import asyncio, sys
from cecochat.adapters.redis.configuration import RedisConfiguration
from cecochat.adapters.redis.settings import RedisSettings
async def main():
    configuration = await RedisConfiguration.open(RedisSettings(sys.argv[1]))
    await configuration.put("configuration", {"n": 2}, expected=1, by="another process")
    await configuration.close()
asyncio.run(main())
"""


@asynccontextmanager
async def opened(settings: RedisSettings) -> AsyncGenerator[RedisConfiguration]:
    configuration = await RedisConfiguration.open(settings)
    try:
        yield configuration
    finally:
        await configuration.close()


@asynccontextmanager
async def plain(address: str) -> AsyncGenerator[Redis]:
    """As a person with redis-cli."""
    async with Redis.from_url(f"redis://{address}") as client:
        yield client


@pytest.fixture
async def redis(place: Place) -> AsyncGenerator[Private]:
    """A Redis of the test's own, empty."""
    async with private(redis_kind.KIND, place.folder / "redis", place.backends) as made:
        yield made


@pytest.fixture
async def configuration(redis: Private) -> AsyncGenerator[RedisConfiguration]:
    async with opened(RedisSettings(redis.address)) as made:
        yield made


async def test_a_person_reads_the_document_with_redis_cli(
    redis: Private, configuration: RedisConfiguration
) -> None:
    document = await configuration.put(CONFIGURATION, {"text": "né"}, expected=0, by="ops")
    async with plain(redis.address) as cli:
        entries: Any = await cli.xrevrange(KEY, count=1)
    [(entry_id, fields)] = entries
    assert entry_id == b"1-0"
    assert fields == {
        b"value": '{"text": "né"}'.encode(),
        b"changed_at_ms": str(document.changed_at_ms).encode(),
        b"changed_by": b"ops",
    }


async def test_what_is_written_by_hand_is_given_as_it_stands(
    redis: Private, configuration: RedisConfiguration
) -> None:
    async with plain(redis.address) as cli:
        await cli.xadd(KEY, {"value": b"\xff{"}, id="3-0")
        document: tuple[Any, ...] = await configuration.get(CONFIGURATION)
        assert document[1:] == (3, "\\xff{", 0, "")
        await cli.xadd(KEY, {"val": "{}", "changed_at_ms": "now", "changed_by": b"\xfe"}, id="4-0")
        document = tuple(await configuration.get(CONFIGURATION))
        assert document[1:] == (4, "", 0, "\\xfe")
        put = await configuration.put(CONFIGURATION, {}, expected=4, by="ops")
        assert (await configuration.get(CONFIGURATION)) == put
        await cli.set(f"cecochat:{ASSIGNMENT}", "no stream")
        with pytest.raises(Unavailable, match="WRONGTYPE"):
            await configuration.get(ASSIGNMENT)


async def test_watch_sees_what_another_process_changes(
    redis: Private, configuration: RedisConfiguration
) -> None:
    await configuration.put(CONFIGURATION, {"n": 1}, expected=0, by="this process")
    async with aclosing(configuration.watch(CONFIGURATION)) as versions:
        assert (await anext(versions)).version == 1
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", CHILD, redis.address)
        assert await child.wait() == 0
        async with asyncio.timeout(SEEN_WITHIN_S):
            document = await anext(versions)
    assert (document.value, document.changed_by) == ({"n": 2}, "another process")


async def test_watch_sees_a_change_whose_announcement_is_lost(
    redis: Private, configuration: RedisConfiguration
) -> None:
    async with plain(redis.address) as cli, aclosing(configuration.watch(CONFIGURATION)) as watch:
        assert (await anext(watch)).version == 0
        await cli.xadd(KEY, {"value": "{}"}, id="1-0")
        async with asyncio.timeout(SEEN_WITHIN_S):
            assert (await anext(watch)).version == 1


async def test_calls_that_are_cancelled_leave_no_answer_to_others(
    configuration: RedisConfiguration,
) -> None:
    names = [CONFIGURATION, ASSIGNMENT]
    for name in names:
        await configuration.put(name, {"is": name}, expected=0, by="x")

    async def get(name: str, cancelled_after: int) -> None:
        async with asyncio.TaskGroup() as tasks:
            getting = tasks.create_task(configuration.get(name))
            for _ in range(cancelled_after):
                await asyncio.sleep(0)
            getting.cancel()
        if not getting.cancelled():
            assert getting.result().value == {"is": name}

    for round_ in range(30):
        await asyncio.gather(*(get(name, round_) for name in names * 3))
        for name in names:
            assert (await configuration.get(name)).value == {"is": name}


async def test_while_it_is_down_calls_and_watches_are_unavailable_in_time(
    redis: Private, configuration: RedisConfiguration
) -> None:
    await configuration.put(CONFIGURATION, {"n": 1}, expected=0, by="x")
    async with aclosing(configuration.watch(CONFIGURATION)) as watch:
        assert (await anext(watch)).version == 1
        await redis.kill()
        await unavailable(configuration)
        with pytest.raises(Unavailable):
            await anext(watch)
    async with opened(RedisSettings(redis.address)) as another:  # stops no start
        await unavailable(another)
        await redis.start()
        assert (await another.get(CONFIGURATION)).value == {"n": 1}
    await configuration.put(CONFIGURATION, {"n": 2}, expected=1, by="x")


async def test_while_it_hangs_calls_and_watches_are_unavailable_in_time(
    redis: Private, configuration: RedisConfiguration
) -> None:
    async with aclosing(configuration.watch(CONFIGURATION)) as watch:
        assert (await anext(watch)).version == 0
        process = redis.backend.process
        assert process is not None
        process.signal(signal.SIGSTOP)
        await unavailable(configuration)
        with pytest.raises(Unavailable):
            await anext(watch)
        process.signal(signal.SIGCONT)
    async with aclosing(configuration.watch(CONFIGURATION)) as watch:
        await anext(watch)


async def unavailable(configuration: RedisConfiguration) -> None:
    for call in (
        configuration.get(CONFIGURATION),
        configuration.put(CONFIGURATION, {}, expected=1, by="x"),
    ):
        began = time.monotonic()
        with pytest.raises(Unavailable):
            await call
        assert time.monotonic() - began < CALL_WITHIN_S + SLACK_S


async def test_close_ends_a_watch_that_waits(configuration: RedisConfiguration) -> None:
    async def ends(watch: AsyncGenerator[Document]) -> None:
        with pytest.raises(Unavailable):
            await anext(watch)

    async with aclosing(configuration.watch(CONFIGURATION)) as watch:
        await anext(watch)
        async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as tasks:
            tasks.create_task(ends(watch))
            await asyncio.sleep(0)
            await configuration.close()
    with pytest.raises(Unavailable):
        await configuration.get(CONFIGURATION)


@pytest.mark.parametrize("down_s", [0, pytest.param(60, marks=pytest.mark.slow)])
async def test_followers_keep_what_they_have_while_it_is_down_and_when_it_comes_back_empty(
    redis: Private,
    configuration: RedisConfiguration,
    down_s: float,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "cecochat.documents.follow")
    for version in range(3):
        value = {"sends.burst": version + 1}
        last = await configuration.put(CONFIGURATION, value, expected=version, by="x")
    registry = CollectorRegistry()

    def metric() -> float | None:
        return registry.get_sample_value("cecochat_configuration_followed")

    followed = valid(Following(configuration, registry), CONFIGURATION, parse)
    async with aclosing(followed), asyncio.TaskGroup() as tasks:
        assert (await anext(followed))[0] == 3
        newer = tasks.create_task(anext(followed))
        await redis.lose_everything()
        await eventually(lambda: metric() == 0)
        await asyncio.sleep(down_s)
        await redis.start()
        await eventually(lambda: metric() == 1)
        await configuration.put(CONFIGURATION, {"sends.burst": 9}, expected=0, by="too early")
        assert await configuration.restore(last)
        await configuration.put(CONFIGURATION, {"sends.burst": 4}, expected=3, by="x")
        async with asyncio.timeout(DEADLINE_S):
            number, config = await newer
    assert (number, config.sends_burst) == (4, 4), "neither the empty nor the early document"
    said = [line.partition(":")[0] for line in caplog.messages]
    assert said[:2] == [
        "configuration cannot be followed, and stays as it is",
        "configuration is followed again, at version 0",
    ]
    assert said[2].startswith("the store of the configuration has gone back to version 0")
    assert all("has gone back" in line for line in said[2:])


async def test_a_watch_shows_that_everything_was_deleted(
    redis: Private, configuration: RedisConfiguration
) -> None:
    await configuration.put(CONFIGURATION, {"n": 1}, expected=0, by="x")
    async with plain(redis.address) as cli, aclosing(configuration.watch(CONFIGURATION)) as seen:
        assert (await anext(seen)).version == 1
        await cli.flushall()
        async with asyncio.timeout(SEEN_WITHIN_S + SLACK_S):
            assert (await anext(seen)).version == 0


def secured(folder: Path, server: Signed) -> Kind:
    """Redis that speaks TLS only, and knows one user."""
    users = folder / "users.acl"
    users.write_text(
        "user default off\n"
        "user chat on >s3cret ~cecochat:* &cecochat:* "
        "+eval +xrevrange +xadd +publish +subscribe +unsubscribe +ping\n"
    )

    def command(instance: Instance) -> Command:
        instance.data.mkdir(parents=True, exist_ok=True)
        argv = [redis_kind.provision(), "--bind", "127.0.0.1", ELSEWHERE, "--port", "0"]
        argv += ["--tls-port", str(instance.port), "--dir", str(instance.data)]
        argv += ["--tls-cert-file", str(server.cert_file), "--tls-key-file", str(server.key_file)]
        argv += ["--tls-ca-cert-file", str(server.ca_file), "--aclfile", str(users)]
        return Command([*argv, "--save", ""])

    return replace(redis_kind.KIND, command=command, answers=listens)


@pytest.fixture
async def secure(place: Place, tmp_path: Path) -> AsyncGenerator[RedisSettings]:
    """What reaches a Redis that wants a client's certificate, a user and a password."""
    signed = certificates(tmp_path / "ours")
    async with private(secured(tmp_path, signed), tmp_path / "redis", place.backends) as made:
        yield RedisSettings(made.address, username="chat", password="s3cret", tls=Tls(*signed))


async def test_tls_with_a_client_certificate_and_an_acl_user(secure: RedisSettings) -> None:
    async with opened(secure) as configuration:
        async with aclosing(configuration.watch(CONFIGURATION)) as versions:
            assert (await anext(versions)).version == 0
            put = await configuration.put(CONFIGURATION, {"n": 1}, expected=0, by="x")
            async with asyncio.timeout(SEEN_WITHIN_S):
                assert await anext(versions) == put
        assert await configuration.past(CONFIGURATION) == [put]
    assert "s3cret" not in repr(secure)


async def test_another_authority_is_refused(secure: RedisSettings, tmp_path: Path) -> None:
    assert secure.tls is not None
    other = replace(secure.tls, ca_file=certificates(tmp_path / "other").ca_file)
    with pytest.raises(InvalidSettings, match=r"certificate verify failed.*check the CA file"):
        await RedisConfiguration.open(replace(secure, tls=other))


async def test_a_certificate_for_another_host_is_refused(secure: RedisSettings) -> None:
    elsewhere = replace(secure, address=secure.address.replace("127.0.0.1", ELSEWHERE))
    with pytest.raises(InvalidSettings, match=r"127\.0\.0\.2.*names in the certificate"):
        await RedisConfiguration.open(elsewhere)


@pytest.mark.parametrize("wrong", [{"password": "guess"}, {"username": "nobody"}])
async def test_wrong_credentials_are_refused(secure: RedisSettings, wrong: dict[str, str]) -> None:
    with pytest.raises(InvalidSettings, match="check the username and the password") as caught:
        await RedisConfiguration.open(replace(secure, **wrong))  # type: ignore[arg-type]
    assert "guess" not in str(caught.value)


async def test_no_tls_where_it_is_wanted_is_unavailable(secure: RedisSettings) -> None:
    async with opened(replace(secure, tls=None)) as configuration:
        with pytest.raises(Unavailable):
            await configuration.get(CONFIGURATION)


@pytest.mark.parametrize("address", ["", "redis", "redis:", ":6379", "redis:http"])
async def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(InvalidSettings, match="use host:port"):
        await RedisConfiguration.open(RedisSettings(address))


async def test_two_namespaces_share_nothing(redis: Private) -> None:
    one, other = (RedisSettings(redis.address, name) for name in ("one", "other"))
    async with opened(one) as first, opened(other) as second:
        await first.put(CONFIGURATION, {"n": 1}, expected=0, by="x")
        assert (await second.get(CONFIGURATION)).version == 0
    async with plain(redis.address) as cli:
        assert await cli.keys() == [b"one:configuration"]
