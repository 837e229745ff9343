"""The tables of the index in PostgreSQL.

What has words, or says how far they go, is UNLOGGED: PostgreSQL writes it to no write-ahead log,
and so to no archive, no base backup and no replica. After a crash it is empty, and the index is
made again. The statistics of these columns would have words in them, and are logged.
"""

from __future__ import annotations

from typing import Final

MADE: Final = """SELECT EXISTS (
    SELECT FROM pg_sequences WHERE schemaname = $1 AND sequencename = 'turns')"""
ONE_AT_A_TIME: Final = "SELECT pg_advisory_xact_lock($1)"
TABLES: Final = """
CREATE UNLOGGED TABLE texts (
    event_id bigint NOT NULL,
    message_id bigint NOT NULL,
    chat_id text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    words text COLLATE "C" NOT NULL,
    lexemes tsvector NOT NULL, -- the words without their places, and the scopes
    PRIMARY KEY (message_id, event_id));
ALTER TABLE texts ALTER words SET STATISTICS 0, ALTER lexemes SET STATISTICS 0;
CREATE INDEX ON texts USING gin (lexemes);
CREATE INDEX ON texts (user_id);

CREATE UNLOGGED TABLE progress (
    log_id text NOT NULL,
    partition integer NOT NULL,
    up_to bigint NOT NULL,
    clock_ms bigint NOT NULL,
    turn bigint NOT NULL, -- of whoever follows the partition
    PRIMARY KEY (log_id, partition));

-- Who has cleared the index last: one row, or none.
CREATE UNLOGGED TABLE maker (turn bigint NOT NULL);

-- It has a row if files may still have words that were removed.
CREATE UNLOGGED TABLE removals (number bigint NOT NULL);

-- Users of whom nothing is indexed any more.
CREATE TABLE forgotten (user_id text COLLATE "C" PRIMARY KEY);

-- Logged, so that no number comes again.
CREATE SEQUENCE turns;
"""
