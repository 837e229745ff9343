"""What a client is told of the traffic of others: how much, and never whose (SECURITY.md)."""

from __future__ import annotations

from pathlib import Path

from cecochat.domain.cluster.partitions import partition_of
from cecochat.domain.log.ids import partition_in
from tests.integration.streams import Stream, message
from tests.integration.systems import QUICK, running

PARTITIONS = 12
MESSAGES = 5
VICTIM, FRIEND = "victim", "friend"
CHAT = f"d:{FRIEND}~{VICTIM}"


def neighbour() -> str:
    """Somebody who may choose a user id, and so comes to stand beside the victim."""
    names = (f"eve-{number}" for number in range(10_000))
    beside = partition_of(VICTIM, PARTITIONS)
    return next(name for name in names if partition_of(name, PARTITIONS) == beside)


def told(eve: Stream) -> bytes:
    return b"".join(item.SerializeToString() for item in eve.items)


async def test_a_neighbour_learns_how_much_is_said_and_never_by_whom(tmp_path: Path) -> None:
    assert partition_of(FRIEND, PARTITIONS) != partition_of(VICTIM, PARTITIONS)
    async with running(tmp_path, QUICK, partitions=PARTITIONS) as system:
        eve_id = neighbour()
        async with system.stream(eve_id) as before:
            assert before.position
        async with system.stream(FRIEND) as friend, system.stream(VICTIM) as victim:
            await friend.send(*(message(f"m{n}", CHAT, "a secret") for n in range(MESSAGES)))
            acks = await friend.until_acks(MESSAGES)
            await victim.until_texts(MESSAGES)
        async with system.stream(eve_id) as after:
            assert after.position
            records = after.position.offset - before.position.offset
        senders = {partition_in(id_) for id_ in after.welcome.up_to.values()}
        last = acks[-1].ack.message_id

    assert records >= MESSAGES, "how much: every copy for the victim moves the place"
    assert after.welcome.up_to[partition_of(FRIEND, PARTITIONS)] == last, "when, to a millisecond"
    assert partition_of(FRIEND, PARTITIONS) in senders
    for stream in (before, after):
        for secret in (VICTIM, FRIEND, "a secret", CHAT):
            assert secret.encode() not in told(stream), "but never whose, and never what"
