"""What `cecochat doctor` checks in PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from cecochat.adapters.postgres import connection
from cecochat.adapters.postgres.settings import PostgresSettings
from cecochat.domain.errors import CecochatError
from cecochat.settings.backends import Finding

# Statements that are logged come with their parameters: the words of messages.
LOGS_WORDS: Final = """SELECT current_setting('log_parameter_max_length') <> '0' AND (
    current_setting('log_statement') = 'all'
    OR current_setting('log_min_duration_statement') <> '-1'
    OR current_setting('log_min_duration_sample') <> '-1'
    OR current_setting('log_transaction_sample_rate') <> '0')"""


def all_of(settings: PostgresSettings) -> Sequence[Finding]:
    """Check whether PostgreSQL answers, and what it writes into its log."""
    try:
        logs_words = asyncio.run(_logs_words(settings))
    except CecochatError as error:
        return [Finding("postgres", "wrong", str(error), "check the settings for PostgreSQL")]
    if logs_words:
        found = "it logs statements with their parameters, which have words of messages"
        mend = "set log_parameter_max_length = 0 in postgresql.conf"
        return [Finding("postgres", "warning", found, mend)]
    return [Finding("postgres", "ok", "it answers, and logs no words of messages")]


async def _logs_words(settings: PostgresSettings) -> bool:
    opened = await connection.pool(settings)
    try:
        await connection.check(settings, opened)
        with connection.errors(settings):
            return bool(await opened.fetchval(LOGS_WORDS))
    finally:
        await connection.close(opened)
