"""Kafka by TLS, with a password."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from cecochat.adapters.kafka.backplane import KafkaBackplane
from cecochat.adapters.kafka.settings import KafkaSettings
from cecochat.domain.errors import InvalidSettings, Unavailable
from cecochat.settings.tls import Tls
from scripts.backends import kafka as kafka_kind
from scripts.backends import ports
from scripts.backends.instance import Command, Instance, Kind
from tests.contract.openers import PARTITIONS, Place
from tests.contract.private import private
from tests.support.backplane import Workers, append, new, read, values
from tests.support.certificates import Signed, certificates


def secured(server: Signed, port: int) -> Kind:
    """Kafka with one more listener, which takes a user's password over TLS alone."""
    users = "org.apache.kafka.common.security.plain.PlainLoginModule required"

    def command(instance: Instance) -> Command:
        command = kafka_kind.command(instance)
        pem = instance.folder / "server.pem"
        pem.write_bytes(server.key_file.read_bytes() + server.cert_file.read_bytes())
        listeners = f"CLIENTS://{instance.at('clients')},SECURE://127.0.0.1:{port}"
        added = {
            "listeners": f"{listeners},CONTROLLER://{instance.at('controller')}",
            "advertised.listeners": listeners,
            "listener.security.protocol.map": (
                "CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL"
            ),
            "listener.name.secure.ssl.keystore.type": "PEM",
            "listener.name.secure.ssl.keystore.location": pem,
            "listener.name.secure.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.secure.plain.sasl.jaas.config": f'{users} user_chat="s3cret";',
        }
        with (instance.folder / "server.properties").open("a") as properties:
            properties.writelines(f"{key}={value}\n" for key, value in added.items())
        return command

    return replace(kafka_kind.KIND, command=command)


@pytest.mark.timeout(420)
async def test_tls_and_a_password(place: Place, tmp_path: Path, stack: AsyncExitStack) -> None:
    signed = certificates(tmp_path / "ours")
    port = ports.free(kafka_kind.KIND)["clients"]
    kind = secured(signed, port)
    await stack.enter_async_context(private(kind, place.folder / "kafka", place.backends))
    secure = KafkaSettings(
        f"127.0.0.1:{port}",
        partition_count=PARTITIONS,
        tls=Tls(signed.ca_file),
        mechanism="PLAIN",
        username="chat",
        password="s3cret",
        timeout_s=5,
    )
    log = await KafkaBackplane.open(secure)
    stack.push_async_callback(log.close)
    await append(log, [new(1)])
    assert values(await read(log, 1)) == [1]
    workers = Workers()
    async with asyncio.TaskGroup() as tasks:
        member = tasks.create_task(workers.member(log, "one"))
        await workers.until(PARTITIONS)
        member.cancel()
    assert "s3cret" not in repr(secure)
    other = Tls(certificates(tmp_path / "other").ca_file)
    for refused in (replace(secure, tls=other), replace(secure, password="wrong")):
        with pytest.raises(Unavailable):
            await KafkaBackplane.open(refused)
    with pytest.raises(InvalidSettings, match="has no password"):
        await KafkaBackplane.open(replace(secure, password=None))
