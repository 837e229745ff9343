"""Backends of a test's own, which it may stop: those of `make backends-up` are for tests that do
not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from cassandra.query import SimpleStatement  # type: ignore[import-untyped]

from cecochat.adapters.cassandra import keys, moderation
from cecochat.adapters.cassandra.database import Database
from cecochat.adapters.cassandra.settings import CassandraSettings
from scripts.backends.launch import Backend, private
from tests.support.backends import Backends

NAMES = ("kafka", "cassandra", "postgres", "redis", "consul")
PARTITIONS = 12


@contextmanager
def own_backends(folder: Path, required: Backends) -> Iterator[dict[str, Backend]]:
    """One of each, started together, and ended afterwards; else as `Backends.absent`."""
    for name in NAMES:
        required.provisioned(name)
    with ExitStack() as stack:
        found = {name: private(name, folder / name) for name in NAMES}
        for backend in found.values():
            stack.callback(backend.kill)
        with ThreadPoolExecutor() as threads:
            list(threads.map(Backend.start, found.values()))
        yield found


def environment(backends: Mapping[str, Backend], namespace: str) -> dict[str, str]:
    """The variables that put a system on them."""
    addresses = {f"CECOCHAT_{name.upper()}": each.address for name, each in backends.items()}
    return addresses | {"CECOCHAT_PARTITIONS": str(PARTITIONS), "CECOCHAT_NAMESPACE": namespace}


def drop_keyspaces(cassandra: Backend, namespace: str) -> None:
    """Take out what a system has stored, if Cassandra still runs: each table takes a megabyte of
    its memory, and with those of all tests it would have none left.
    """
    if cassandra.answers():
        with ThreadPoolExecutor() as threads:  # a test's own event loop is not its business
            threads.submit(asyncio.run, _drop(cassandra.address, namespace)).result()


async def _drop(address: str, namespace: str) -> None:
    database = await Database.connect(CassandraSettings((address,), namespace=namespace))
    for suffix in ("", keys.SUFFIX, moderation.SUFFIX):
        statement = SimpleStatement(f"DROP KEYSPACE IF EXISTS {namespace}{suffix}")
        await database.run(statement, timeout_s=120)
    await database.close()
