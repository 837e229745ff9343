"""Queries over plain HTTP: with JSON, as curl sends it, and by the public client of Connect."""

from __future__ import annotations

import gzip
import ssl
from base64 import b64decode
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from connectrpc.client import ConnectClient
from connectrpc.code import Code
from connectrpc.codec import Codec
from connectrpc.compat import google_protobuf_binary_codec, google_protobuf_json_codec
from connectrpc.errors import ConnectError
from connectrpc.method import IdempotencyLevel, MethodInfo, StreamType

from cecochat.client import connect, find_route
from cecochat.v1 import errors_pb2
from cecochat.v1.directory_pb2 import LookupRequest, LookupResponse
from cecochat.v1.history_pb2 import (
    FindMessageRequest,
    FindMessageResponse,
    GetChatsRequest,
    GetChatsResponse,
    GetGroupRequest,
    GetGroupResponse,
    GetMessagesRequest,
    GetMessagesResponse,
    ListMembersRequest,
    ListMembersResponse,
    SearchMessagesRequest,
    SearchMessagesResponse,
)
from tests.integration.systems import Refused, Running, metric, running
from tests.support.certificates import certificates

SERVICE = "cecochat.v1.History"
DIRECTORY = "cecochat.v1.Directory"
AB = "d:alice~bob"
TEXT = 'héllo "there"  \u2028 <script>'
PAIRS = {
    "GetMessages": (GetMessagesRequest, GetMessagesResponse),
    "GetChats": (GetChatsRequest, GetChatsResponse),
    "FindMessage": (FindMessageRequest, FindMessageResponse),
    "GetGroup": (GetGroupRequest, GetGroupResponse),
    "ListMembers": (ListMembersRequest, ListMembersResponse),
    "SearchMessages": (SearchMessagesRequest, SearchMessagesResponse),
    "Lookup": (LookupRequest, LookupResponse),
}


@pytest.fixture
async def said(up: Running) -> int:
    """The id of a message that Alice has said to Bob and that is in the history."""
    async with connect(up.addresses.connect, up.token("alice"), listen=False) as alice:
        sent = await alice.send("bob", TEXT)
        assert (await alice.history("bob")).messages[-1].id == sent
        return sent


async def post(up: Running, name: str, user: str, **sent: Any) -> httpx.Response:
    """What the server answers to the same as `curl --json` sends, or with other headers."""
    headers = {"authorization": f"Bearer {up.token(user)}", **sent.pop("headers", {})}
    url = f"{up.addresses.history_http}/{SERVICE}/{name}"
    async with httpx.AsyncClient() as client:
        return await client.post(url, headers=headers, **sent)


def typed(answer: httpx.Response) -> errors_pb2.Error:
    """The error in the details, which say the same as the rest."""
    (detail,) = answer.json()["details"]
    assert detail["type"] == "cecochat.v1.Error"
    padded = detail["value"] + "=" * (-len(detail["value"]) % 4)
    found = errors_pb2.Error.FromString(b64decode(padded, validate=True))
    assert found.message == answer.json()["message"] == detail["debug"]["message"]
    return found


async def test_json_is_what_the_proto_says(up: Running, said: int) -> None:
    answer = await post(up, "GetMessages", "bob", json={"chatId": AB})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    (found,) = answer.json()["messages"]
    assert (found["id"], found["userId"], found["message"]["text"]) == (str(said), "alice", TEXT)
    (chat,) = (await post(up, "GetChats", "bob", json={})).json()["chats"]
    assert (chat["chatId"], chat["unreadCount"]) == (AB, 1)
    snake = await post(up, "GetMessages", "bob", json={"chat_id": AB, "unknown": 1})
    assert snake.json() == answer.json(), "names of fields as in the proto will do"


@pytest.mark.usefixtures("said")
async def test_protobuf_is_what_grpc_answers(up: Running) -> None:
    request = GetMessagesRequest(chat_id=AB)
    proto = {"content-type": "application/proto"}
    answer = await post(
        up, "GetMessages", "bob", content=request.SerializeToString(), headers=proto
    )
    assert answer.headers["content-type"] == "application/proto"
    assert GetMessagesResponse.FromString(answer.content) == await up.messages("bob", request)


class Public:
    """Asks by the public client of Connect."""

    def __init__(self, up: Running, codec: Codec[Any, Any]) -> None:
        self._up = up
        self._history = ConnectClient(up.addresses.history_http, codec=codec)
        self._connect = ConnectClient(up.addresses.connect, codec=codec)

    async def ask(self, name: str, user: str, request: Any, **more: Any) -> Any:
        asked, answered = PAIRS[name]
        client = self._connect if name == "Lookup" else self._history
        method: MethodInfo[Any, Any] = MethodInfo(
            name=name,
            service_name=DIRECTORY if name == "Lookup" else SERVICE,
            input=asked,
            output=answered,
            idempotency_level=IdempotencyLevel.UNKNOWN,
            stream_type=StreamType.UNARY,
        )
        headers = {"authorization": f"Bearer {self._up.token(user)}"}
        return await client.execute_unary(request=request, method=method, headers=headers, **more)


@pytest.fixture(params=[google_protobuf_binary_codec, google_protobuf_json_codec])
async def public(request: pytest.FixtureRequest, up: Running) -> Public:
    """It compresses what it sends by gzip, as long as nobody tells it otherwise."""
    return Public(up, request.param())


async def test_the_public_client_works_as_it_is(up: Running, said: int, public: Public) -> None:
    request = GetMessagesRequest(chat_id=AB)
    assert await public.ask("GetMessages", "bob", request) == await up.messages("bob", request)
    chats = GetChatsRequest(limit=1)
    assert await public.ask("GetChats", "bob", chats) == await up.chats("bob", chats)
    found = await public.ask("FindMessage", "alice", FindMessageRequest(message_id=said))
    assert found.steps[0].name == "accepted"


async def test_the_public_client_looks_up(up: Running, public: Public) -> None:
    found = await public.ask("Lookup", "bob", LookupRequest())
    route = await find_route(up.addresses.connect, up.token("bob"))
    for name in ("user_id", "server_id", "messaging", "websocket", "history", "history_http"):
        assert getattr(found, name) == getattr(route, name), name
    assert found.backoff.max_s == route.backoff.max_s


async def test_a_lookup_that_makes_no_sense_is_counted_as_one(up: Running) -> None:
    counted = 'cecochat_connects_total{code="ok"}'
    await find_route(up.addresses.connect, up.token("bob"))
    before = await metric(up, "connect", counted)
    url = f"{up.addresses.connect}/{DIRECTORY}/Lookup"
    headers = {"authorization": f"Bearer {up.token('bob')}", "content-type": "application/json"}
    async with httpx.AsyncClient() as client:
        answer = await client.post(url, content=b"[", headers=headers)
    assert answer.status_code == 400
    assert await metric(up, "connect", counted) == before
    assert await metric(up, "connect", 'cecochat_connects_total{code="invalid_argument"}') == 1


async def test_the_public_client_knows_our_errors(public: Public) -> None:
    with pytest.raises(ConnectError) as refused:
        await public.ask("GetMessages", "carol", GetMessagesRequest(chat_id=AB))
    assert refused.value.code is Code.PERMISSION_DENIED
    (detail,) = refused.value.details
    assert detail.type_name == "cecochat.v1.Error"
    error = errors_pb2.Error.FromString(detail.message_bytes)
    assert error.code == errors_pb2.ERROR_CODE_FORBIDDEN
    with pytest.raises(ConnectError) as late:
        await public.ask("GetChats", "bob", GetChatsRequest(), timeout_ms=0)
    assert late.value.code is Code.DEADLINE_EXCEEDED


@pytest.mark.parametrize(
    ("sent", "status", "code", "says"),
    [
        ({"json": {"chatId": "d:carol~dave"}}, 403, "permission_denied", "not a participant"),
        ({"json": {"chatId": "nonsense"}}, 400, "invalid_argument", "nonsense"),
        ({"json": {"chatId": AB, "limit": -1}}, 400, "invalid_argument", "limit is -1"),
        ({"json": {"chatId": 7}}, 400, "invalid_argument", "GetMessagesRequest"),
        ({"json": []}, 400, "invalid_argument", "GetMessagesRequest"),
        ({"content": b"[" * 60_000}, 400, "invalid_argument", "GetMessagesRequest"),
        ({"content": b'{"limit": ' + b"1" * 5_000 + b"}"}, 400, "invalid_argument", "GetMess"),
        ({"content": b'{"chatId": "\\ud800"}'}, 400, "invalid_argument", "GetMessagesRequest"),
        ({"content": b'{"chatId": "\xff"}'}, 400, "invalid_argument", "GetMessagesRequest"),
        ({"content": b""}, 400, "invalid_argument", "GetMessagesRequest"),
        ({"content": "{}".encode("utf-16")}, 400, "invalid_argument", "GetMessagesRequest"),
        ({"content": "{}".encode("utf-32")}, 400, "invalid_argument", "GetMessagesRequest"),
        ({"content": b"x" * 70_000}, 429, "resource_exhausted", "larger than 65536 bytes"),
        ({"json": {}, "headers": {"connect-timeout-ms": "soon"}}, 400, "invalid_argument", "soon"),
        (
            {"json": {"chatId": AB}, "headers": {"connect-timeout-ms": "0"}},
            504, "deadline_exceeded", "0 s",
        ),
        ({"json": {}, "headers": {"connect-protocol-version": "2"}}, 400, "invalid_argument", "1"),
        ({"json": {}, "headers": {"content-encoding": "br"}}, 501, "unimplemented", "gzip"),
        ({"json": {}, "headers": {"content-encoding": "gzip"}}, 400, "invalid_argument", "no gzip"),
    ],
)  # fmt: skip
async def test_each_mistake_has_its_code(
    up: Running, sent: dict[str, Any], status: int, code: str, says: str
) -> None:
    json_type = {"content-type": "application/json"} | sent.pop("headers", {})
    answer = await post(up, "GetMessages", "alice", headers=json_type, **dict(sent))
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert says in typed(answer).message


async def test_a_gzip_is_read_and_no_bomb(up: Running) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    fine = await post(up, "GetChats", "bob", content=gzip.compress(b"{}"), headers=headers)
    assert fine.status_code == 200
    bomb = gzip.compress(b" " * (32 << 20))
    assert len(bomb) < 60_000
    refused = await post(up, "GetChats", "bob", content=bomb, headers=headers)
    assert typed(refused).code == errors_pb2.ERROR_CODE_TOO_LARGE
    for broken in (gzip.compress(b"{}")[:-4], gzip.compress(b"{}") * 2):
        refused = await post(up, "GetChats", "bob", content=broken, headers=headers)
        assert typed(refused).code == errors_pb2.ERROR_CODE_INVALID_ARGUMENT


async def test_what_is_no_call_is_told(up: Running) -> None:
    form = await post(up, "GetChats", "bob", data={"limit": "1"})
    assert (form.status_code, form.headers["accept-post"]) == (
        415, "application/json, application/proto",
    )  # fmt: skip
    assert "use application/json" in typed(form).message
    absent = await post(up, "Nothing", "bob", json={})
    assert (absent.status_code, absent.json()["code"]) == (404, "unimplemented")
    assert typed(absent).message.startswith("there is nothing at /cecochat.v1.History/Nothing: ")
    async with httpx.AsyncClient() as client:
        got = await client.get(f"{up.addresses.history_http}/{SERVICE}/GetChats")
    assert (got.status_code, got.headers["allow"]) == (405, "POST")
    assert "POST /cecochat.v1.History/GetChats" in typed(got).message


async def test_both_transports_share_what_a_user_may_ask(tmp_path: Path) -> None:
    limits = {"queries.rate_per_user": 0.1, "queries.burst": 12}
    async with running(tmp_path, limits) as up:
        assert (await post(up, "GetChats", "bob", json={})).status_code == 200
        with suppress(Refused):  # it costs as much while the index is being prepared
            await up.search("bob", SearchMessagesRequest(text="pan"))
        refused = await post(up, "SearchMessages", "bob", json={"text": "pan"})
        assert refused.status_code == 429
        assert typed(refused).code == errors_pb2.ERROR_CODE_RATE_LIMITED
        assert int(refused.headers["retry-after"]) > 5
        name = 'cecochat_query_seconds_count{call="SearchMessages"'
        assert await metric(up, "history", name) == 2


@pytest.mark.parametrize("authorization", [None, "Bearer nonsense", "Basic YTpi", ""])
async def test_without_a_valid_token_there_is_nothing(
    up: Running, authorization: str | None
) -> None:
    url = f"{up.addresses.history_http}/{SERVICE}/GetChats"
    headers = {} if authorization is None else {"authorization": authorization}
    async with httpx.AsyncClient() as client:
        token = {"access_token": up.token("bob"), "token": up.token("bob")}
        answer = await client.post(url, json={}, headers=headers, params=token)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_over_tls(tmp_path: Path) -> None:
    signed = certificates(tmp_path / "certificates")
    files: dict[str, Any] = {"tls_cert_file": signed.cert_file, "tls_key_file": signed.key_file}
    async with running(tmp_path / "data", **files) as up:
        route = await find_route(up.addresses.connect, up.token("bob"), ca_file=signed.ca_file)
        assert route.history_http == up.addresses.history_http
        assert route.history_http.startswith("https://")
        trust = ssl.create_default_context(cafile=signed.ca_file)
        async with httpx.AsyncClient(verify=trust) as client:
            headers = {"authorization": f"Bearer {up.token('bob')}"}
            url = f"{route.history_http}/{SERVICE}/GetChats"
            assert (await client.post(url, json={}, headers=headers)).json() == {}
