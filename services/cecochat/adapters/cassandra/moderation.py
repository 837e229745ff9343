"""Reports, the audit log and blocks, in a keyspace of their own.

A report is one row, and what changes it is conditional. Rows that find it by its state are written
before it changes and removed afterwards, so they may say too much, and whoever reads them looks at
the report: it is never missing, whatever died meanwhile.
"""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable
from typing import Final

from cassandra import ConsistencyLevel
from typing_extensions import override

from cecochat.adapters.cassandra.database import Rows
from cecochat.adapters.cassandra.keyspace import Keyspace
from cecochat.adapters.cassandra.schema import Migration
from cecochat.adapters.cassandra.settings import CassandraSettings
from cecochat.domain.log.ids import UserId
from cecochat.domain.moderation.acts import Act, time_ms
from cecochat.domain.moderation.reports import Report, State, act_of, has_passed
from cecochat.ports.moderation import (
    BLOCKERS_MAX,
    Acts,
    Block,
    Blockers,
    Blocks,
    Forgotten,
    Moderation,
    Paged,
    Reports,
    report_of,
    row_of,
)

SUFFIX: Final = "_mod"
BUCKET_MS: Final = 30 * 24 * 3_600_000
ACTS: Final = "acts"  # the kind of their buckets; those of reports are of their state
ABOVE_ALL: Final = "~"  # of the ids of acts
READ_AT_ONCE: Final = 100
FORGOTTEN_AT_ONCE: Final = 20

MIGRATIONS: Final = (
    Migration(
        1,
        (
            # What a conditional write leaves in `system.paxos` lives as long as
            # `gc_grace_seconds`, and a text may be among it.
            """CREATE TABLE IF NOT EXISTS {keyspace}.reports (
                report_id text PRIMARY KEY, reporter_id text, user_id text, chat_id text,
                message_id bigint, reason text, text blob, at_ms bigint, state text,
                moderator text, via text, changed_at_ms bigint, decision text, note text,
                version int) WITH gc_grace_seconds = 86400""",
            # A removed row that comes back does no harm, so its tombstone may go soon.
            """CREATE TABLE IF NOT EXISTS {keyspace}.reports_by_state (
                state text, bucket int, at_ms bigint, report_id text,
                PRIMARY KEY ((state, bucket), at_ms, report_id)) WITH gc_grace_seconds = 3600""",
            """CREATE TABLE IF NOT EXISTS {keyspace}.reports_by_reporter (
                reporter_id text, report_id text, PRIMARY KEY (reporter_id, report_id))""",
            """CREATE TABLE IF NOT EXISTS {keyspace}.acts (
                bucket int, act_id text, at_ms bigint, moderator text, via text, what text,
                detail text, reason text, user_id text, chat_id text, message_id bigint,
                report_id text,
                PRIMARY KEY (bucket, act_id)) WITH CLUSTERING ORDER BY (act_id DESC)""",
            """CREATE TABLE IF NOT EXISTS {keyspace}.buckets (
                kind text, bucket int, PRIMARY KEY (kind, bucket))""",
            """CREATE TABLE IF NOT EXISTS {keyspace}.blocks_by_user (
                user_id text, blocked_id text, at_ms bigint, PRIMARY KEY (user_id, blocked_id))""",
            """CREATE TABLE IF NOT EXISTS {keyspace}.blocks_by_blocked (
                blocked_id text, user_id text, PRIMARY KEY (blocked_id, user_id))""",
        ),
    ),
)
CQL: Final = {
    "put": """INSERT INTO {keyspace}.reports (report_id, reporter_id, user_id, chat_id,
        message_id, reason, text, at_ms, state, moderator, via, changed_at_ms, decision, note,
        version) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) IF NOT EXISTS""",
    "get": """SELECT report_id, reporter_id, user_id, chat_id, message_id, reason, text, at_ms,
        state, moderator, via, changed_at_ms, decision, note, version
        FROM {keyspace}.reports WHERE report_id IN ?""",
    "change": """UPDATE {keyspace}.reports SET state = ?, moderator = ?, via = ?,
        changed_at_ms = ?, decision = ?, note = ?, version = ? WHERE report_id = ?
        IF version = ?""",
    "empty": "UPDATE {keyspace}.reports SET text = ? WHERE report_id = ? IF EXISTS",
    "index": """INSERT INTO {keyspace}.reports_by_state (state, bucket, at_ms, report_id)
        VALUES (?, ?, ?, ?)""",
    "unindex": """DELETE FROM {keyspace}.reports_by_state
        WHERE state = ? AND bucket = ? AND at_ms = ? AND report_id = ?""",
    "indexed": """SELECT at_ms, report_id FROM {keyspace}.reports_by_state
        WHERE state = ? AND bucket = ? AND (at_ms, report_id) > (?, ?) LIMIT ?""",
    "note": "INSERT INTO {keyspace}.reports_by_reporter (reporter_id, report_id) VALUES (?, ?)",
    "noted": "SELECT report_id FROM {keyspace}.reports_by_reporter WHERE reporter_id = ?",
    "add_bucket": "INSERT INTO {keyspace}.buckets (kind, bucket) VALUES (?, ?)",
    "buckets": "SELECT bucket FROM {keyspace}.buckets WHERE kind = ?",
    "append": """INSERT INTO {keyspace}.acts (bucket, act_id, at_ms, moderator, via, what, detail,
        reason, user_id, chat_id, message_id, report_id)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
    "acts": """SELECT act_id, at_ms, moderator, via, what, detail, reason, user_id, chat_id,
        message_id, report_id FROM {keyspace}.acts WHERE bucket = ? AND act_id < ? LIMIT ?""",
    "block": "INSERT INTO {keyspace}.blocks_by_user (user_id, blocked_id, at_ms) VALUES (?, ?, ?)",
    "block_back": "INSERT INTO {keyspace}.blocks_by_blocked (blocked_id, user_id) VALUES (?, ?)",
    "unblock": "DELETE FROM {keyspace}.blocks_by_user WHERE user_id = ? AND blocked_id = ?",
    "unblock_back": "DELETE FROM {keyspace}.blocks_by_blocked WHERE blocked_id = ? AND user_id = ?",
    "has": "SELECT at_ms FROM {keyspace}.blocks_by_user WHERE user_id = ? AND blocked_id = ?",
    "of": """SELECT user_id, blocked_id, at_ms FROM {keyspace}.blocks_by_user
        WHERE user_id = ? AND blocked_id > ? LIMIT ?""",
    "all_of": "SELECT blocked_id FROM {keyspace}.blocks_by_user WHERE user_id = ?",
    "blockers": "SELECT user_id FROM {keyspace}.blocks_by_blocked WHERE blocked_id = ? LIMIT ?",
}


class CassandraActs(Acts):
    """The audit log, in buckets of 30 days."""

    def __init__(self, keyspace: Keyspace) -> None:
        self._keyspace = keyspace
        self._run = keyspace.run

    @override
    async def append(self, act: Act) -> None:
        bucket = _bucket(time_ms(act.id))
        await self._run("add_bucket", ACTS, bucket)
        await self._run("append", bucket, *act)

    @override
    async def page(self, *, before: str, limit: int) -> Paged[Act]:
        rows: Rows = []
        for bucket in sorted(await _buckets(self._keyspace, ACTS), reverse=True):
            if len(rows) <= limit and (not before or bucket <= _bucket(time_ms(before))):
                most = limit + 1 - len(rows)
                rows += await self._run("acts", bucket, before or ABOVE_ALL, most)
        return Paged([Act(*row) for row in rows[:limit]], len(rows) > limit)


class CassandraReports(Reports):
    """Reports, found by their ids, reporters and states."""

    def __init__(self, keyspace: Keyspace, acts: Acts) -> None:
        self._keyspace = keyspace
        self._run = keyspace.run
        self._acts = acts

    @override
    async def put(self, report: Report) -> Report:
        if found := await self.get(report.id):
            return found
        await self._run("note", report.reporter_id, report.id)
        await self._index(report)
        await self._run("put", *row_of(report))
        return (await self._read([report.id], ConsistencyLevel.SERIAL))[report.id]

    @override
    async def get(self, report_id: str) -> Report | None:
        return (await self._read([report_id])).get(report_id)

    @override
    async def change(self, report: Report) -> Report | None:
        before = (await self._read([report.id], ConsistencyLevel.SERIAL)).get(report.id)
        if before is None or report.version != before.version + 1:
            return before
        if before.version:
            await self._acts.append(act_of(before))
        await self._index(report)
        await self._run("change", *report[6:], report.id, before.version)
        stands = (await self._read([report.id], ConsistencyLevel.SERIAL))[report.id]
        if stands[6:] == report[6:]:
            await self._settle(before.state, stands)
        return stands

    async def _index(self, report: Report) -> None:
        await self._run("add_bucket", report.state, _bucket(report.at_ms))
        await self._run("index", *_place(report.state, report.at_ms, report.id))

    async def _settle(self, left: State, report: Report) -> None:
        """Do what comes after a change, from the state `left`."""
        await self._acts.append(act_of(report))
        if has_passed(report, left):
            await self._run("unindex", *_place(left, report.at_ms, report.id))

    async def _read(self, ids: Iterable[str], at: int | None = None) -> dict[str, Report]:
        rows = await self._run("get", list(ids), at=at)
        return {row[0]: report_of(row) for row in rows}

    @override
    async def page(self, state: State, *, after: str, limit: int) -> Paged[Report]:
        last = await self.get(after) if after else None
        place = (last.at_ms, last.id) if last else (0, "")
        found: list[Report] = []
        async for report in self._in_state(state, place):
            found.append(report)
            if len(found) > limit:
                break
        return Paged(found[:limit], len(found) > limit)

    async def _in_state(self, state: State, place: tuple[int, str]) -> AsyncIterator[Report]:
        first = _bucket(place[0])
        for bucket in sorted(await _buckets(self._keyspace, state)):
            has_more = bucket >= first
            while has_more:
                rows = await self._run("indexed", state, bucket, *place, READ_AT_ONCE)
                for report in await self._standing(state, rows):
                    yield report
                if has_more := len(rows) == READ_AT_ONCE:
                    place = rows[-1]

    async def _standing(self, state: State, rows: Rows) -> list[Report]:
        """Return the reports of these rows that are in the state, and tidy up after whoever died
        when one had just left it.
        """
        reports = await self._read(id_ for _, id_ in rows)
        standing = []
        for at_ms, id_ in rows:
            report = reports.get(id_)  # None: whoever was about to put it has died, or is at it
            if report and report.at_ms != at_ms:  # another one of the same report won
                await self._run("unindex", *_place(state, at_ms, id_))
            elif report and has_passed(report, state):
                await self._settle(state, report)
            elif report and report.state == state:
                standing.append(report)
        return standing

    @override
    async def of_reporter(self, user_id: UserId) -> list[Report]:
        ids = sorted(id_ for (id_,) in await self._run("noted", user_id))
        found: dict[str, Report] = {}
        for start in range(0, len(ids), READ_AT_ONCE):
            found |= await self._read(ids[start : start + READ_AT_ONCE])
        return [found[id_] for id_ in ids if id_ in found]

    async def forget(self, user_id: UserId) -> int:
        """Empty the texts of a user's reports, and return how many there were."""
        texts = [each.id for each in await self.of_reporter(user_id) if each.text]
        for id_ in texts:
            await self._run("empty", b"", id_)
        return len(texts)


class CassandraBlocks(Blocks):
    """Blocks in two tables, which logged batches write."""

    def __init__(self, keyspace: Keyspace) -> None:
        self._keyspace = keyspace
        self._run = keyspace.run

    @override
    async def put(self, block: Block) -> None:
        back = (block.blocked_id, block.user_id)
        await self._keyspace.run_together([("block", block), ("block_back", back)])

    @override
    async def remove(self, user_id: UserId, blocked_id: UserId) -> None:
        pair, back = (user_id, blocked_id), (blocked_id, user_id)
        await self._keyspace.run_together([("unblock", pair), ("unblock_back", back)])

    @override
    async def has(self, user_id: UserId, blocked_id: UserId) -> bool:
        return bool(await self._run("has", user_id, blocked_id))

    @override
    async def of(self, user_id: UserId, *, after: str, limit: int) -> Paged[Block]:
        rows = await self._run("of", user_id, after, limit + 1)
        return Paged([Block(*row) for row in rows[:limit]], len(rows) > limit)

    @override
    async def blockers_of(self, user_id: UserId) -> Blockers:
        rows = await self._run("blockers", user_id, BLOCKERS_MAX + 1)
        found = frozenset(blocker for (blocker,) in rows[:BLOCKERS_MAX])
        return Blockers(found, len(rows) <= BLOCKERS_MAX)

    async def forget(self, user_id: UserId) -> int:
        """Remove whom a user blocks, and return how many they were."""
        blocked = await self._run("all_of", user_id)
        for (blocked_id,) in blocked:
            await self.remove(user_id, blocked_id)
        return len(blocked)


class CassandraModeration(Moderation):
    """All of it in the keyspace of the history's name and `_mod`."""

    def __init__(self, keyspace: Keyspace) -> None:
        """Use `open` instead."""
        self._keyspace = keyspace
        self.acts = CassandraActs(keyspace)
        self.reports = self._reports = CassandraReports(keyspace, self.acts)
        self.blocks = self._blocks = CassandraBlocks(keyspace)

    @classmethod
    async def open(cls, settings: CassandraSettings) -> CassandraModeration:
        """Open the keyspace, or create it. `settings` are those of the history. Raises
        `InvalidSettings`, and `Unavailable` within `settings.open_timeout_s`.
        """
        return cls(await Keyspace.open(settings, SUFFIX, MIGRATIONS, CQL))

    @override
    async def forget(self, user_ids: Collection[UserId]) -> Forgotten:
        users, texts, blocks = list(user_ids), 0, 0
        for start in range(0, len(users), FORGOTTEN_AT_ONCE):
            some = users[start : start + FORGOTTEN_AT_ONCE]
            texts += sum(await asyncio.gather(*map(self._reports.forget, some)))
            blocks += sum(await asyncio.gather(*map(self._blocks.forget, some)))
        return Forgotten(texts, blocks)

    @override
    async def close(self) -> None:
        await self._keyspace.close()


async def _buckets(keyspace: Keyspace, kind: str) -> list[int]:
    return [bucket for (bucket,) in await keyspace.run("buckets", kind)]


def _bucket(at_ms: int) -> int:
    return at_ms // BUCKET_MS


def _place(state: State, at_ms: int, report_id: str) -> tuple[str, int, int, str]:
    return state, _bucket(at_ms), at_ms, report_id
