"""The log of a partition does not say any more who belongs to a group: its owner learns it from the
group's home.
"""

from __future__ import annotations

from pathlib import Path

from cecochat.domain.cluster.partitions import partition_of
from cecochat.domain.groups.group import Group
from cecochat.domain.log.ids import ChatId, UserId, message_id
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import Copied, Origin, State, Takeover
from cecochat.ports.backplane import MESSAGES
from cecochat.v1.events_pb2 import Event, GroupOptions, Membership
from tests.integration.cluster import PARTITIONS, cluster, user_on
from tests.integration.streams import message
from tests.integration.test_handoff import until_owned
from tests.integration.test_where import written

US = ChatId("g:us")
HOME = partition_of(UserId(US), PARTITIONS)
AWAY = (HOME + 1) % PARTITIONS
ALICE, BOB = user_on(HOME, "alice"), user_on(AWAY, "bob")
FOUNDED = message_id(1 << 30, HOME)


def founding() -> Origin:
    """Alice founds the group with Bob."""
    wanted = Membership(options=GroupOptions(name="Us"), added_ids=[BOB])
    settled = Group(US).settle(UserId(ALICE), wanted, 10)
    event = Event(
        id=FOUNDED, user_id=ALICE, chat_id=US, client_message_id="founded", membership=settled
    )
    value = event.SerializeToString()
    origin = Origin(FOUNDED, Place(0, 0), 0, UserId(ALICE), "founded", (), value, event)
    origin.targets = origin.new_targets = (AWAY,)
    return origin


async def test_members_are_learned_from_the_home(tmp_path: Path) -> None:
    lost = State(
        as_of=0,
        epoch=Place(0, 0),
        count=0,
        top=0,
        high={HOME: Copied(Place(0, 1), FOUNDED)},
        groups=(),  # Bob is a member, but this knows of none
    )
    async with cluster(tmp_path, retention_bytes=0) as servers:
        await written(servers, Takeover("old", "s", 1), founding(), partition=HOME)
        await written(servers, Takeover("old", "s", 1), lost, partition=AWAY)
        backplane = servers.parts.backplane
        await backplane.release(MESSAGES, AWAY, 1)
        await backplane.trim()  # so that nothing is known but what the state record says
        await servers.assign("one")
        await servers.start("one")
        async with servers.stream("one", ALICE) as alice:
            async with servers.stream("one", BOB) as bob:
                await alice.send(message("one", US))
                await alice.until_acks(1)
                assert (await bob.ended()).code == "MOVED"
                assert not [each for each in bob.items if each.HasField("delivered")]
            await until_owned(servers, "one", AWAY)
            async with servers.stream("one", BOB, bob.position) as bob:
                assert [each for each in bob.items if each.HasField("gap")], "he reads the history"
                await alice.send(message("two", US))
                assert await bob.until_texts(1) == ["two"]
                await bob.send(message("three", US))
                await bob.until_acks(1)
