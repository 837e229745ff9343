"""The OpenAPI document: it is valid and served, and says what the real servers answer."""

from __future__ import annotations

import asyncio
import gzip
import json
from base64 import b64encode
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from cecochat.client import connect
from tests.integration.systems import Running, running
from tests.integration.test_docs import ROOT
from tests.support.eventually import eventually

DOCUMENT: dict[str, Any] = json.loads((ROOT / "services/cecochat/v1/openapi.json").read_text())
CONNECT = "/v1/connect"
LOOKUP = "/cecochat.v1.Directory/Lookup"
MESSAGES = "/cecochat.v1.History/GetMessages"
CHATS = "/cecochat.v1.History/GetChats"
FIND = "/cecochat.v1.History/FindMessage"
GROUP = "/cecochat.v1.History/GetGroup"
SEARCH = "/cecochat.v1.History/SearchMessages"
MEMBERS = "/cecochat.v1.History/ListMembers"
REPORTING = tuple(
    f"/cecochat.v1.History/{each}" for each in ("Report", "Block", "Unblock", "ListBlocks")
)
CALLS = (LOOKUP, MESSAGES, CHATS, GROUP, MEMBERS, SEARCH, FIND, *REPORTING)
BACKEND = tuple(
    f"/cecochat.v1.Backend/{each}"
    for each in "Send GetMessages GetChats GetGroup ListMembers SearchMessages RevokeTokens".split()
)
MODERATION = tuple(
    f"/cecochat.v1.Backend/{each}"
    for each in "ListReports GetReport TakeReport DecideReport ListActs SetRule ListRules".split()
)
UPLOADS = ("CreateUpload", "FinishUpload", "GetDownload")
ATTACHMENTS = tuple(f"/cecochat.v1.Attachments/{each}" for each in UPLOADS)
OF_BACKEND = tuple(f"/cecochat.v1.Backend/{each}" for each in UPLOADS)
AB = {"chatId": "d:alice~bob"}
NOT_PROVOKED = {"500"}
"""Faults of a server: nobody can provoke one from outside."""


def closed(schema: Any) -> Any:
    """The same schema without room for anything that it does not name."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(each) for name, each in schema.items()}
    if "properties" in schema:
        found.setdefault("additionalProperties", False)
    return found


COMPONENTS = closed(DOCUMENT["components"])


class Asking:
    """Asks the real servers, and compares each answer with the document."""

    def __init__(self, up: Running) -> None:
        self.up = up
        self.seen: set[tuple[str, str]] = set()  # path and status

    async def __call__(self, path: str, user: str = "alice", **sent: Any) -> Any:
        addresses = self.up.addresses
        url = addresses.history_http if "History" in path else addresses.connect
        token = self.up.service_token() if "Backend" in path else self.up.token(user)
        headers = {"authorization": f"Bearer {token}"} | sent.pop("headers", {})
        method = "GET" if path == CONNECT else "POST"
        if method == "POST" and not sent.keys() & {"content", "data"}:
            sent.setdefault("json", {})
        async with httpx.AsyncClient(timeout=60) as client:
            answer = await client.request(method, url + path, headers=headers, **sent)
        self._compare(path, method.lower(), answer)
        return answer.json()

    def _compare(self, path: str, method: str, answer: httpx.Response) -> None:
        status = str(answer.status_code)
        self.seen.add((path, status))
        responses = DOCUMENT["paths"][path][method]["responses"]
        said = responses.get(status) or responses.get("default")
        assert said, f"{path} answers {status}, of which the document says nothing"
        content = said["content"][answer.headers["content-type"]]
        schema = {**content["schema"], "components": COMPONENTS}
        Draft202012Validator(schema).validate(answer.json())


@pytest.fixture
async def asking(up: Running) -> Asking:
    async with connect(up.addresses.connect, up.token("alice"), listen=False) as alice:
        sent = await alice.send("bob", "hello")
        assert (await alice.history("bob")).messages[-1].id == sent
    return Asking(up)


def test_it_is_valid() -> None:
    validate(DOCUMENT)


async def test_both_servers_have_it(up: Running) -> None:
    async with httpx.AsyncClient(timeout=60) as client:
        for url in (up.addresses.connect, up.addresses.history_http):
            answer = await client.get(f"{url}/openapi.json")
            assert answer.headers["content-type"] == "application/json"
            assert answer.json() == DOCUMENT


def test_it_has_every_path_that_is_asked_here() -> None:
    assert set(DOCUMENT["paths"]) == {
        CONNECT,
        *CALLS,
        *BACKEND,
        *MODERATION,
        *ATTACHMENTS,
        *OF_BACKEND,
    }


async def test_answers_are_as_it_says(asking: Asking) -> None:
    plain, called = await asking(CONNECT), await asking(LOOKUP)
    assert called["historyHttp"] == plain["history_http"] == asking.up.addresses.history_http
    assert "partition" not in called, "0 is left out in JSON of protobuf"
    (message,) = (await asking(MESSAGES, json=AB))["messages"]
    assert (await asking(CHATS, "bob"))["chats"][0]["unreadCount"] == 1

    async def is_found() -> bool:
        found: Any = await asking(SEARCH, json={"text": "hello"})
        return bool(found == {"messages": [message]})

    await eventually(is_found)
    assert (await asking(FIND, json={"messageId": message["id"]}))["steps"]


async def test_answers_to_a_back_end_are_as_it_says(asking: Asking) -> None:
    send, messages, chats, group, members, search, revoke = BACKEND
    made = {"name": "Us"}
    sends = [
        {
            "userId": "shop",
            "chatId": "d:bob~shop",
            "clientMessageId": "1",
            "message": {"text": "dots"},
        },
        {"userId": "a b", "chatId": "d:bob~shop", "clientMessageId": "2"},
        {
            "userId": "bob",
            "chatId": "g:us",
            "clientMessageId": "3",
            "membership": {"options": made},
        },
    ]
    sent = await asking(send, json={"sends": sends})
    assert [next(iter(each)) for each in sent["results"]] == ["messageId", "refused", "messageId"]
    token = {"token": sent["token"]}

    async def read(path: str, **request: Any) -> Any:
        """The answer, once the history has all that was sent."""
        body = {"userId": "bob", "request": {**request, **token}}
        async with asyncio.timeout(60):
            while True:
                said = await asking(path, json=body)
                if said.get("code") != "unavailable":
                    return said
                await asyncio.sleep(0.05)

    assert (await read(messages, chatId="d:bob~shop"))["messages"][0]["userId"] == "shop"
    assert len((await read(chats))["chats"]) == 3
    assert (await read(group, chatId="g:us"))["options"] == made
    assert [each["userId"] for each in (await read(members, chatId="g:us"))["members"]] == ["bob"]

    async def found() -> Any:
        return (await read(search, text="dots")).get("messages")

    await eventually(found, within_s=60)
    assert [each["userId"] for each in await found()] == ["shop"]
    assert int((await asking(revoke, json={"userId": "bob"}))["beforeMs"]) > 0


async def test_answers_about_reports_are_as_it_says(asking: Asking) -> None:
    report, block, unblock, blocks = REPORTING
    queue, get, take, decide, acts, set_, rules = MODERATION
    (message,) = (await asking(MESSAGES, json=AB))["messages"]
    body = {**AB, "messageId": message["id"], "reason": "spam", "text": "no"}
    one = {"reportId": (await asking(report, "bob", json=body))["reportId"]}
    (queued,) = (await asking(queue, json={"withMessages": True}))["reports"]
    assert (queued["message"], queued["text"]) == (message, "no")
    assert (await asking(take, json=one))["report"]["moderator"] == "shop"
    assert (await asking(decide, json={**one, "decision": "dismissed"}))["report"]["decision"]
    assert (await asking(get, json=one))["report"]["state"] == "STATE_DONE"
    assert [each["what"] for each in (await asking(acts))["acts"]] == ["decide", "take"]
    rule = {"kind": "KIND_SLOW", "name": "g:us", "seconds": 30}
    assert await asking(set_, json={"rule": rule}) == {}
    assert (await asking(rules))["rules"] == [rule]
    assert await asking(block, json={"userId": "eve"}) == {}
    assert int((await asking(blocks))["blocks"][0]["blockedAtMs"]) > 0
    assert await asking(unblock, json={"userId": "eve"}) == {}


async def test_answers_about_attachments_are_as_it_says(asking: Asking) -> None:
    create, finish, download = ATTACHMENTS
    file = {
        "name": "a.txt",
        "mediaType": "text/plain",
        "sizeBytes": "5",
        "sha256": b64encode(sha256(b"hello").digest()).decode(),
    }
    message = {**AB, "clientMessageId": "1"}
    begun = await asking(create, json={**message, "attachment": file})
    async with httpx.AsyncClient(base_url=asking.up.addresses.connect) as client:
        headers = {each["name"]: each["value"] for each in begun["headers"]}
        assert (await client.put(begun["url"], content=b"hello", headers=headers)).is_success
    done = await asking(finish, json={**message, "attachment": begun["attachment"]})
    assert done["attachment"]["receipt"]
    missing = {**AB, "messageId": "1", "attachmentId": begun["attachment"]["id"]}
    assert (await asking(download, json=missing))["code"] == "not_found"
    of_alice = {"userId": "alice", "request": {**message, "attachment": file}}
    by_backend = await asking(OF_BACKEND[0], json=of_alice)
    assert by_backend["attachment"]["name"] == "a.txt"
    body = {**message, "attachment": {**file, "sizeBytes": str(1 << 39)}}
    assert (await asking(create, json=body))["code"] == "resource_exhausted"


REFUSED: dict[str, Callable[[Asking, str], Awaitable[Any]]] = {
    "400": lambda ask, path: ask(path, content=b"[]", headers={"content-type": "application/json"}),
    "401": lambda ask, path: ask(path, headers={"authorization": "Bearer nonsense"}),
    "403": lambda ask, path: ask(path, headers={"origin": "https://evil.example"}),
    "415": lambda ask, path: ask(path, data={"a": "b"}),
    "501": lambda ask, path: ask(path, headers={"content-encoding": "br"}),
    "429": lambda ask, path: ask(
        path,
        content=gzip.compress(b" " * (5 << 20)),
        headers={"content-type": "application/json", "content-encoding": "gzip"},
    ),
}


async def test_every_error_is_as_it_says(asking: Asking) -> None:
    for path in (*CALLS, *BACKEND, *MODERATION, *ATTACHMENTS, *OF_BACKEND):
        for status, provoke in REFUSED.items():
            await provoke(asking, path)
            assert (path, status) in asking.seen
    ahead = {"logId": await log_of(asking.up), "offsets": {"0": "1000000"}}
    await asking(CHATS, json={"token": ahead})
    await asking(CHATS, headers={"connect-timeout-ms": "0"})
    await asking(FIND, json={"messageId": str(1 << 60)})
    await asking(CONNECT, headers={"authorization": ""})
    documented = {
        status for path in CALLS for status in DOCUMENT["paths"][path]["post"]["responses"]
    }
    assert {status for _, status in asking.seen} | {"200"} == documented - NOT_PROVOKED


async def log_of(up: Running) -> str:
    async with up.stream("alice") as stream:
        assert stream.position
        return stream.position.log_id


async def test_while_nobody_owns_the_partition(tmp_path: Path) -> None:
    async with running(tmp_path) as up:
        await up.configuration.change("assignment", lambda _: {}, by="test")
        asking = Asking(up)
        for path in (CONNECT, LOOKUP):
            async with asyncio.timeout(20):
                while (path, "503") not in asking.seen:
                    await asking(path)
