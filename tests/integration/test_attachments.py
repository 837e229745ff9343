"""Files that messages carry: uploaded, sent, read by those who may, and by nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from cecochat.client import (
    Attachment,
    ChatError,
    Client,
    Deletion,
    InvalidArgument,
    Message,
    Refused,
    SendRejected,
)
from cecochat.client.calling import Calling
from cecochat.v1 import events_pb2
from cecochat.v1.attachments_pb2 import (
    CreateUploadRequest,
    CreateUploadResponse,
    GetDownloadRequest,
    GetDownloadResponse,
)
from tests.integration.clients import device, next_of
from tests.integration.systems import QUICK, Running, running

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4_000
PAGE = b"<script>alert(document.domain)</script>"


async def refusal(doing: Awaitable[object]) -> str:
    with pytest.raises(ChatError) as refused:
        await doing
    return refused.value.code


async def sent(alice: Client, to: str = "bob", **named: Any) -> tuple[int, Attachment]:
    """A message with a picture, and its id."""
    file = await alice.files.upload(to, PICTURE, client_message_id="1", name="a cat.png", **named)
    return await alice.send(to, "look", client_message_id="1", attachments=[file]), file


async def begin(up: Running, user: str, file: bytes, **changes: Any) -> CreateUploadResponse:
    """An upload that has begun, without the client's own checks."""
    described: dict[str, Any] = {
        "name": "a.txt",
        "media_type": "text/plain",
        "size_bytes": len(file),
        "sha256": sha256(file).digest(),
    }
    request = CreateUploadRequest(
        chat_id="d:alice~bob",
        client_message_id="1",
        attachment=events_pb2.Attachment(**(described | changes)),
    )
    begun: CreateUploadResponse = await call(
        up, user, "CreateUpload", request, CreateUploadResponse
    )
    return begun


async def call(up: Running, user: str, name: str, request: Any, response: Any) -> Any:
    async def token() -> str:
        return up.token(user)

    async with httpx.AsyncClient(timeout=30) as http:
        calling = Calling(up.addresses.connect, "Attachments", http, token, 30.0)
        return await calling.call(name, request, response)


def kept(data: Path) -> list[bytes]:
    """Every file that the store has kept."""
    found = list[bytes]()
    for each in (data / "files").rglob("*"):
        with suppress(FileNotFoundError):  # it is deleted just now
            found += [each.read_bytes()] if each.is_file() else []
    return [each for each in found if each]


async def test_a_file_is_sent_and_read(up: Running, tmp_path: Path) -> None:
    path = tmp_path / "Ein Plan für morgen.png"
    await asyncio.to_thread(path.write_bytes, PICTURE)
    await asyncio.to_thread((tmp_path / "page.html").write_bytes, PAGE)
    async with device(up, "alice") as alice, device(up, "bob") as bob:
        id_ = await alice.files.send("bob", [path, tmp_path / "page.html"])
        got = await next_of(bob, Message)
        assert (got.id, got.text) == (id_, "")
        picture, page = got.attachments
        assert (picture.name, picture.media_type, picture.size_bytes, picture.receipt) == (
            *(path.name, "image/png", len(PICTURE)),
            b"",
        )
        assert await bob.files.read(got, picture) == PICTURE
        await bob.files.save(got, page, tmp_path / "saved")
        assert (tmp_path / "saved").read_bytes() == PAGE
        (again,) = (await alice.history("bob")).messages
        assert again.attachments == got.attachments


async def test_in_a_group_members_read_it_and_nobody_else(up: Running) -> None:
    async with (
        device(up, "alice") as alice,
        device(up, "bob") as bob,
        device(up, "eve") as eve,
    ):
        group = await alice.groups.create("Hikers", members=["bob"])
        await sent(alice, group)
        got = await next_of(bob, Message)
        assert await bob.files.read(got, got.attachments[0]) == PICTURE
        assert await refusal(eve.files.read(got, got.attachments[0])) == "not_found"
        await alice.groups.remove(group, "bob")
        assert await bob.files.read(got, got.attachments[0]) == PICTURE, "bob still sees it"


async def test_only_those_who_may_read_the_message_read_its_files(up: Running) -> None:
    async with (
        device(up, "alice") as alice,
        device(up, "bob") as bob,
        device(up, "eve") as eve,
    ):
        _, file = await sent(alice)
        got = await next_of(bob, Message)
        assert await refusal(eve.files.read(got, file)) == "forbidden"
        elsewhere = replace(got, chat_id="d:bob~eve")
        assert await refusal(eve.files.read(elsewhere, file)) == "not_found"
        other = replace(file, id="A" * 24)
        assert await refusal(bob.files.read(got, other)) == "not_found"
        await alice.edit("bob", got.id, "look at it")
        assert await bob.files.read(got, file) == PICTURE, "an edit leaves it"
        await alice.delete("bob", got.id)
        await next_of(bob, Deletion)
        (left,) = (await alice.history("bob")).messages  # which holds what alice has done
        assert left.attachments == ()
        assert await refusal(bob.files.read(got, file)) == "not_found"


async def test_what_was_not_uploaded_for_this_message_is_refused(up: Running) -> None:
    async with device(up, "alice") as alice, device(up, "bob") as bob:
        file = await alice.files.upload("bob", PICTURE, client_message_id="1", name="a.png")

        async def send(who: Client, to: str, id_: str, *files: Attachment) -> str:
            sending = who.send(to, "look", client_message_id=id_, attachments=files)
            return await refusal(sending)

        assert await send(bob, "alice", "1", file) == "forbidden", "it is another user's"
        assert await send(alice, "bob", "2", file) == "forbidden", "for another message"
        assert await send(alice, "eve", "1", file) == "forbidden", "in another chat"
        renamed = replace(file, name="b.png")
        assert await send(alice, "bob", "1", renamed) == "forbidden"
        forged = replace(file, receipt=b"\0" * 32)
        assert await send(alice, "bob", "1", forged) == "invalid_argument"
        assert await send(alice, "bob", "1", file, file) == "invalid_argument", "twice"
        assert await alice.send("bob", "look", client_message_id="1", attachments=[file])
        assert [each.text for each in (await alice.history("bob")).messages] == ["look"]


async def test_a_repeat_is_the_same_message(up: Running) -> None:
    async with device(up, "alice") as alice:
        id_, file = await sent(alice)
    async with device(up, "alice") as again:
        assert await again.send("bob", "look", client_message_id="1", attachments=[file]) == id_
        with pytest.raises(SendRejected) as reused:
            await again.send("bob", "look", client_message_id="1")
        assert reused.value.code == "reused_id"


async def test_what_was_begun_and_not_uploaded_cannot_be_finished(up: Running) -> None:
    async with device(up, "alice") as alice:
        begun = await begin(up, "alice", PICTURE)
        with pytest.raises(InvalidArgument, match="receipt"):
            await alice.send(
                "bob", "", attachments=[Attachment("A" * 24, "a", "a/b", 1, b"\0" * 32)]
            )
    finished = call(
        up,
        "alice",
        "FinishUpload",
        CreateUploadRequest(
            chat_id="d:alice~bob", client_message_id="1", attachment=begun.attachment
        ),
        CreateUploadResponse,
    )
    assert await refusal(finished) == "not_found"


async def put(up: Running, url: str, file: bytes, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(timeout=30) as http:
        return await http.put(f"{up.addresses.connect}/{url}", content=file, headers=headers)


async def test_the_store_takes_that_file_alone(up: Running, tmp_path: Path) -> None:
    begun = await begin(up, "alice", b"hello")
    assert (await put(up, begun.url, b"hello!")).status_code == 413
    assert (await put(up, begun.url, b"jello")).status_code == 400
    assert (await put(up, begun.url.replace("ticket=", "ticket=x"), b"hello")).status_code == 403
    assert kept(tmp_path / "data") == []
    assert (await put(up, begun.url, b"hello")).status_code == 201
    assert kept(tmp_path / "data") == [b"hello"]
    async with httpx.AsyncClient(timeout=30) as http:
        answer = await http.get(f"{up.addresses.connect}/{begun.url}")
        assert answer.status_code == 403, "who may write it may not read it by that URL"


async def test_tickets_of_others_and_old_ones_open_nothing(up: Running) -> None:
    begun = await begin(up, "alice", b"hello")
    ticket = begun.url.partition("=")[2]
    claims = jwt.decode(ticket, options={"verify_signature": False})
    assert "alice" not in str(claims), "a URL does not say whose it is"
    for secret in (up.secret, b"a guess that is long enough for a hash"):
        forged = jwt.encode(claims, secret, algorithm="HS256")
        assert (await put(up, f"files?ticket={forged}", b"hello")).status_code == 403
    unsigned = jwt.encode(claims, "", algorithm="none")
    assert (await put(up, f"files?ticket={unsigned}", b"hello")).status_code == 403
    assert (await put(up, "files", b"hello")).status_code == 403


async def test_a_download_never_runs_in_the_origin_of_the_system(up: Running) -> None:
    async with device(up, "alice") as alice, device(up, "bob") as bob:
        file = await alice.files.upload(
            "bob", PAGE, client_message_id="1", name='a";\u2013.html', media_type="text/html"
        )
        await alice.send("bob", "look", client_message_id="1", attachments=[file])
        got = await next_of(bob, Message)
    request = GetDownloadRequest(chat_id=got.chat_id, message_id=got.id, attachment_id=file.id)
    found = await call(up, "bob", "GetDownload", request, GetDownloadResponse)
    async with httpx.AsyncClient(timeout=30) as http:
        answer = await http.get(f"{up.addresses.connect}/{found.url}")
    assert answer.content == PAGE
    assert answer.headers["content-disposition"] == (
        "attachment; filename*=UTF-8''a%22%3B%E2%80%93.html"
    )
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": ""}, "invalid_argument"),
        ({"name": "../keys.db"}, "invalid_argument"),
        ({"name": ".."}, "invalid_argument"),
        ({"name": "a\r\nset-cookie: b"}, "invalid_argument"),
        ({"name": "gpj.\u202ea"}, "invalid_argument"),
        ({"name": "\u00fc" * 128}, "invalid_argument"),
        ({"media_type": "text/html; charset=utf-8"}, "invalid_argument"),
        ({"media_type": "html"}, "invalid_argument"),
        ({"sha256": b"short"}, "invalid_argument"),
        ({"size_bytes": 0}, "invalid_argument"),
        ({"size_bytes": -1}, "invalid_argument"),
        ({"size_bytes": (25 << 20) + 1}, "too_large"),
    ],
)
async def test_what_describes_no_file_is_refused(
    up: Running, changes: dict[str, Any], code: str
) -> None:
    assert await refusal(begin(up, "alice", b"hello", **changes)) == code


async def test_the_operator_says_which_files_and_how_many(tmp_path: Path) -> None:
    limits = {
        "attachments.max_bytes": 4,
        "attachments.types": "image/*, application/pdf",
        "attachments.rate_per_user": 0.1,
        "attachments.burst": 20,
    }
    async with running(tmp_path, {**QUICK, **limits}) as up:
        assert await refusal(begin(up, "alice", b"hello", media_type="image/png")) == "too_large"
        assert await refusal(begin(up, "alice", b"hell")) == "invalid_argument"
        assert await begin(up, "alice", b"hell", media_type="application/pdf")
        assert await begin(up, "alice", b"hell", media_type="image/svg+xml")
        with pytest.raises(Refused) as refused:
            await begin(up, "alice", b"hell", media_type="image/png")
        assert refused.value.code == "rate_limited"


async def test_a_user_uploads_so_much_a_day(tmp_path: Path) -> None:
    limits = {"attachments.bytes_per_user": 9}
    async with running(tmp_path, {**QUICK, **limits}) as up:
        assert await begin(up, "alice", b"hello")
        with pytest.raises(Refused, match="alice uploads so many bytes too often") as refused:
            await begin(up, "alice", b"hello")
        assert refused.value.code == "rate_limited"
        assert await begin(up, "alice", b"hell")
        assert await begin(up, "bob", b"hello")


async def test_without_a_store_nothing_is_uploaded(tmp_path: Path) -> None:
    async with running(tmp_path, attachments=False) as up:
        assert await refusal(begin(up, "alice", b"hello")) == "unimplemented"


async def test_names_are_sealed(up: Running, tmp_path: Path) -> None:
    async with device(up, "alice") as alice, device(up, "bob") as bob:
        file = await alice.files.upload(
            "bob", b"hello", client_message_id="1", name="quicksilver.txt"
        )
        await alice.send("bob", "", client_message_id="1", attachments=[file])
        assert (await next_of(bob, Message)).attachments[0].name == "quicksilver.txt"
        await asyncio.to_thread(_grep, tmp_path / "data", b"quicksilver")


def _grep(data: Path, word: bytes) -> None:
    found = [each.name for each in data.glob("*") if each.is_file() and word in each.read_bytes()]
    assert found == []


async def test_a_back_end_sends_files_in_the_name_of_a_user(up: Running) -> None:
    async with up.backend() as backend, device(up, "bob") as bob:
        files = backend.files("shop")
        file = await files.upload("bob", b"an invoice", client_message_id="order-7", name="7.pdf")
        for _ in range(2):
            id_ = await backend.send("shop", "bob", "", key="order-7", attachments=[file])
        got = await next_of(bob, Message)
        assert (got.id, got.user_id, got.attachments[0].name) == (id_, "shop", "7.pdf")
        assert await files.read(got, got.attachments[0]) == b"an invoice"
        other = backend.send("shop", "bob", "", key="order-8", attachments=[file])
        assert await refusal(other) == "forbidden"
    async with up.backend("read") as reader:
        uploading = reader.files("shop").upload("bob", b"x", client_message_id="1", name="a")
        assert await refusal(uploading) == "forbidden"
        assert await reader.files("bob").read(got, got.attachments[0]) == b"an invoice"
