"""Files of a cluster of several processes on real backends and S3: any connect server does any part
of it, what is deleted goes, and chat goes on without the store.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from cecochat.adapters.s3.files import S3Files
from cecochat.auth.minting import mint
from cecochat.client import ChatError, Connecting, Message, connect
from cecochat.domain.log.ids import UserId
from cecochat.ports.files import owner_of
from tests.integration.clients import next_of
from tests.support.backends import Backends
from tests.support.eventually import eventually
from tests.support.processes import Processes, processes
from tests.support.s3 import SECRET, gateway

PICTURE = bytes(range(256)) * 4_000
COUNTS = {"control": 1, "messaging": 2, "materialize": 2, "history": 1, "connect": 2}


def device(cluster: Processes, user: str, number: int) -> Connecting:
    """A device that looks up at that connect server."""
    address = cluster.of("connect")[number].ready["address"]
    token = mint(cluster.secret_file.read_bytes(), user, 3_600)
    return connect(f"http://{address}", token)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_files_go_through_a_cluster(
    on_real: dict[str, str], tmp_path: Path, backends: Backends
) -> None:
    async with AsyncExitStack() as stack:
        stored = await stack.enter_async_context(AsyncExitStack())
        bucket = await stored.enter_async_context(gateway(tmp_path / "s3", backends))
        secret = tmp_path / "secret-key"
        secret.write_text(SECRET)
        secret.chmod(0o600)
        s3 = {
            "CECOCHAT_S3": bucket.url,
            "CECOCHAT_S3_ACCESS_KEY": bucket.access_key,
            "CECOCHAT_S3_SECRET_KEY_FILE": str(secret),
        }
        cluster = await stack.enter_async_context(processes(tmp_path, on_real | s3, COUNTS))
        alice = await stack.enter_async_context(device(cluster, "alice", 0))
        bob = await stack.enter_async_context(device(cluster, "bob", 1))
        files = await S3Files.open(replace(bucket, namespace=on_real["CECOCHAT_NAMESPACE"]))
        stack.push_async_callback(files.close)

        async def kept() -> int:
            return len(await files.of(owner_of(UserId("alice"))))

        sent = []
        for number in range(10):
            id_ = f"picture-{number}"
            file = await alice.files.upload("bob", PICTURE, client_message_id=id_, name="a.png")
            await alice.send("bob", "look", client_message_id=id_, attachments=[file])
            sent.append(await next_of(bob, Message))
        for got in sent:
            assert await bob.files.read(got, got.attachments[0]) == PICTURE
        victim = cluster.of("materialize")[0]
        await victim.kill()
        await alice.delete("bob", sent[0].id)
        await victim.start()

        async def one_is_gone() -> bool:
            return await kept() == len(sent) - 1

        await eventually(one_is_gone, within_s=60)
        await stored.aclose()
        with pytest.raises(ChatError):
            await alice.files.upload("bob", PICTURE, client_message_id="late", name="a.png")
        assert await alice.send("bob", "it is away")
        assert (await next_of(bob, Message)).text == "it is away"
