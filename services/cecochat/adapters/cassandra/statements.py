"""The prepared statements, and the times that message ids stand for.

Every write keeps the maximum of some values, or the first. Its timestamp makes sure of that, so
late and repeated writes change nothing.
"""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import time
from typing import Final, NamedTuple

from cassandra.query import PreparedStatement

from cecochat.adapters.cassandra.database import Database
from cecochat.domain.log.ids import time_ms

BUCKET_MS: Final = 10 * 24 * 3_600 * 1_000


class Statements(NamedTuple):
    """The prepared statements, in the order of `CQL`."""

    insert_message: PreparedStatement
    insert_bucket: PreparedStatement
    raise_chat: PreparedStatement
    raise_marks: PreparedStatement
    raise_progress: PreparedStatement
    raise_last_id: PreparedStatement
    messages_below: PreparedStatement
    messages_above: PreparedStatement
    said_above: PreparedStatement
    message: PreparedStatement
    buckets_down: PreparedStatement
    buckets_up: PreparedStatement
    chat_ids: PreparedStatement
    chats: PreparedStatement
    chats_by_id: PreparedStatement
    marks: PreparedStatement
    reached: PreparedStatement
    progress: PreparedStatement
    written: PreparedStatement
    touch_message: PreparedStatement
    put_hole: PreparedStatement
    acknowledge_hole: PreparedStatement
    delete_hole: PreparedStatement
    holes: PreparedStatement
    events_of: PreparedStatement
    buckets_of: PreparedStatement
    chats_of: PreparedStatement
    insert_change: PreparedStatement
    raise_standing: PreparedStatement
    raise_changed: PreparedStatement
    changes_above: PreparedStatement
    standing_of: PreparedStatement
    standing: PreparedStatement
    texts_changed: PreparedStatement
    changed: PreparedStatement
    change: PreparedStatement
    marks_in_group: PreparedStatement
    marks_of_user: PreparedStatement
    count_read: PreparedStatement
    insert_member: PreparedStatement
    insert_member_of_user: PreparedStatement
    insert_member_of_partition: PreparedStatement
    insert_options: PreparedStatement
    insert_group: PreparedStatement
    standings: PreparedStatement
    groups_of_user: PreparedStatement
    members: PreparedStatement
    members_in_partition: PreparedStatement
    options_at: PreparedStatement
    groups_in: PreparedStatement
    members_named: PreparedStatement
    members_named_of_user: PreparedStatement
    members_named_of_partition: PreparedStatement
    options_of: PreparedStatement
    group_in: PreparedStatement


CQL: Final = (
    """INSERT INTO {keyspace}.messages_by_chat
        (chat_id, bucket, message_id, user_id, event, mentioned)
        VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?""",
    "INSERT INTO {keyspace}.buckets_by_chat (chat_id, bucket) VALUES (?, ?) USING TIMESTAMP ?",
    """INSERT INTO {keyspace}.chats_by_user (user_id, chat_id, last_message_id)
        VALUES (?, ?, ?) USING TIMESTAMP ?""",
    """INSERT INTO {keyspace}.marks_by_chat
        (chat_id, user_id, delivered_up_to, read_up_to, settings)
        VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?""",
    """INSERT INTO {keyspace}.reached (shard, partition, log_id, up_to)
        VALUES (?, ?, ?, ?) USING TIMESTAMP 1""",
    """INSERT INTO {keyspace}.reached (shard, partition, log_id, last_id)
        VALUES (?, ?, ?, ?) USING TIMESTAMP 1""",
    """SELECT message_id, event FROM {keyspace}.messages_by_chat
        WHERE chat_id = ? AND bucket = ? AND message_id < ? LIMIT ?""",
    """SELECT message_id, event FROM {keyspace}.messages_by_chat
        WHERE chat_id = ? AND bucket = ? AND message_id > ? ORDER BY message_id ASC LIMIT ?""",
    """SELECT user_id, message_id, mentioned FROM {keyspace}.messages_by_chat
        WHERE chat_id = ? AND bucket = ? AND message_id > ? AND message_id < ? AND user_id > ''
        LIMIT ? ALLOW FILTERING""",  # of one partition; changes of a group have no user
    """SELECT event FROM {keyspace}.messages_by_chat
        WHERE chat_id = ? AND bucket = ? AND message_id = ?""",
    """SELECT bucket FROM {keyspace}.buckets_by_chat
        WHERE chat_id = ? AND bucket <= ? LIMIT ?""",
    """SELECT bucket FROM {keyspace}.buckets_by_chat
        WHERE chat_id = ? AND bucket >= ? ORDER BY bucket ASC LIMIT ?""",
    """SELECT DISTINCT chat_id, token(chat_id) FROM {keyspace}.buckets_by_chat
        WHERE token(chat_id) > ? LIMIT ?""",
    "SELECT chat_id, last_message_id FROM {keyspace}.chats_by_user WHERE user_id = ?",
    """SELECT chat_id, last_message_id FROM {keyspace}.chats_by_user
        WHERE user_id = ? AND chat_id > ? LIMIT ?""",
    """SELECT chat_id, user_id, delivered_up_to, read_up_to, settings
        FROM {keyspace}.marks_by_chat
        WHERE chat_id IN ?""",
    "SELECT partition, log_id, up_to, last_id FROM {keyspace}.reached WHERE shard = ?",
    "SELECT log_id, partition, up_to FROM {keyspace}.progress",
    """SELECT WRITETIME(event) FROM {keyspace}.messages_by_chat
        WHERE chat_id = ? AND bucket = ? AND message_id = ?""",
    # A write to a row that changes nothing, since it is older than whatever is there.
    """UPDATE {keyspace}.messages_by_chat USING TIMESTAMP 1 SET event = null
        WHERE chat_id = ? AND bucket = ? AND message_id = ?""",
    """INSERT INTO {keyspace}.holes (shard, log_id, partition, first_offset, last_offset, first_id,
        last_id, chat_id, reason, detail, found_at_ms, user_id, client_message_id)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
    """UPDATE {keyspace}.holes SET acknowledged_at_ms = ?, acknowledged_by = ?
        WHERE shard = ? AND log_id = ? AND partition = ? AND first_offset = ? AND last_offset = ?
        AND first_id = ? AND chat_id = ? AND reason = ?""",
    """DELETE FROM {keyspace}.holes
        WHERE shard = ? AND log_id = ? AND partition = ? AND first_offset = ? AND last_offset = ?
        AND first_id = ? AND chat_id = ? AND reason = ?""",
    """SELECT log_id, partition, first_offset, last_offset, first_id, last_id, chat_id, reason,
        detail, found_at_ms, acknowledged_at_ms, acknowledged_by, user_id, client_message_id
        FROM {keyspace}.holes WHERE shard = ?""",
    """SELECT message_id, event, mentioned FROM {keyspace}.messages_by_chat
        WHERE chat_id IN ? AND bucket = ? AND message_id IN ?""",
    "SELECT chat_id FROM {keyspace}.buckets_by_chat WHERE chat_id IN ? AND bucket = ?",
    """SELECT user_id, chat_id, last_message_id FROM {keyspace}.chats_by_user
        WHERE user_id IN ? AND chat_id IN ?""",
    """INSERT INTO {keyspace}.changes_by_chat (chat_id, bucket, change_id, event)
        VALUES (?, ?, ?, ?) USING TIMESTAMP ?""",
    """INSERT INTO {keyspace}.changes_by_message
        (chat_id, bucket, kind, message_id, key, change, mentioned)
        VALUES (?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?""",
    """INSERT INTO {keyspace}.changed_chats (chat_id, last_change_id)
        VALUES (?, ?) USING TIMESTAMP ?""",
    """SELECT change_id, event FROM {keyspace}.changes_by_chat
        WHERE chat_id = ? AND bucket = ? AND change_id > ? ORDER BY change_id ASC LIMIT ?""",
    """SELECT message_id, change FROM {keyspace}.changes_by_message
        WHERE chat_id = ? AND bucket = ? AND kind IN ? AND message_id IN ? LIMIT ?""",
    """SELECT change, mentioned FROM {keyspace}.changes_by_message
        WHERE chat_id = ? AND bucket = ? AND kind = ? AND message_id = ? AND key = ?""",
    """SELECT message_id, kind, key, mentioned FROM {keyspace}.changes_by_message
        WHERE chat_id = ? AND bucket = ? AND kind IN ('deletion', 'edit')
        AND message_id > ? AND message_id < ? LIMIT ?""",
    "SELECT chat_id, last_change_id FROM {keyspace}.changed_chats WHERE chat_id IN ?",
    """SELECT event FROM {keyspace}.changes_by_chat
        WHERE chat_id = ? AND bucket = ? AND change_id = ?""",
    """SELECT chat_id, user_id, delivered_up_to, read_up_to, settings
        FROM {keyspace}.marks_by_chat
        WHERE chat_id = ? LIMIT ?""",
    """SELECT chat_id, user_id, delivered_up_to, read_up_to, settings
        FROM {keyspace}.marks_by_chat
        WHERE chat_id IN ? AND user_id = ?""",
    # It looks at the marks of one group alone.
    """SELECT count(*) FROM {keyspace}.marks_by_chat
        WHERE chat_id = ? AND read_up_to >= ? ALLOW FILTERING""",
    """INSERT INTO {keyspace}.members_by_group (chat_id, user_id, event_id, role, is_invited)
        VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?""",
    """INSERT INTO {keyspace}.members_by_user (chat_id, user_id, event_id, role, is_invited)
        VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?""",
    """INSERT INTO {keyspace}.members_by_partition
        (partition, shard, chat_id, user_id, event_id, role, is_invited)
        VALUES (?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?""",
    """INSERT INTO {keyspace}.options_by_group (chat_id, event_id, options)
        VALUES (?, ?, ?) USING TIMESTAMP ?""",
    "INSERT INTO {keyspace}.groups_by_home (home, chat_id) VALUES (?, ?) USING TIMESTAMP ?",
    """SELECT event_id, role, is_invited FROM {keyspace}.members_by_group
        WHERE chat_id = ? AND user_id = ?""",
    """SELECT chat_id, event_id, role, is_invited FROM {keyspace}.members_by_user
        WHERE user_id = ?""",
    """SELECT user_id, event_id, role, is_invited FROM {keyspace}.members_by_group
        WHERE chat_id = ? AND (user_id, event_id) > (?, ?) LIMIT ?""",
    """SELECT chat_id, user_id, event_id, role, is_invited FROM {keyspace}.members_by_partition
        WHERE partition = ? AND shard = ? AND (chat_id, user_id, event_id) > (?, ?, ?) LIMIT ?""",
    """SELECT options FROM {keyspace}.options_by_group
        WHERE chat_id = ? AND event_id <= ? LIMIT 1""",
    "SELECT chat_id FROM {keyspace}.groups_by_home WHERE home = ? AND chat_id > ? LIMIT ?",
    """SELECT user_id, event_id, role, is_invited FROM {keyspace}.members_by_group
        WHERE chat_id = ? AND user_id IN ? AND event_id = ?""",
    """SELECT user_id, event_id, role, is_invited FROM {keyspace}.members_by_user
        WHERE chat_id = ? AND user_id IN ? AND event_id = ?""",
    """SELECT user_id, event_id, role, is_invited FROM {keyspace}.members_by_partition
        WHERE partition = ? AND shard = ? AND chat_id = ? AND user_id IN ? AND event_id = ?""",
    "SELECT options FROM {keyspace}.options_by_group WHERE chat_id = ? AND event_id = ?",
    "SELECT chat_id FROM {keyspace}.groups_by_home WHERE home = ? AND chat_id = ?",
)

LOWEST_US: Final = 1
"""The timestamp of values that only grow: if timestamps are equal, the greater value wins."""


async def prepared(database: Database, namespace: str) -> Statements:
    """Prepare all statements. Raises `Unavailable`."""
    return Statements(*await database.prepare(each.format(keyspace=namespace) for each in CQL))


def bucket_of(message_id: int) -> int:
    """Return the bucket of a message: the number of ten days since 1970. Time-window compaction has
    the same windows.
    """
    return time_ms(message_id) // BUCKET_MS


def greatest_us(message_id: int) -> int:
    """Return the timestamp, in us, with which the greatest id wins: its time. Ids of one
    millisecond have the same timestamp, and then the greater value wins.
    """
    return time_ms(message_id) * 1_000


def first_us(message_id: int) -> int:
    """Return the timestamp, in us, with which the first write of an id wins: the time of the id,
    minus how late this write is.
    """
    return 2 * greatest_us(message_id) - time.time_ns() // 1_000


def written_us(message_id: int, timestamp_us: int) -> int:
    """Return when a row was written, in us since 1970, given its timestamp. `first_us` has made the
    timestamp, unless the row was restored: then it is the time itself.
    """
    greatest = greatest_us(message_id)
    restored = greatest < timestamp_us <= time.time_ns() // 1_000
    return timestamp_us if restored else 2 * greatest - timestamp_us
