"""What others on the machine can read of a system that runs: nothing, whatever the umask."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cecochat.adapters.embedded import (
    backplane,
    configuration,
    folder,
    history,
    keys,
    moderation,
    search,
    silences,
)
from cecochat.settings import private
from tests.support.server import CECOCHAT, Server, command

NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
NOT_ROOT = os.geteuid() != 0 or shutil.which("setpriv") is None


@pytest.fixture(autouse=True)
def careless() -> Iterator[None]:
    """The umask of the worst shell."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that everybody may enter, as those of pytest are not."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
async def server(place: Path) -> AsyncIterator[Server]:
    made = Server(place / "up")
    yield made
    await made.release()


def environment(server: Server) -> dict[str, str]:
    return {"XDG_STATE_HOME": str(server.folder / "state")}


async def chat(server: Server) -> None:
    """Leaves a message in the databases and a device in the state folder."""
    await command(environment(server), "send", "--as", "alice", "bob", "a secret")
    await command(environment(server), "chat", "--as", "alice", "bob")


def open_to_others(folder: Path) -> list[str]:
    every = (folder, *folder.rglob("*"))
    return [f"{each} {each.stat().st_mode:o}" for each in every if each.stat().st_mode & 0o077]


OF_ADAPTERS = (backplane, configuration, history, keys, moderation, search, silences)


def test_the_names_are_those_of_the_adapters() -> None:
    files = {each.FILE for each in OF_ADAPTERS}
    assert set(private.DATABASES) == files
    assert folder.LOCK_FILE in private.OURS


def test_folders_above_one_that_is_made_are_closed_too(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    private.make_folder(tmp_path / "data" / "control" / "cecochat")
    private.make_folder(tmp_path / "data")
    assert open_to_others(tmp_path / "data") == []
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755, "what was there stays"


async def test_what_a_system_writes_is_its_owners_alone(server: Server) -> None:
    await server.start()
    await chat(server)
    data, state = server.folder / "data", server.folder / "state" / "cecochat"
    assert {"log.db", "log.db-wal", "token-secret"} <= {each.name for each in data.iterdir()}
    assert open_to_others(data) == []
    kept = [each for each in (state / "chat").rglob("*") if each.is_file()]
    assert {each.suffix for each in kept} == {".json", ".lock"}
    for each in (*kept, *(state / "systems").iterdir()):
        assert stat.S_IMODE(each.stat().st_mode) == 0o600, each


@pytest.mark.skipif(NOT_ROOT, reason="another user reads: run it as root, with util-linux")
async def test_another_user_reads_nothing(server: Server) -> None:
    await server.start()
    await chat(server)
    data = server.folder / "data"
    (server.folder / "read-me").touch()
    assert await as_nobody("cat", server.folder / "read-me") == 0, "it is the files that refuse"
    for path in (data, *data.iterdir()):
        assert await as_nobody("ls" if path.is_dir() else "cat", path) != 0, path
    data.chmod(0o755)  # as somebody may by mistake while it runs
    for path in data.iterdir():
        assert await as_nobody("cat", path) != 0, path


async def as_nobody(program: str, path: Path) -> int:
    process = await asyncio.create_subprocess_exec(
        *NOBODY, program, str(path),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    return await process.wait()


async def test_a_folder_of_before_is_closed_at_the_next_start(server: Server) -> None:
    await server.start()
    await server.terminate()
    data = server.folder / "data"
    data.chmod(0o755)
    for path in data.iterdir():
        path.chmod(0o644)
    await doctor(server, f"others have rights to {data}", code=1)
    await server.start()
    assert open_to_others(data) == []
    assert f"others had rights to {data}" in server.said
    await doctor(server, "only its owner has rights to the data folder", code=0)


async def test_a_folder_with_something_else_stays_as_it_is(server: Server) -> None:
    data = server.folder / "data"
    data.mkdir(parents=True, mode=0o755)
    (data / "a paper.txt").touch(mode=0o644)
    (data / "log.db").touch(mode=0o644)
    await server.start()
    assert stat.S_IMODE(data.stat().st_mode) == 0o755
    assert stat.S_IMODE((data / "a paper.txt").stat().st_mode) == 0o644
    assert stat.S_IMODE((data / "log.db").stat().st_mode) == 0o600
    assert "use a folder of its own" in server.said


async def test_a_link_is_not_followed(server: Server) -> None:
    data, papers = server.folder / "data", server.folder / "papers"
    data.mkdir(parents=True, mode=0o755)
    papers.mkdir(mode=0o755)
    (data / "control").symlink_to(papers)
    await server.start()
    assert stat.S_IMODE(papers.stat().st_mode) == 0o755


async def test_a_secret_that_anybody_could_have_written_stops_the_start(server: Server) -> None:
    secret = server.folder.parent / "secret"
    secret.write_text("x" * 32)
    secret.chmod(0o666)
    settings = {"CECOCHAT_TOKEN_SECRET_FILE": str(secret)}
    said = await command(
        environment(server) | settings, "up", "--data", str(server.folder / "data"), code=2
    )
    assert f"everybody on this machine can write {secret} (666): chmod o= {secret}" in said


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"CECOCHAT_CLUSTER_SECRET_FILE": "/nowhere"}, "CECOCHAT_CLUSTER_SECRET_FILE: /nowhere"),
        ({"CECOCHAT_EDGE": "chat.example.com"}, "CECOCHAT_EDGE is 'chat.example.com'"),
    ],
)
async def test_what_is_mistyped_stops_the_start(
    server: Server, settings: dict[str, str], wanted: str
) -> None:
    up = ("up", "--data", str(server.folder / "data"))
    assert wanted in await command(environment(server) | settings, *up, code=2)


async def test_public_keys_that_anybody_can_change_stop_the_start(server: Server) -> None:
    keys = server.folder.parent / "jwks.json"
    keys.write_text('{"keys": []}')
    keys.chmod(0o666)
    settings = {"CECOCHAT_JWKS_FILE": str(keys)}
    up = ("up", "--data", str(server.folder / "data"))
    said = await command(environment(server) | settings, *up, code=2)
    assert f"CECOCHAT_JWKS_FILE: everybody on this machine can write {keys}" in said


async def test_a_secret_that_everybody_can_read_is_said(server: Server) -> None:
    secret = server.folder.parent / "the secret"
    secret.write_text("x" * 32)
    secret.chmod(0o644)
    server.environment = {"CECOCHAT_TOKEN_SECRET_FILE": str(secret)}
    await server.start()
    assert f"everybody on this machine can read {secret} (644): chmod o= '{secret}'" in server.said
    await doctor(server, f"chmod o= '{secret}'", code=1)
    named = server.folder.parent / "settings.env"
    named.write_text(f"CECOCHAT_TOKEN_SECRET_FILE={secret}\n")
    server.environment, settings = {}, ("--settings", str(named))
    await doctor(server, f"chmod o= '{secret}'", *settings, code=1)
    secret.chmod(0o640)
    await doctor(server, "no file that the settings name is open to everybody", *settings, code=0)


async def doctor(server: Server, says: str, *more: str, code: int) -> None:
    data = ("--data", str(server.folder / "data"))
    known = environment(server) | dict(server.environment)
    assert says in await command(known, "doctor", *data, *more, code=code)


async def test_what_is_restored_is_its_owners_alone(server: Server) -> None:
    await server.start()
    await server.terminate()
    copy, again = server.folder / "copy", server.folder / "again"
    shutil.copytree(server.folder / "data", copy)
    (copy / "token-secret").chmod(0o644)
    await command(environment(server), "restore", str(copy), "--data", str(again))
    assert open_to_others(again) == []


async def test_an_export_is_its_owners_alone(server: Server) -> None:
    await server.start()
    await chat(server)
    file = server.folder / "alice.jsonl"
    file.touch(mode=0o644)
    export = ("export", "--as", "alice", "bob", "--output", str(file))
    for _ in range(100):
        assert await command(environment(server), *export) == ""
        if "a secret" in file.read_text():
            break
    assert "a secret" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in server.folder.glob("alice*")] == ["alice.jsonl"]


async def test_an_export_into_an_open_file_says_so(server: Server) -> None:
    await server.start()
    await chat(server)
    for mode, says in ((0o644, True), (0o600, False)):
        file = server.folder / f"{mode:o}.jsonl"
        file.touch(mode=mode)
        with file.open("w") as into:
            process = await asyncio.create_subprocess_exec(
                CECOCHAT, "export", "--as", "alice", "bob",
                stdout=into, stderr=asyncio.subprocess.PIPE, env=os.environ | environment(server),
            )  # fmt: skip
            _, said = await process.communicate()
        assert process.returncode == 0
        assert (b"others can read" in said) is says, said
