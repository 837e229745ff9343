"""Reading a log of which retention has left little."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from cecochat.adapters.embedded.backplane import EmbeddedBackplane
from cecochat.domain.errors import Trimmed
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import Copied, State, Takeover, encode
from cecochat.ports.backplane import MESSAGES, Log, NewRecord
from cecochat.ports.reading import first_known, fold_at
from cecochat.servers.messaging.host import Host
from cecochat.servers.messaging.loading import Loading
from cecochat.servers.messaging.metrics import MessagingMetrics
from cecochat.v1.events_pb2 import ROLE_OWNER, Appointment
from cecochat.v1.log_pb2 import GroupMembers

TAKEOVER = NewRecord(0, *encode(Takeover("server", "session", 1)))


async def open_log(folder: Path) -> EmbeddedBackplane:
    return await EmbeddedBackplane.open(folder, partition_count=1, retention_bytes=0)


async def test_where_nothing_is_left_the_fold_is_empty(tmp_path: Path) -> None:
    log = await open_log(tmp_path)
    await (await log.producer()).append([TAKEOVER] * 5)
    await log.release(MESSAGES, 0, 5)
    await log.trim()
    assert await log.bounds(MESSAGES, 0) == (5, 5)
    position = await first_known(log, 0)
    assert position == 4
    fold = await fold_at(log, 0, position)
    assert fold.state(position) == Fold().state(position)
    await log.close()


async def test_a_state_record_alone_is_enough(tmp_path: Path) -> None:
    log = await open_log(tmp_path)
    state = State(
        as_of=4,
        epoch=Place(2_000, 3),
        count=1,
        top=7,
        high={2: Copied(Place(3_000, 9), 1)},
        clock_ms=4_000,
        groups=(),
    )
    producer = await log.producer()
    await producer.append([*[TAKEOVER] * 5, NewRecord(0, *encode(state))])
    await log.release(MESSAGES, 0, 5)
    await log.trim()
    position = await first_known(log, 0)
    assert position == 4
    assert (await fold_at(log, 0, position)).state(4) == replace(state, groups=None)
    await log.close()


async def test_who_serves_users_begins_where_all_of_groups_is_said(tmp_path: Path) -> None:
    """In two parts, between records that do not say it."""
    log = await open_log(tmp_path)
    lacks = State(as_of=4, epoch=Place(5_000, 4), count=0, top=0, high={})
    ours, theirs = (
        GroupMembers(chat_id=f"g:{name}", members=[Appointment(user_id="ann", role=ROLE_OWNER)])
        for name in ("ours", "theirs")
    )
    first = replace(lacks, as_of=5, groups=(ours,), part=0, part_count=2)
    second = replace(first, groups=(theirs,), part=1)
    producer = await log.producer()
    said = [NewRecord(0, *encode(each)) for each in (lacks, first, second, replace(lacks, as_of=8))]
    await producer.append([*[TAKEOVER] * 5, *said])
    await log.release(MESSAGES, 0, 5)
    await log.trim()
    assert await first_known(log, 0) == 5
    fold = await fold_at(log, 0, 8, lambda _: 0)
    assert fold.groups
    assert fold.groups.at_home.keys() == {"g:ours", "g:theirs"}
    with pytest.raises(Trimmed):
        await fold_at(log, 0, 4, lambda _: 0)
    assert (await fold_at(log, 0, 4)).state(4) == lacks
    await log.close()


async def test_what_was_known_of_a_partition_without_a_state_record_is_looked_up_again(
    tmp_path: Path,
) -> None:
    log = await open_log(tmp_path)
    producer = await log.producer()
    await producer.append([TAKEOVER] * 5)
    await log.release(MESSAGES, 0, 5)
    await log.trim()
    metrics = MessagingMetrics(CollectorRegistry())
    loading = Loading(Host("one", Log(log, "log", 1), metrics), 0)
    assert await loading.first_known(5) == 4
    state = State(as_of=9, epoch=Place(5_000, 9), count=0, top=0, high={}, groups=())
    await producer.append([*[TAKEOVER] * 5, NewRecord(0, *encode(state))])
    with pytest.raises(Trimmed):
        await fold_at(log, 0, 6)
    loading.look_again()
    assert await loading.first_known(5) == 9
    await log.close()
