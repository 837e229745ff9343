"""Our own gRPC and HTTP over TLS, with certificates that the test makes."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from cecochat.client import Client, Message, NotReachable, connect, find_route, open_history
from cecochat.domain.errors import InvalidSettings
from tests.integration.systems import running
from tests.support.certificates import Signed, certificates
from tests.support.eventually import eventually

WITHIN_S = 30.0


@pytest.fixture
def signed(tmp_path: Path) -> Signed:
    return certificates(tmp_path / "certificates")


async def test_a_chat_over_tls(tmp_path: Path, signed: Signed) -> None:
    async with running(
        tmp_path / "data", tls_cert_file=signed.cert_file, tls_key_file=signed.key_file
    ) as up:
        url = up.addresses.connect
        assert url.startswith("https://")
        async with (
            connect(url, up.token("bob"), ca_file=signed.ca_file) as bob,
            connect(url, up.token("alice"), ca_file=signed.ca_file) as alice,
        ):
            message_id = await alice.send("bob", "over TLS")
            heard = await first_message(bob)
            assert (heard.id, heard.text) == (message_id, "over TLS")
        async with open_history(url, up.token("bob"), ca_file=signed.ca_file) as history:

            async def listed() -> bool:
                return [each.last_message.text for each in await history.chats()] == ["over TLS"]

            await eventually(listed, WITHIN_S)
        await check_the_command_line(up.addresses.connect, up.token("bob"), signed)


async def test_a_certificate_with_its_key_in_one_file(tmp_path: Path, signed: Signed) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(signed.cert_file.read_bytes() + signed.key_file.read_bytes())
    async with running(tmp_path / "data", tls_cert_file=both) as up:
        url = up.addresses.connect
        async with connect(url, up.token("alice"), ca_file=signed.ca_file) as alice:
            await alice.send("bob", "over TLS")


async def first_message(client: Client) -> Message:
    async with asyncio.timeout(WITHIN_S):
        async for event in client:
            if isinstance(event, Message):
                return event
    raise AssertionError("the events ended")


async def check_the_command_line(url: str, token: str, signed: Signed) -> None:
    """With the certificate authority in the variable that every program looks for."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cecochat", "history", "alice", "--connect", url),
        env={"SSL_CERT_FILE": str(signed.ca_file), "CECOCHAT_TOKEN": token},
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    assert b"over TLS" in said


async def test_who_is_not_trusted_is_not_talked_to(tmp_path: Path, signed: Signed) -> None:
    other = certificates(tmp_path / "others")
    async with running(
        tmp_path / "data", tls_cert_file=signed.cert_file, tls_key_file=signed.key_file
    ) as up:
        with pytest.raises(NotReachable, match="certificate verify failed"):
            await find_route(up.addresses.connect, up.token("bob"), ca_file=other.ca_file)
        with pytest.raises(NotReachable):
            await find_route(up.addresses.connect.replace("https", "http"), up.token("bob"))


async def test_a_certificate_that_cannot_be_used_stops_the_start(
    tmp_path: Path, signed: Signed
) -> None:
    up = running(tmp_path / "data", tls_cert_file=signed.cert_file, tls_key_file=tmp_path / "none")
    with pytest.raises(ExceptionGroup) as raised:
        await up.__aenter__()
    found = raised.value.subgroup(InvalidSettings)
    assert found
    assert "cannot be used" in str(found.exceptions)
