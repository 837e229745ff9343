"""The tables, and how they are created: by numbered migrations that only go forward."""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from cassandra import InvalidRequest
from cassandra.query import SimpleStatement

from cecochat.adapters.cassandra.copies import COPIES, check_copies
from cecochat.adapters.cassandra.database import Database, Rows
from cecochat.adapters.cassandra.settings import CassandraSettings
from cecochat.domain.errors import Unavailable

log = logging.getLogger(__name__)

STATEMENT_TIMEOUT_S: Final = 20.0  # for a change of the schema, until all nodes agree
LOCK_TTL_S: Final = 30  # longer than one statement, shorter than other servers wait to open
LOCK_RETRY_S: Final = 0.2


class Migration(NamedTuple):
    """Statements, which may run again after some of them have run. They only add, since servers of
    the previous version keep running. What no version uses any more is removed by a later
    migration.
    """

    version: int
    statements: tuple[str, ...]


MIGRATIONS: Final = (
    Migration(
        1,
        (
            # The windows of compaction are the buckets, so each bucket ends up in one file.
            """CREATE TABLE IF NOT EXISTS {keyspace}.messages_by_chat (
                chat_id text, bucket int, message_id bigint, user_id text, event blob,
                PRIMARY KEY ((chat_id, bucket), message_id))
                WITH CLUSTERING ORDER BY (message_id DESC)
                AND compaction = {{'class': 'TimeWindowCompactionStrategy',
                    'compaction_window_unit': 'DAYS', 'compaction_window_size': 10}}""",
            """CREATE TABLE IF NOT EXISTS {keyspace}.buckets_by_chat (
                chat_id text, bucket int,
                PRIMARY KEY (chat_id, bucket)) WITH CLUSTERING ORDER BY (bucket DESC)""",
            """CREATE TABLE IF NOT EXISTS {keyspace}.chats_by_user (
                user_id text, chat_id text, last_message_id bigint,
                PRIMARY KEY (user_id, chat_id))""",
            """CREATE TABLE IF NOT EXISTS {keyspace}.marks_by_chat (
                chat_id text, user_id text, delivered_up_to bigint, read_up_to bigint,
                PRIMARY KEY (chat_id, user_id))""",
            """CREATE TABLE IF NOT EXISTS {keyspace}.progress (
                log_id text, partition int, up_to bigint,
                PRIMARY KEY (log_id, partition))""",
        ),
    ),
    Migration(
        2,
        (
            # This replaces `progress`. It is small and read whole, so it is one partition.
            """CREATE TABLE IF NOT EXISTS {keyspace}.reached (
                shard int, partition int, log_id text, up_to blob, last_id bigint,
                PRIMARY KEY (shard, partition, log_id))""",
        ),
    ),
    Migration(
        3,
        (
            # This is one partition, too: there are no holes, or few.
            """CREATE TABLE IF NOT EXISTS {keyspace}.holes (
                shard int, partition int, log_id text, first_offset bigint, chat_id text,
                last_offset bigint, first_id bigint, last_id bigint, reason text, detail text,
                found_at_ms bigint, acknowledged_at_ms bigint, acknowledged_by text,
                user_id text, client_message_id text,
                PRIMARY KEY (shard, partition, first_offset, last_offset, first_id, log_id,
                    chat_id, reason))""",
        ),
    ),
    Migration(
        4,
        (
            # All changes of messages, in buckets by the ids of the changes.
            """CREATE TABLE IF NOT EXISTS {keyspace}.changes_by_chat (
                chat_id text, bucket int, change_id bigint, event blob,
                PRIMARY KEY ((chat_id, bucket), change_id))
                WITH CLUSTERING ORDER BY (change_id DESC)
                AND compaction = {{'class': 'TimeWindowCompactionStrategy',
                    'compaction_window_unit': 'DAYS', 'compaction_window_size': 10}}""",
            # Those that count, in buckets by the ids of the messages. `change` is the id and the
            # event.
            """CREATE TABLE IF NOT EXISTS {keyspace}.changes_by_message (
                chat_id text, bucket int, kind text, message_id bigint, key text, change blob,
                PRIMARY KEY ((chat_id, bucket), kind, message_id, key))""",
            """CREATE TABLE IF NOT EXISTS {keyspace}.changed_chats (
                chat_id text PRIMARY KEY, last_change_id bigint)""",
        ),
    ),
    Migration(
        5,
        (
            # One row for each person whom a change of a group names, in three orders.
            """CREATE TABLE IF NOT EXISTS {keyspace}.members_by_group (
                chat_id text, user_id text, event_id bigint, role int, is_invited boolean,
                PRIMARY KEY (chat_id, user_id, event_id))""",
            """CREATE TABLE IF NOT EXISTS {keyspace}.members_by_user (
                user_id text, chat_id text, event_id bigint, role int, is_invited boolean,
                PRIMARY KEY (user_id, chat_id, event_id))""",
            """CREATE TABLE IF NOT EXISTS {keyspace}.members_by_partition (
                partition int, shard int, chat_id text, user_id text, event_id bigint,
                role int, is_invited boolean,
                PRIMARY KEY ((partition, shard), chat_id, user_id, event_id))""",
            """CREATE TABLE IF NOT EXISTS {keyspace}.options_by_group (
                chat_id text, event_id bigint, options blob,
                PRIMARY KEY (chat_id, event_id)) WITH CLUSTERING ORDER BY (event_id DESC)""",
            """CREATE TABLE IF NOT EXISTS {keyspace}.groups_by_home (
                home int, chat_id text, PRIMARY KEY (home, chat_id))""",
        ),
    ),
    Migration(6, ("ALTER TABLE {keyspace}.marks_by_chat ADD IF NOT EXISTS settings blob",)),
    Migration(
        7,
        (
            # The ids of the users whom a text mentions, with spaces between them; of an edit, its
            # id comes first, as in `change`.
            "ALTER TABLE {keyspace}.messages_by_chat ADD IF NOT EXISTS mentioned text",
            "ALTER TABLE {keyspace}.changes_by_message ADD IF NOT EXISTS mentioned blob",
        ),
    ),
    Migration(
        8,
        (
            # What hook servers have told of users who are away.
            """CREATE TABLE IF NOT EXISTS {keyspace}.silences (
                reader text, log_partition int, user_id text, value blob,
                PRIMARY KEY ((reader, log_partition), user_id))""",
        ),
    ),
)

# If two nodes create a table at once, it gets two ids and is broken, so this one has a fixed id.
LOCK_TABLE: Final = """CREATE TABLE IF NOT EXISTS {keyspace}.schema_migrations (
    kind text, version int, holder text, since timestamp, PRIMARY KEY (kind, version))
    WITH id = {table_id}"""
APPLIED: Final = "SELECT version FROM {keyspace}.schema_migrations WHERE kind = 'applied'"
APPLY: Final = """INSERT INTO {keyspace}.schema_migrations (kind, version, holder, since)
    VALUES ('applied', %s, %s, toTimestamp(now())) IF NOT EXISTS"""
LOCK: Final = """INSERT INTO {keyspace}.schema_migrations (kind, version, holder, since)
    VALUES ('lock', 0, %s, toTimestamp(now())) IF NOT EXISTS USING TTL %s"""
KEEP: Final = """UPDATE {keyspace}.schema_migrations USING TTL %s
    SET holder = %s, since = toTimestamp(now())
    WHERE kind = 'lock' AND version = 0 IF holder = %s"""
UNLOCK: Final = """DELETE FROM {keyspace}.schema_migrations
    WHERE kind = 'lock' AND version = 0 IF holder = %s"""


async def migrate(
    database: Database, settings: CassandraSettings, migrations: Sequence[Migration] = MIGRATIONS
) -> None:
    """Bring the keyspace to the newest version that this code knows. Several servers may do so at
    once.

    A keyspace of a newer version is accepted, since migrations only add. Raises `Unavailable`, and
    `InvalidSettings` if it has fewer copies than it could have, or if reads may miss what was
    written.
    """
    schema = Schema(database, settings, migrations)
    if missing := await schema.missing():
        await schema.prepare()
    await schema.check_copies()
    if missing:
        await schema.bring_up()


class Schema:
    """The schema of one keyspace, as one server sees it."""

    def __init__(
        self,
        database: Database,
        settings: CassandraSettings,
        migrations: Sequence[Migration] = MIGRATIONS,
    ) -> None:
        self._database = database
        self._settings = settings
        self._migrations = migrations
        self._holder = uuid.uuid4().hex  # this server, as the holder of the lock

    async def missing(self) -> list[Migration]:
        """Return the migrations that have not been applied yet."""
        select = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = %s"
        tables = await self.run(select, self._settings.namespace)
        if ("schema_migrations",) not in tables:
            return list(self._migrations)
        try:
            applied = {version for (version,) in await self.run(APPLIED)}
        except InvalidRequest:  # another server is creating it: it is listed but not readable yet
            return list(self._migrations)
        if (newest := max(applied, default=0)) > self._migrations[-1].version:
            log.info(
                "the schema has version %s, which is newer than this code: that does no harm",
                newest,
            )
        return [each for each in self._migrations if each.version not in applied]

    async def prepare(self) -> None:
        """Create the keyspace, and the table that has the lock."""
        namespace, factor = self._settings.namespace, self._settings.replication_factor
        replication = {"class": "NetworkTopologyStrategy"} | {
            centre: str(factor or min(COPIES, nodes))
            for centre, nodes in self._database.nodes().items()
        }
        spaces = "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = %s"
        if not await self.run(spaces, namespace):
            create = "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = "
            await self.run(create + str(replication).replace("{", "{{").replace("}", "}}"))
        await self.run(LOCK_TABLE)

    async def check_copies(self) -> None:
        """Check the number of copies. Raises `InvalidSettings`."""
        select = "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = %s"
        ((replication,),) = await self.run(select, self._settings.namespace)
        copies = {name: int(value) for name, value in replication.items() if value.isdecimal()}
        check_copies(self._settings, copies, self._database.nodes())

    async def bring_up(self) -> None:
        """Apply the missing migrations, one server at a time."""
        while await self.missing():
            if await self._applied(LOCK, self._holder, LOCK_TTL_S):
                try:
                    await self._apply(await self.missing())
                finally:
                    await self._applied(UNLOCK, self._holder)
            else:
                await asyncio.sleep(LOCK_RETRY_S)

    async def _apply(self, migrations: list[Migration]) -> None:
        for migration in migrations:
            for statement in migration.statements:
                if not await self._applied(KEEP, LOCK_TTL_S, self._holder, self._holder):
                    raise Unavailable("this server has lost the lock of the schema: try again")
                await self.run(statement)
            await self._applied(APPLY, migration.version, self._holder)
            log.info(
                "the keyspace %s has version %s now", self._settings.namespace, migration.version
            )

    async def _applied(self, cql: str, *parameters: Any) -> bool:
        """Run a conditional statement, and return whether it was applied."""
        ((applied, *_),) = await self.run(cql, *parameters)
        return bool(applied)

    async def run(self, cql: str, *parameters: Any) -> Rows:
        """Run a statement on this keyspace."""
        namespace = self._settings.namespace
        table_id = uuid.uuid5(uuid.NAMESPACE_URL, f"cecochat:{namespace}.schema_migrations")
        statement = SimpleStatement(cql.format(keyspace=namespace, table_id=table_id))
        return await self._database.run(statement, parameters, timeout_s=STATEMENT_TIMEOUT_S)
