"""What only the index in PostgreSQL promises: no byte of what is removed stays in its files, its
write-ahead log included; after a crash it is empty as a whole; and what two servers do at the same
time.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from cecochat.adapters.postgres import checks, connection, search
from cecochat.adapters.postgres.search import PostgresSearch
from cecochat.adapters.postgres.settings import PostgresSettings
from cecochat.domain.errors import InvalidSettings, Unavailable
from cecochat.domain.log.ids import UserId
from cecochat.domain.log.place import Place
from cecochat.domain.search.entries import Gone
from cecochat.domain.search.words import query
from cecochat.ports.history import Progress
from cecochat.ports.search import Superseded
from scripts.backends.launch import Backend, private
from tests.contract.openers.postgres import drop
from tests.contract.test_search import all_found, text
from tests.support.backends import Backends
from tests.support.eventually import eventually

CHAT = "d:ann~bob"
SECRETS = [f"xylo{n:04}phone" for n in range(500)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, backends: Backends) -> Iterator[Backend]:
    """A PostgreSQL that a test may kill."""
    backends.provisioned("postgres")
    with private("postgres", tmp_path_factory.mktemp("postgres")) as started:
        started.start()
        yield started


@pytest.fixture
def settings(server: Backend) -> PostgresSettings:
    """A namespace of the test's own."""
    assert server.answers(), "a test before has left it stopped"
    return PostgresSettings((server.address,), f"test_{uuid.uuid4().hex[:12]}")


@pytest.fixture
async def index(settings: PostgresSettings) -> AsyncIterator[PostgresSearch]:
    opened = await PostgresSearch.open(settings)
    yield opened
    await opened.close()


async def run(settings: PostgresSettings, statement: str) -> None:
    opened = await connection.single(settings)
    await opened.execute(statement)
    await opened.close()


async def bytes_of(server: Backend) -> bytes:
    """All that is in its files once its memory is written to them. A checkpoint leaves out what is
    not logged.
    """
    await asyncio.to_thread(server.stop)
    files = [path for path in server.instance.data.rglob("*") if path.is_file()]
    assert any(path.parent.name == "pg_wal" for path in files)
    found = b"".join(path.read_bytes() for path in files)
    await asyncio.to_thread(server.start)
    return found


async def filled(index: PostgresSearch) -> None:
    turn = await index.clear()
    theirs = [text(2 * n + 1, f"{secret} dear bob") for n, secret in enumerate(SECRETS)]
    others = [text(2 * n + 2, "dear ann", "bob") for n in range(len(SECRETS))]
    for at in range(0, len(SECRETS), 50):
        await index.write([*theirs[at : at + 50], *others[at : at + 50]], None, turn)


@pytest.mark.parametrize("how", ["forgotten", "deleted"])
async def test_no_byte_of_removed_words_stays_in_the_files(
    how: str, server: Backend, settings: PostgresSettings, index: PostgresSearch
) -> None:
    await filled(index)
    await run(settings, "ANALYZE")  # what it samples would be in its statistics
    before = await bytes_of(server)
    assert SECRETS[0].encode() in before
    if how == "forgotten":
        await index.forget([UserId("ann")])
    else:
        await index.write([Gone(2 * n + 1, None) for n in range(len(SECRETS))], None, None)
    await index.purge()
    after = await bytes_of(server)
    assert b"phone" not in after
    assert len(await all_found(index, query("dear"), [CHAT])) == len(SECRETS)


async def test_an_older_transaction_keeps_no_byte(
    server: Backend, settings: PostgresSettings, index: PostgresSearch
) -> None:
    """One that might still see what is removed, as far as PostgreSQL knows."""
    await filled(index)
    older = await connection.single(settings)
    async with older.transaction(isolation="repeatable_read"):
        await older.fetchval("SELECT count(*) FROM forgotten")
        await index.forget([UserId("ann")])
        await index.purge()
    await older.close()
    assert b"phone" not in await bytes_of(server)


async def test_nothing_is_rewritten_if_nothing_was_removed(
    settings: PostgresSettings, index: PostgresSearch
) -> None:
    async def file() -> object:
        opened = await connection.single(settings)
        found: object = await opened.fetchval("SELECT pg_relation_filenode('texts')")
        await opened.close()
        return found

    await filled(index)
    first = await file()
    await index.purge()
    assert await file() == first
    await index.write([Gone(1, None)], None, None)
    await index.purge()
    second = await file()
    assert second != first
    await index.purge()
    assert await file() == second


async def test_a_crash_takes_all_or_nothing(
    server: Backend, settings: PostgresSettings, index: PostgresSearch
) -> None:
    turn = await index.clear()
    await index.write([text(1, "hello")], Progress("a log", 0, 1), turn)
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)
    again = await PostgresSearch.open(settings)
    assert await again.progress("a log") == {}
    assert await all_found(again, query("hello"), [CHAT]) == []
    with pytest.raises(Superseded):
        await again.write([text(2, "hello")], None, turn)
    assert await again.clear() > turn
    await again.close()
    await eventually(lambda: is_empty(index))  # a connection that was lost is made again


async def is_empty(index: PostgresSearch) -> bool:
    with suppress(Unavailable):
        return await index.progress("a log") == {}
    return False


async def test_a_stop_in_order_keeps_it(
    server: Backend, settings: PostgresSettings, index: PostgresSearch
) -> None:
    await index.write([text(1, "hello")], Progress("a log", 0, 1), await index.clear())
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)
    again = await PostgresSearch.open(settings)
    assert await again.progress("a log") == {0: Place(0, 1)}
    assert len(await all_found(again, query("hello"), [CHAT])) == 1
    await again.close()


async def test_what_a_server_comes_with_after_the_erasure_is_left_out(
    settings: PostgresSettings, index: PostgresSearch
) -> None:
    other = await PostgresSearch.open(settings)
    turn = await other.clear()
    await other.write([text(1, "hello")], None, turn)
    await index.forget([UserId("ann")])
    await other.write([text(2, "hello"), text(3, "hello", "bob")], None, turn)
    found = await all_found(index, query("hello"), [CHAT])
    assert [each.message_id for each in found] == [3]
    await other.close()


async def test_who_makes_it_is_gone_and_the_next_one_does(
    settings: PostgresSettings, index: PostgresSearch
) -> None:
    opened = await connection.single(settings)
    key = connection.lock_key(settings, "maker")
    assert await opened.fetchval(search.TRY_ALONE, key)
    entered = asyncio.Event()

    async def next_one() -> None:
        async with index.alone():
            entered.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(next_one())
        await asyncio.sleep(0)
        assert not entered.is_set()
        opened.terminate()  # as when its server is killed
        await eventually(entered.is_set)


async def test_writers_and_one_who_clears_do_not_mix(
    settings: PostgresSettings, index: PostgresSearch
) -> None:
    """Each writer writes until it is refused. What is there then is the last one's alone."""
    others = [await PostgresSearch.open(settings) for _ in range(3)]

    async def writes(number: int, opened: PostgresSearch) -> None:
        turn = await opened.clear()
        for n in range(1, 40):
            said = text(1_000 * number + n, f"hello writer{number}")
            await opened.write([said], Progress("a log", number, n), turn)

    made = await asyncio.gather(
        *(writes(number, each) for number, each in enumerate(others)), return_exceptions=True
    )
    assert [each for each in made if not isinstance(each, Superseded)] == [None]
    (last,) = await index.progress("a log")
    found = await index.find(query("hello"), [CHAT], before=1 << 62, after=0, limit=1_000)
    assert {each.message_id // 1_000 for each in found} == {last}
    assert len(found) == 39
    for each in others:
        await each.close()


async def test_servers_that_start_together_make_the_tables_once(
    settings: PostgresSettings, caplog: pytest.LogCaptureFixture
) -> None:
    opened = await asyncio.gather(*(PostgresSearch.open(settings) for _ in range(4)))
    assert "no searches" not in caplog.text
    for each in opened:
        await each.close()


async def test_it_opens_while_postgres_is_away(server: Backend, settings: PostgresSettings) -> None:
    await asyncio.to_thread(server.stop)
    opened = await PostgresSearch.open(settings)
    with pytest.raises(Unavailable):
        await opened.progress("a log")
    await asyncio.to_thread(server.start)
    assert await opened.progress("a log") == {}
    await opened.close()


async def test_an_empty_database_in_its_place_will_do(
    settings: PostgresSettings, index: PostgresSearch
) -> None:
    turn = await index.clear()
    await drop(settings)
    admin = await connection.single(settings)
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    )
    await admin.close()
    with pytest.raises(Unavailable):  # which Superseded is
        await index.write([text(1, "hello")], None, turn)
    await index.write([text(1, "hello")], None, await index.clear())


async def test_what_settings_can_mend_is_told(settings: PostgresSettings) -> None:
    with pytest.raises(InvalidSettings, match="create the database"):
        await PostgresSearch.open(replace(settings, database="nowhere"))
    with pytest.raises(InvalidSettings, match="username"):
        await PostgresSearch.open(replace(settings, username="nobody"))
    with pytest.raises(InvalidSettings, match="use host:port"):
        await PostgresSearch.open(replace(settings, addresses=("localhost",)))


async def test_doctor_says_whether_words_are_logged(settings: PostgresSettings) -> None:
    async def found() -> list[str]:
        return [each.result for each in await asyncio.to_thread(checks.all_of, settings)]

    assert await found() == ["ok"]
    role = "ALTER ROLE cecochat SET"
    await run(settings, f"{role} log_min_duration_statement = 500")
    assert await found() == ["ok"], "without their parameters"
    await run(settings, f"{role} log_parameter_max_length = -1")
    assert await found() == ["warning"]
    await run(settings, "ALTER ROLE cecochat RESET ALL")
    away = replace(settings, addresses=("127.0.0.1:1",))
    assert [each.result for each in await asyncio.to_thread(checks.all_of, away)] == ["wrong"]


def test_the_folder_is_not_ours_alone(server: Backend) -> None:
    """PostgreSQL refuses to run as root."""
    assert Path(server.instance.data).stat().st_uid or not Path("/proc/self").stat().st_uid
