"""Where a message of a group is: for its members, in a log that is written by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from cecochat.domain.cluster.partitions import partition_of
from cecochat.domain.log.ids import ChatId, UserId
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import Copy, Origin, Takeover
from cecochat.ports.history import MessageRow
from cecochat.v1.events_pb2 import Event, GroupOptions, Membership
from tests.integration.cluster import Cluster, cluster, user_on
from tests.integration.test_where import asked, find, until, written
from tests.support.groups import GroupWorld

PARTITIONS = 4
US = ChatId("g:us")
HOME = partition_of(UserId(US), PARTITIONS)
ALICE, CAROL, DAN = (user_on(HOME, name) for name in ("alice", "carol", "dan"))
BOB = user_on((HOME + 1) % PARTITIONS, "bob")


@pytest.fixture
def group() -> GroupWorld:
    """Alice and Bob are there, and later Carol, too; what was said before is not shown to her."""
    at = {user: partition_of(UserId(user), PARTITIONS) for user in (ALICE, BOB, CAROL)}
    made = GroupWorld(US, HOME, at)
    options = GroupOptions(name="Us", hides_past=True)
    made.change(ALICE, Membership(options=options, added_ids=[BOB]))
    made.say(ALICE)
    made.change(ALICE, Membership(added_ids=[CAROL]))
    return made


def origin(number: int, row: MessageRow) -> Origin:
    event = Event.FromString(row.event)
    return Origin(
        event.id, Place(0, 0), number, row.user_id, "", row.recipient_ids, row.event, event
    )


@pytest.fixture
async def servers(tmp_path: Path, group: GroupWorld) -> AsyncIterator[Cluster]:
    """Without messaging servers. The message has a copy in Bob's partition."""
    said = group.rows[1]
    async with cluster(tmp_path) as started:
        origins = [origin(number, row) for number, row in enumerate(group.rows)]
        await written(started, Takeover("one", "s", 1), *origins, partition=HOME)
        copy = Copy(said.message_id, HOME, Place(0, 2), NOWHERE, (UserId(US),), said.event)
        takeover = Takeover("two", "s", 1)
        await written(started, takeover, copy, partition=group.partition_of[BOB])
        yield started


async def test_an_operator_is_told_of_the_partitions_where_members_live(
    servers: Cluster, group: GroupWorld
) -> None:
    said = group.rows[1].message_id
    steps = await until(servers, said, "on_its_way", f"delivered to {BOB}")
    assert steps["accepted"]["facts"]["partition"] == HOME
    assert steps["forwarded"]["facts"]["users"] == [BOB]
    assert steps["materialized"]["state"] == "done"
    found = await asked(servers, said)
    assert [step["subject"] for step in found["steps"] if step["name"] == "delivered"] == [
        f"to {BOB}"
    ]


async def test_members_are_answered_and_nobody_else(servers: Cluster, group: GroupWorld) -> None:
    said = group.rows[1].message_id
    await until(servers, said, "on_its_way", f"delivered to {BOB}")
    of_bob = await find(servers, BOB, said)
    assert [step.subject for step in of_bob.steps if step.name == "delivered"] == [f"to {BOB}"]
    assert (await find(servers, BOB, said, US)).steps == of_bob.steps
    of_alice = await find(servers, ALICE, said)
    assert [step.name for step in of_alice.steps] == ["accepted", "acknowledged", "materialized"]
    for user, chat in ((CAROL, ""), (CAROL, US), (DAN, ""), (DAN, US), (US, "")):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await find(servers, user, said, chat)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND, (user, chat)
