"""A system whose files are in S3: URLs lead there, and nothing else waits for it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from cecochat.adapters.s3.files import S3Files, S3Settings
from cecochat.client import Message
from cecochat.client.attachments import attachment_proto
from cecochat.domain.errors import InvalidSettings
from cecochat.v1.attachments_pb2 import GetDownloadRequest, GetDownloadResponse
from tests.integration.clients import device, next_of
from tests.integration.systems import running
from tests.integration.test_attachments import PICTURE, begin, call, refusal
from tests.support.backends import Backends
from tests.support.s3 import SECRET, gateway


def in_s3(folder: Path, bucket: S3Settings, **others: Any) -> dict[str, Any]:
    """The settings of a system with this bucket."""
    file = folder / "secret-key"
    file.write_text(SECRET)
    file.chmod(0o600)
    return {
        "s3": bucket.url,
        "s3_access_key": bucket.access_key,
        "s3_secret_key_file": file,
        **others,
    }


async def test_a_file_goes_to_s3_and_comes_from_there(tmp_path: Path, backends: Backends) -> None:
    async with (
        gateway(tmp_path / "s3", backends) as bucket,
        running(tmp_path / "data", **in_s3(tmp_path, bucket)) as up,
        device(up, "alice", listen=False) as alice,
        device(up, "bob") as bob,
    ):
        file = await alice.files.upload("bob", PICTURE, client_message_id="1", name="a cat.png")
        await alice.send("bob", "look", client_message_id="1", attachments=[file])
        got = await next_of(bob, Message)
        assert await bob.files.read(got, got.attachments[0]) == PICTURE
        request = GetDownloadRequest(
            chat_id=got.chat_id, message_id=got.id, attachment_id=attachment_proto(file).id
        )
        found = await call(up, "bob", "GetDownload", request, GetDownloadResponse)
        assert found.url.startswith(bucket.url)
        async with httpx.AsyncClient(timeout=30) as client:
            at_connect = await client.get(f"{up.addresses.connect}/files")
        assert at_connect.status_code == 404, "a connect server gives no files then"
        assert not (tmp_path / "data" / "files").exists()


async def test_while_s3_is_away_chat_goes_on(tmp_path: Path, backends: Backends) -> None:
    async with AsyncExitStack() as stack:
        stored = await stack.enter_async_context(AsyncExitStack())
        bucket = await stored.enter_async_context(gateway(tmp_path / "s3", backends))
        settings = in_s3(tmp_path, bucket)
        up = await stack.enter_async_context(running(tmp_path / "data", **settings))
        alice = await stack.enter_async_context(device(up, "alice", listen=False))
        await stored.aclose()
        assert await refusal(begin(up, "alice", b"hello")) == "unavailable"
        assert await alice.send("bob", "go on")
        assert [each.text for each in (await alice.history("bob")).messages] == ["go on"]


async def test_a_bucket_that_is_not_there_is_named(tmp_path: Path, backends: Backends) -> None:
    async with gateway(tmp_path / "s3", backends) as bucket:
        no_path = bucket.url.rpartition("/")[0]
        wrong = [replace(bucket, url=url) for url in (f"{bucket.url}-not", no_path, "s3://a/b")]
        wrong.append(replace(bucket, secret_key="another"))
        for settings in wrong:
            with pytest.raises(InvalidSettings, match="CECOCHAT_S3"):
                await S3Files.open(settings)
