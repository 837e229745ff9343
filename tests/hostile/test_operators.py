"""Everybody who may not ask the internal listeners, at the real sockets of all servers."""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from sanic import Sanic

from cecochat.auth.operators import AUDIENCE, FOR_OPERATORS, SCOPES, Operators
from cecochat.ports.configuration import ASSIGNMENT
from cecochat.run import system
from cecochat.runtime import guard, internal
from cecochat.runtime.asking import of_server
from cecochat.runtime.guard import scope_of
from cecochat.runtime.http import app
from cecochat.settings.settings import Settings
from cecochat.telemetry.logs import TextLines
from tests.support import operators
from tests.support.hostile import minted, settings

FOR_CLIENTS = "connect-for-clients"
ATTACHMENTS = ("CreateUpload", "FinishUpload", "GetDownload")
BACKEND = (
    "Send", "GetMessages", "GetChats", "GetGroup", "ListMembers", "SearchMessages", "RevokeTokens",
    "ListReports", "GetReport", "TakeReport", "DecideReport", "ListActs",
    "SetRule", "ListRules",
)  # fmt: skip
OPEN = {("GET", "livez"): "anybody", ("GET", "readyz"): "anybody"}
EVERYWHERE = OPEN | {
    ("GET", "metrics"): "metrics",
    ("GET", "documents"): "read",
    ("GET", "documents/<name:str>"): "read",
}
SCALED = EVERYWHERE | {("GET", "internal/v1/load"): "metrics"}
DECLARED = {
    "connect": SCALED,
    "messaging": SCALED
    | {
        ("GET", "partitions"): "read",
        ("GET", "sessions"): "people",
        ("GET", "internal/v1/partitions"): "read",
        ("GET", "internal/v1/sessions"): "people",
        ("POST", "internal/v1/asked"): "pass_on",
        ("POST", "internal/v1/called"): "pass_on",
        ("POST", "internal/v1/present"): "pass_on",
    },
    "history": SCALED
    | {
        ("GET", "where/<message_id:str>"): "people",
        ("GET", "reports"): "people",
        ("GET", "acts"): "people",
        ("POST", "reports/<report_id:str>/take"): "change",
        ("POST", "reports/<report_id:str>/decide"): "change",
        ("GET", "letters"): "people",
        ("GET", "letters/<position:str>"): "people",
        ("GET", "holes"): "read",
        ("GET", "overview"): "read",
        ("GET", ""): "anybody",
        ("GET", "page/<name:str>"): "anybody",
        ("POST", "revocations"): "change",
        ("POST", "retention"): "change",
        ("POST", "internal/v1/sought"): "pass_on",
        ("POST", "internal/v1/contact"): "pass_on",
        ("POST", "internal/v1/queries"): "pass_on",
    },
    "materialize": SCALED | {("GET", "audit"): "read", ("POST", "audit/<partition:int>"): "change"},
    "hooks": SCALED
    | {
        ("GET", "hooks"): "read",
        ("GET", "hooks/<endpoint:str>"): "people",
        ("POST", "hooks/<endpoint:str>"): "change",
        ("POST", "internal/v1/events"): "pass_on",
    },
    "control": EVERYWHERE | {("GET", "decisions"): "read", ("GET", "control"): "read"},
}
"""Server -> method and path of each route -> who may ask: what docs/reference/http-api.md says."""
EXAMPLES = {
    "<name:str>": "configuration",
    "<message_id:str>": "778254961901568000",
    "<position:str>": "7:91",
    "<partition:int>": "0",
    "<report_id:str>": "5f1d77c0a9b2",
    "<endpoint:str>": "shop",
}


@dataclass
class Servers:
    """All of them in this process. `urls`: of their internal listeners."""

    urls: dict[str, str]
    settings: Settings
    apps: dict[str, Sanic[Any, Any]]

    def guarded(self) -> Iterator[tuple[str, str, str]]:
        """Method, URL and scope of every route that is not for anybody."""
        for service, routes in DECLARED.items():
            for (method, path), scope in routes.items():
                for placeholder, example in EXAMPLES.items():
                    path = path.replace(placeholder, example)
                if scope != "anybody":
                    yield method, f"{self.urls[service]}/{path}", scope


@asynccontextmanager
async def servers(folder: Path) -> AsyncIterator[Servers]:
    chosen = settings(folder, partitions=4, control_port=0)
    before = set(Sanic._app_registry)
    async with system.opened(chosen) as parts, AsyncExitStack() as stack:
        owners = dict.fromkeys(map(str, range(4)), "messaging-1")
        await parts.configuration.put(ASSIGNMENT, owners, expected=0, by="test")
        urls: dict[str, str] = {}
        for service in ("messaging", "materialize", "history", "connect", "control", "hooks"):
            started = system.SERVERS[service](parts, f"{service}-1")
            urls[service] = (await stack.enter_async_context(started)).health_url
        names = set(Sanic._app_registry) - before
        yield Servers(urls, chosen, {name: Sanic.get_app(name) for name in names})


async def test_each_route_says_who_may_ask(tmp_path: Path) -> None:
    async with servers(tmp_path) as up:
        said = {
            name.rpartition("-")[0]: {
                (method, route.path): scope_of(route)
                for route in made.router.routes
                for method in route.methods
            }
            for name, made in up.apps.items()
        }
    assert said.pop(FOR_CLIENTS).keys() == {
        ("GET", ""),
        ("GET", "livez"),
        ("GET", "v1/connect"),
        ("POST", "v1/events"),
        ("GET", "openapi.json"),
        ("POST", "cecochat.v1.Directory/Lookup"),
        *(("POST", f"cecochat.v1.Backend/{each}") for each in BACKEND),
        *(
            ("POST", f"cecochat.v1.{service}/{each}")
            for service in ("Attachments", "Backend")
            for each in ATTACHMENTS
        ),
        ("PUT", "files"),
        ("GET", "files"),
    }
    queries = {"FindMessage", "GetChats", "GetGroup", "GetMessages", "ListMembers"}
    queries |= {"SearchMessages", "Report", "Block", "Unblock", "ListBlocks"}
    assert said.pop("history-for-clients").keys() == {
        ("GET", "openapi.json"),
        *(("POST", f"cecochat.v1.History/{each}") for each in queries),
    }
    assert said == DECLARED


async def test_a_route_that_does_not_say_so_cannot_be_served() -> None:
    made = app("forgetful")

    @made.get("/secret")
    async def secret(_: object) -> None:
        raise AssertionError("it was asked")

    with pytest.raises(ValueError, match=r"\['secret'\] do not say who may ask"):
        internal.serving(made, Settings(), 0)
    Sanic.unregister_app(made)


def forged(part: dict[str, Any], head: dict[str, Any]) -> str:
    """Without a signature."""
    pieces = (json.dumps(each).encode() for each in (head, part))
    return ".".join([*(base64.urlsafe_b64encode(each).decode().rstrip("=") for each in pieces), ""])


def strangers(up: Servers) -> dict[str, dict[str, str]]:
    """What everybody sends who is nobody here."""
    now = time.time()
    claims = {"sub": "eve", "aud": AUDIENCE, "exp": now + 600, "scope": " ".join(SCOPES)}
    ours, theirs = operators.SECRET_FILE.read_bytes(), bytes(64)
    key = operators.operators()._key
    tokens = {
        "a user's": minted(str(up.settings.secret_file), sub="eve", scope=" ".join(SCOPES)),
        "expired": operators.operators().mint("eve", SCOPES, -1),
        "of another cluster": Operators(theirs).mint("eve", SCOPES, 600),
        "signed with the secret itself": jwt.encode(claims, ours, algorithm="HS256"),
        "of another algorithm": jwt.encode(claims, key * 2, algorithm="HS512"),
        "of no algorithm": forged(claims, {"alg": "none", "typ": "JWT"}),
        "for another audience": jwt.encode({**claims, "aud": "cecochat"}, key, algorithm="HS256"),
        "for nobody": jwt.encode({**claims, "sub": ""}, key, algorithm="HS256"),
        "without an end": jwt.encode({**claims, "exp": None}, key, algorithm="HS256"),
        "of an endless end": jwt.encode({**claims, "exp": 1e400}, key, algorithm="HS256"),
        "no token": "nonsense",
    }
    sent = {name: {"authorization": f"Bearer {token}"} for name, token in tokens.items()}
    return {"nothing": {}, "another scheme": {"authorization": "Basic ZXZl"}, **sent}


async def test_nobody_comes_in_who_is_no_operator(tmp_path: Path) -> None:
    asked = 0
    async with servers(tmp_path) as up, httpx.AsyncClient(trust_env=False) as client:
        for name, headers in strangers(up).items():
            for method, url, _ in up.guarded():
                answer = await client.request(method, url, headers=headers, json={"user": "alice"})
                error = answer.json()["error"]
                code = "token_expired" if name == "expired" else "unauthenticated"
                assert (answer.status_code, error["code"]) == (401, code), (name, url)
                assert answer.headers["www-authenticate"] == "Bearer"
                assert "cecochat token --operator" in error["message"]
                asked += 1
        stranger = await client.get(
            f"{up.urls['messaging']}/partitions", headers=strangers(up)["of another cluster"]
        )
        assert "CECOCHAT_CLUSTER_SECRET_FILE" in stranger.text
        for url in up.urls.values():
            for path in ("livez", "readyz"):
                assert (await client.get(f"{url}/{path}")).is_success
    print(f"{asked} calls refused")


async def test_a_token_is_for_its_scopes_alone(tmp_path: Path) -> None:
    async with servers(tmp_path) as up, httpx.AsyncClient(trust_env=False) as client:
        for method, url, scope in up.guarded():
            others = [each for each in SCOPES if each != scope]
            answer = await client.request(method, url, headers=operators.headers(*others))
            assert answer.status_code == 403, url
            advice = f"--scope {scope}" if scope in FOR_OPERATORS else "only servers"
            assert advice in answer.json()["error"]["message"]
            own = next(each for each in SCOPES if each == scope)
            async with client.stream(method, url, headers=operators.headers(own)) as begun:
                assert begun.status_code not in (401, 403), url  # some go on for minutes


async def test_a_page_whose_name_leads_here_sees_nothing(tmp_path: Path) -> None:
    """DNS rebinding: even what anybody may ask, and even with a token."""
    async with servers(tmp_path) as up, operators.client() as client:
        for host in ("evil.example", "localhost.evil.example", "", "[::1", "evil@127.0.0.1"):
            for url in up.urls.values():
                for path in ("livez", "metrics", "nothing"):
                    answer = await client.get(f"{url}/{path}", headers={"host": host})
                    assert answer.status_code == 421, (host, path)
                    assert answer.json()["error"]["code"] == "invalid_argument"


async def test_its_own_names_lead_to_a_server(tmp_path: Path) -> None:
    chosen = settings(tmp_path, advertise_host="chat.example")
    async with system.started(chosen) as addresses, httpx.AsyncClient(trust_env=False) as client:
        url = f"{addresses.health['history']}/livez"
        for host in ("127.0.0.1", "[::1]:8083", "LOCALHOST:1", "10.1.2.3", "chat.example:80"):
            assert (await client.get(url, headers={"host": host})).is_success, host


async def test_who_looks_at_people_is_logged_and_so_is_who_may_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cecochat.operators")
    async with servers(tmp_path) as up, operators.client() as client:
        history, messaging = up.urls["history"], up.urls["messaging"]
        await client.get(f"{messaging}/partitions")
        await client.get(f"{history}/holes")
        await client.get(f"{messaging}/sessions", params={"user": ["alice", "b\nob"]})
        await client.get(f"{history}/where/4711", params={"chat": "d:alice~bob"})
        await client.post(f"{history}/revocations", json={"user": "alice", "sid": "phone"})
        await client.get(f"{history}/letters/7:91", headers=operators.headers("read"))
        await client.get(f"{history}/letters", headers={"authorization": ""})
    lines = [each for each in caplog.records if each.name == "cecochat.operators"]
    seen = [(line.operator, line.path, line.concerns, line.status) for line in lines]  # type: ignore[attr-defined]
    unknown, someone = "somebody unknown", "an operator"
    assert seen == [
        (someone, "/sessions", ["alice", "b\nob"], 200),
        (someone, "/where/4711", ["4711", "d:alice~bob"], 400),
        (someone, "/revocations", ["alice", "phone"], 200),
        (someone, "/letters/7:91", ["7:91"], 403),
        (unknown, "/letters", [], 401),
    ]
    assert {line.address for line in lines} == {"127.0.0.1"}  # type: ignore[attr-defined]
    assert "eyJ" not in caplog.text, "a token"
    assert "an operator at 127.0.0.1: POST /revocations (alice, phone): 200" in caplog.text


async def test_nobody_writes_lines_of_their_own_into_that_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As text, where a name in the query is decoded."""
    caplog.set_level(logging.INFO, "cecochat.operators")
    caplog.handler.setFormatter(TextLines())
    forged = "eve\n2026-11-28 01:00:00,000 INFO cecochat.operators: root at 10.0.0.1: GET /sessions"
    async with servers(tmp_path) as up, httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{up.urls['messaging']}/sessions", params={"user": forged})
        assert answer.status_code == 401
    said = [line for line in caplog.text.splitlines() if "cecochat.operators" in line]
    assert len(said) == 1, said
    assert r"(eve\n2026" in said[0]


async def test_nobody_without_a_token_fills_that_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cecochat.operators")
    monkeypatch.setattr(guard, "UNKNOWN_PER_S", 0.001)
    async with servers(tmp_path) as up, operators.client() as client:
        url = f"{up.urls['messaging']}/sessions"
        for _ in range(guard.UNKNOWN_BURST + 20):
            await client.get(url, params={"user": "alice"}, headers={"authorization": ""})
        await client.get(url, params={"user": "alice"})
        monkeypatch.setattr(guard, "UNKNOWN_PER_S", 1_000_000)
        await client.get(url, params={"user": "alice"}, headers={"authorization": ""})
    lines = [each.getMessage() for each in caplog.records if each.name == "cecochat.operators"]
    assert len(lines) == guard.UNKNOWN_BURST + 3
    assert lines[-3].startswith("an operator at")
    assert lines[-2] == "somebody unknown made 20 more calls that were not logged"


async def test_a_server_of_another_secret_is_told_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        servers(tmp_path) as up,
        of_server(Operators(bytes(64)), "control-2", "read")() as client,
    ):
        answer = await client.get(f"{up.urls['messaging']}/partitions")
        assert answer.status_code == 401
    assert "does not let this server in" in caplog.text
    assert "CECOCHAT_CLUSTER_SECRET_FILE" in caplog.text
