"""Dead letters on both logs: what does not fit is cut, and never tried for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from cecochat.adapters.kafka.topics import RECORD_BYTES_MAX
from cecochat.domain.ids import UserId, dialog
from cecochat.domain.letters import BYTES_MAX
from cecochat.history.letters import Letters
from cecochat.ports.backplane import NewRecord
from tests.integration.cluster import PARTITIONS, cluster, user_on
from tests.integration.streams import message
from tests.support.eventually import eventually

ALICE, BOB = user_on(0), user_on(1)
CHAT = dialog(UserId(ALICE), UserId(BOB))
LARGE = RECORD_BYTES_MAX - 200
"""As large as the topic takes: with the reason it is larger than that."""


@pytest.mark.timeout(120)
async def test_a_letter_that_does_not_fit_is_cut(tmp_path: Path, kafka: str) -> None:
    async with cluster(tmp_path, kafka) as servers:
        log, history = servers.parts.backplane, servers.parts.history
        assert history
        letters = Letters(log, history, await log.log_id(), PARTITIONS)
        await servers.assign("one")
        await servers.start("one")
        producer = await log.producer()
        await producer.append([NewRecord(0, b"", bytes(LARGE), ())])

        async def buried() -> bool:
            return bool(await letters.all())

        await eventually(buried)
        (letter,) = await letters.all()
        assert (letter["kind"], letter["state"]) == ("undecodable", "kept")
        assert (letter["bytes"], letter["cut_bytes"]) == (LARGE, LARGE - BYTES_MAX)
        async with servers.stream("one", ALICE) as alice:
            await alice.send(message("after", CHAT))
            await alice.until_acks(1)

        async def stored() -> bool:
            assert history
            return bool((await history.messages(CHAT, before=None, after=0, limit=1)).events)

        await eventually(stored)
