"""A Cassandra that is not there, does not answer, wants TLS and a password, or dies under load."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cecochat.adapters.cassandra.database import Database
from cecochat.adapters.cassandra.history import CassandraHistory
from cecochat.adapters.cassandra.settings import CassandraSettings
from cecochat.domain.errors import InvalidSettings, Unavailable
from cecochat.settings.tls import Tls
from scripts.backends import cassandra as cassandra_kind
from scripts.backends.instance import Command, Instance
from scripts.backends.launch import Backend
from scripts.backends.ports import free
from scripts.backends.probe import listens
from tests.support.backends import Backends
from tests.support.cassandra import CHAT, at, message, opened, write
from tests.support.certificates import certificates
from tests.support.eventually import eventually

SUPERUSER = "cassandra"  # with which a cluster that checks passwords begins
CLOSED_PORT = "127.0.0.1:1"


async def test_a_cluster_that_is_not_there_is_unavailable_at_once() -> None:
    with pytest.raises(Unavailable, match=r"no node.*127\.0\.0\.1:1.*refused"):
        await CassandraHistory.open(CassandraSettings((CLOSED_PORT,)))


async def test_a_cluster_that_does_not_answer_is_unavailable_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connects, and nobody reads
        host, port = silent.getsockname()
        with pytest.raises(Unavailable, match=r"was not ready within 1 s"):
            await CassandraHistory.open(CassandraSettings((f"{host}:{port}",), open_timeout_s=1))


@pytest.fixture(scope="module")
def private(
    tmp_path_factory: pytest.TempPathFactory, backends: Backends
) -> Iterator[tuple[Backend, CassandraSettings]]:
    """A Cassandra of these tests alone, which wants TLS and a password."""
    backends.provisioned("cassandra")
    folder = tmp_path_factory.mktemp("cassandra")
    signed = certificates(folder / "certificates")
    keystore = folder / "keystore.pem"
    keystore.write_text(signed.key_file.read_text() + signed.cert_file.read_text())

    def command(instance: Instance) -> Command:
        made = cassandra_kind.command(instance)
        file = instance.folder / "cassandra.yaml"
        pem = {"class_name": "org.apache.cassandra.security.PEMBasedSslContextFactory"}
        tls = {"enabled": True, "keystore": str(keystore), "ssl_context_factory": pem}
        extra = {"client_encryption_options": tls, "authenticator": "PasswordAuthenticator"}
        file.write_text(json.dumps(json.loads(file.read_text()) | extra))
        return made

    kind = replace(cassandra_kind.KIND, command=command, answers=listens)
    backend = Backend(kind, kind.instance(folder / "node", free(kind), options={"heap": "512m"}))
    backend.start()
    try:
        yield (
            backend,
            CassandraSettings(
                (backend.address,),
                username=SUPERUSER,
                password=SUPERUSER,
                tls=Tls(signed.ca_file),
                request_timeout_s=3,
            ),
        )
    finally:
        backend.kill()


async def ready(settings: CassandraSettings) -> bool:
    """Whether it takes the password: the user is made a moment after the start."""
    try:
        await (await Database.connect(settings)).close()
    except (InvalidSettings, Unavailable):
        return False
    return True


@pytest.mark.timeout(300)
async def test_tls_and_a_password(
    private: tuple[Backend, CassandraSettings], tmp_path: Path
) -> None:
    _, settings = private
    await eventually(lambda: ready(settings), within_s=60, every_s=0.5)
    async with opened(settings) as history:
        await write(history, *(message(at(0, number)) for number in range(500)))
        page = await history.messages(CHAT, before=None, after=None, limit=500)
        assert len(page.events) == 500
    with pytest.raises(InvalidSettings, match="check the username and the password"):
        await CassandraHistory.open(replace(settings, password="guess"))
    stranger = Tls(certificates(tmp_path / "other").ca_file)
    with pytest.raises(InvalidSettings, match="check the CA file"):
        await CassandraHistory.open(replace(settings, tls=stranger))
    assert "password" not in repr(settings)


@pytest.mark.timeout(300)
async def test_nothing_is_lost_where_the_database_is_killed_and_comes_back(
    private: tuple[Backend, CassandraSettings],
) -> None:
    backend, settings = private
    await eventually(lambda: ready(settings), within_s=60, every_s=0.5)
    written: list[int] = []
    failed = asyncio.Event()

    async def load(history: CassandraHistory) -> None:
        for number in range(1_000_000):
            id_ = at(100, number)
            try:
                await write(history, message(id_))
            except Unavailable:
                failed.set()
                return
            written.append(id_)

    async with opened(settings) as history:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(load(history))
            await eventually(lambda: len(written) >= 50)
            await asyncio.to_thread(backend.kill)
            await asyncio.wait_for(failed.wait(), 120)
        with pytest.raises(Unavailable):
            await history.messages(CHAT, before=None, after=None, limit=1)
        await asyncio.to_thread(backend.start)

        async def back() -> bool:
            try:
                await write(history, message(at(200)))
            except Unavailable:
                return False
            return True

        await eventually(back, within_s=120, every_s=0.1)
        found = await history.messages(CHAT, before=None, after=at(99), limit=len(written) + 2)
    assert set(found.events) >= {b"event %d" % id_ for id_ in [*written, at(200)]}
