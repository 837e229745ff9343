"""The contract of `ports.files`, on every adapter. A store with its own URLs is asked by them; one
without is served as a connect server does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256

import httpx

from cecochat.domain.log.ids import UserId
from cecochat.ports.files import PIECE_BYTES, Files, Key, Noted, ServedFiles, Upload, key_of
from cecochat.runtime import http, unary
from cecochat.servers.connect.files import add_files
from cecochat.v1.events_pb2 import Attachment
from tests.contract.conftest import OpenFiles
from tests.support.eventually import eventually

ALICE, BOB = UserId("alice"), UserId("bob")
CONTENT = b"\0\xff some bytes \r\n" * 5_000
GONE = (403, 404)


def id_(number: int) -> str:
    return f"{number:024}"


def described(content: bytes = CONTENT, name: str = 'a cat, Ärger; "1".png') -> Attachment:
    return Attachment(
        name=name,
        media_type="image/png",
        size_bytes=len(content),
        sha256=sha256(content).digest(),
    )


@asynccontextmanager
async def reached(files: Files) -> AsyncIterator[httpx.AsyncClient]:
    """What reaches the URLs of a store."""
    if not isinstance(files, ServedFiles):
        async with httpx.AsyncClient() as client:
            yield client
        return
    app = http.app("files", unary.refused)
    add_files(app, files)
    async with (
        http.serving(app, "127.0.0.1", 0) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/") as client,
    ):
        yield client


async def put(files: Files, upload: Upload, content: bytes, **headers: str) -> int:
    async with reached(files) as client:
        given = {**upload.headers, **headers}
        return (await client.put(upload.url, content=content, headers=given)).status_code


async def get(files: Files, url: str) -> httpx.Response:
    async with reached(files) as client:
        return await client.get(url)


async def stored(files: Files, key: Key, content: bytes = CONTENT) -> None:
    upload = await files.upload(key, described(content), 60)
    assert await put(files, upload, content) in (200, 201)


async def test_a_file_is_there_once_all_of_it_has_come(files: Files) -> None:
    key = key_of(ALICE, id_(1))
    assert await files.size(key) is None
    await stored(files, key)
    assert await files.size(key) == len(CONTENT)
    answer = await get(files, await files.download(key, described(), 60))
    assert answer.content == CONTENT
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"] == (
        "attachment; filename*=UTF-8''a%20cat%2C%20%C3%84rger%3B%20%221%22.png"
    )


async def test_a_file_is_read_in_pieces(files: Files) -> None:
    key = key_of(ALICE, id_(1))
    assert await files.read(key) is None
    content = CONTENT * (3 * PIECE_BYTES // len(CONTENT))
    await stored(files, key, content)
    pieces = await files.read(key)
    assert pieces is not None
    read = [piece async for piece in pieces]
    assert b"".join(read) == content
    assert max(map(len, read)) <= PIECE_BYTES
    half = await files.read(key)
    assert half is not None
    await anext(half)
    await half.aclose()


async def test_a_url_takes_that_file_and_no_other(files: Files) -> None:
    key = key_of(ALICE, id_(1))
    upload = await files.upload(key, described(), 60)
    assert await put(files, upload, CONTENT + b"!") >= 400
    assert await put(files, upload, CONTENT[:-1]) >= 400
    assert await put(files, upload, bytes(len(CONTENT))) >= 400
    assert await files.size(key) is None
    assert await put(files, upload, CONTENT) in (200, 201)
    assert await put(files, upload, CONTENT) in (200, 201), "a repeat is as good as the first"


async def test_a_url_is_of_one_file_one_use_and_one_time(files: Files) -> None:
    key, other = key_of(ALICE, id_(1)), key_of(ALICE, id_(2))
    await stored(files, key)
    upload = await files.upload(other, described(), 60)
    assert (await get(files, upload.url)).status_code in GONE
    download = await files.download(key, described(), 60)
    assert await put(files, Upload(download, upload.headers), CONTENT) in GONE
    for url in (download.replace(id_(1), id_(2)), download[:-2], download.partition("?")[0]):
        if url != download:
            assert (await get(files, url)).status_code in (400, *GONE)
    old = await files.download(key, described(), 1)
    async with reached(files) as client:
        await eventually(lambda: _refused(client, old))


async def _refused(client: httpx.AsyncClient, url: str) -> bool:
    return (await client.get(url)).status_code in GONE


async def test_what_is_deleted_is_gone(files: Files, open_files: OpenFiles) -> None:
    keys = [key_of(ALICE, id_(number)) for number in range(3)]
    of_bob = key_of(BOB, id_(0))
    for key in (*keys, of_bob):
        await stored(files, key, b"content of %s" % key.id.encode())
    assert sorted(await files.of(keys[0].owner)) == keys
    url = await files.download(keys[0], described(), 60)
    await files.delete(keys[:2])
    await files.delete(keys[:2])
    assert (await get(files, url)).status_code in GONE
    await files.close()
    again = await open_files()
    assert await again.of(keys[0].owner) == keys[2:]
    assert await again.of(of_bob.owner) == [of_bob]
    assert await again.of(key_of(UserId("eve"), id_(0)).owner) == []


async def test_notes_come_in_the_order_of_their_times(files: Files, open_files: OpenFiles) -> None:
    notes = [Noted(at, key_of(ALICE, id_(at))) for at in (1_700_000_000_000, 5, 40, 300)]
    await files.note(2, notes)
    await files.note(3, [Noted(1, key_of(BOB, id_(1)))])
    await files.close()
    again = await open_files()
    in_order = sorted(notes)
    assert await again.noted(2, 1_700_000_000_001) == in_order
    assert await again.noted(2, 1_700_000_000_000) == in_order[:3]
    assert await again.noted(2, 1_700_000_000_000, limit=2) == in_order[:2]
    assert await again.noted(2, 5) == []
    await again.note(2, in_order[:1])
    await again.settle(2, in_order[:2])
    await again.settle(2, in_order[:2])
    assert await again.noted(2, 1_000) == in_order[2:3]
    assert await again.noted(1, 1_000) == []
