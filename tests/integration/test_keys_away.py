"""While the store of keys does not answer, nothing is lost and nothing is written unsealed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from pathlib import Path

from cecochat.domain.log.ids import UserId, dialog
from cecochat.sealing.keyring import KeyRing
from tests.integration import streams
from tests.integration.cluster import Cluster, cluster, user_on
from tests.integration.streams import message
from tests.support.left import places_of
from tests.support.silentkeys import SilentKeys

ALICE, BOB, CAROL = (user_on(0, name) for name in ("alice", "bob", "carol"))
CHAT = dialog(UserId(ALICE), UserId(BOB))


@asynccontextmanager
async def one_server(folder: Path) -> AsyncIterator[tuple[Cluster, SilentKeys, KeyRing]]:
    async with cluster(folder) as servers:
        keys = await SilentKeys.open(servers.parts.settings.data_dir)
        assert isinstance(keys, SilentKeys)
        servers.stack.push_async_callback(keys.close)
        ring = servers.parts.keys
        assert ring
        await ring.start()
        ring._keys = keys
        await servers.assign("one")
        await servers.start("one")
        yield servers, keys, ring


async def test_who_is_known_goes_on_and_others_come_back(tmp_path: Path) -> None:
    async with one_server(tmp_path) as (servers, keys, ring):
        async with servers.stream("one", ALICE) as alice, servers.stream("one", BOB) as bob:
            position = deepcopy(bob.position)
            keys.is_silent = True
            await alice.send(message("1", CHAT, "quicksilver"))
            assert await bob.until_texts(1) == ["quicksilver"]
            address = servers.servers["one"].address
            async with streams.opened(address, servers.token(CAROL)) as carol:
                await carol.hello()
                assert (await carol.ended()).code == "UNAVAILABLE"

            ring.forget()  # as after a revocation
            await alice.send(message("2", CHAT, "salamander"))
            await alice.until_acks(2)
            assert (await bob.ended()).code == "UNAVAILABLE"
            plain = places_of([b"quicksilver", b"salamander"], tmp_path)
            assert [each for each in plain if "search.db" not in each] == []
            keys.is_silent = False
        async with servers.stream("one", BOB, position) as again:
            assert await again.until_texts(2) == ["quicksilver", "salamander"]
        async with servers.stream("one", CAROL):
            pass
