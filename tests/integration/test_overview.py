"""`GET /overview` of a history server: the facts of the operator's page, and who may see them."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from cecochat.adapters.embedded.configuration import EmbeddedConfiguration
from cecochat.auth.operators import SCOPES
from cecochat.cli.main import app
from cecochat.client import Message
from cecochat.ports.discovery import Instance
from cecochat.runtime import http
from tests.integration.clients import device, next_of
from tests.integration.cluster import cluster
from tests.integration.control_world import unavailable
from tests.integration.systems import Running, running
from tests.support import operators
from tests.support.eventually import eventually

WITHIN_S = 30.0


def url(up: Running) -> str:
    return up.addresses.health["history"]


async def facts(at: str) -> dict[str, Any]:
    async with operators.client() as client:
        answer = await client.get(f"{at}/overview")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as up:
        yield up


async def test_one_process_is_shown_whole(up: Running) -> None:
    shown = await facts(url(up))
    assert list(shown["servers"]) == ["messaging", "materialize", "history", "connect", "hooks"]
    assert {
        name: live[0]["health_url"] for name, live in shown["servers"].items()
    } == up.addresses.health
    assert (shown["wrong"], shown["partitions"], shown["control"]) == ([], {"owned": 1}, None)
    assert shown["alerts"] == {"prometheus": None, "why": "", "alerts": []}


async def test_sends_deliveries_and_latency_are_counted(up: Running) -> None:
    await facts(url(up))
    async with device(up, "alice") as alice, device(up, "bob") as bob:
        await alice.send("bob", "hello")
        await next_of(bob, Message)
        await eventually(lambda: _has_measured(up), WITHIN_S)


async def _has_measured(up: Running) -> bool:
    rates = (await facts(url(up)))["rates"]
    stages = [stage for stage, ages in rates["stages"].items() if ages]
    return bool(
        rates["sends_per_s"]
        and rates["deliveries_per_s"]
        and rates["sessions"]
        and stages == ["acknowledged", "delivered", "materialized"]  # nothing goes elsewhere here
    )


async def test_nothing_is_shown_without_a_token_and_the_rest_by_scope(up: Running) -> None:
    async with httpx.AsyncClient(base_url=url(up), trust_env=False) as client:
        answer = await client.get("/overview")
        assert (answer.status_code, list(answer.json())) == (401, ["error"])
        for scope in SCOPES:
            answer = await client.get("/overview", headers=operators.headers(scope))
            assert answer.status_code == (200 if scope == "read" else 403), scope
        answer = await client.get("/overview", headers=operators.headers("read"))
        assert answer.json()["rates"] is None
        assert answer.json()["operator"] == {"name": "an operator", "scopes": ["read"]}
        told = await client.get("/overview", headers=operators.headers("read", "metrics"))
        assert told.json()["rates"]["sessions"] == 0


async def test_status_says_the_same_of_one_process(
    up: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CECOCHAT_OPERATOR_TOKEN", operators.token("read"))
    monkeypatch.setattr("cecochat.cli.target.health_urls", _at(url(up)))
    monkeypatch.setenv("CECOCHAT_DATA_DIR", up.addresses.data)
    shown = await facts(url(up))
    result = await asyncio.to_thread(CliRunner().invoke, app([]), ["status", "--json"])
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert _timeless(said) == _timeless({name: shown[name] for name in said})


def _at(address: str) -> Any:
    async def health_urls(*_: object) -> list[str]:
        return [address]

    return health_urls


def _timeless(said: dict[str, Any]) -> dict[str, Any]:
    for server in (each for live in said["servers"].values() for each in live):
        assert server.pop("answered_ms") > 0
    return said


# -- what goes wrong


async def test_a_server_that_does_not_answer_or_has_left_is_shown(tmp_path: Path) -> None:
    async with cluster(tmp_path) as up:
        await up.start("messaging-a")
        await up.assign("messaging-a", "messaging-silent")
        at = up.parts.discovery.live("history")[0].health_url
        silent = Instance("messaging", "messaging-silent", "127.0.0.1:1", "http://127.0.0.1:1", "1")
        await up.parts.discovery.register(silent)
        await facts(at)
        shown = await facts(at)
        servers = {each["instance_id"]: each for each in shown["servers"]["messaging"]}
        assert servers["messaging-silent"]["not_ready"] == "it does not answer"
        assert servers["messaging-silent"]["answered_ms"] is None
        assert "messaging-silent is not ready: it does not answer" in shown["wrong"]
        rows = {(row["server_id"], row["state"]) for row in shown["ownership"]["rows"]}
        assert ("messaging-silent", "silent") in rows
        await up.parts.discovery.deregister(silent)

        async def gone() -> bool:
            return [each["instance_id"] for each in (await facts(at))["gone"]] == [
                "messaging-silent"
            ]

        await eventually(gone, WITHIN_S)


async def test_what_cannot_be_read_any_more_is_shown_as_old(
    up: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (await facts(url(up)))["ownership"]
    assert before["stale"] is False
    monkeypatch.setattr(EmbeddedConfiguration, "get", unavailable(Counter(), "get"))

    async def is_old() -> bool:
        shown = await facts(url(up))
        told = shown["wrong"] == ["the assignment cannot be read now: the test says so"]
        return told and bool(shown["ownership"]["stale"])

    await eventually(is_old, WITHIN_S)
    shown = await facts(url(up))
    assert shown["ownership"]["rows"] == before["rows"]
    assert before["read_ms"] <= shown["ownership"]["read_ms"] < shown["at_ms"]


async def test_an_assignment_that_was_never_read_is_not_said_to_be_empty(
    up: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EmbeddedConfiguration, "get", unavailable(Counter(), "get"))
    shown = await facts(url(up))
    assert shown["wrong"] == ["the assignment cannot be read now: the test says so"]
    assert (shown["unread"], shown["ownership"]) == ("the test says so", None)


@contextmanager
def hung() -> Iterator[str]:
    """The URL of a server that takes connections and answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


async def test_a_server_that_hangs_is_waited_for_once_and_not_by_each_viewer(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as up:
        at = up.parts.discovery.live("history")[0].health_url
        with hung() as where:
            await up.parts.discovery.register(
                Instance("messaging", "messaging-hung", "127.0.0.1:1", where, "1")
            )
            shown = await asyncio.gather(*(facts(at) for _ in range(8)))
    assert len({each["at_ms"] for each in shown}) == 1, "they were gathered once"
    assert "messaging-hung is not ready: it does not answer" in shown[0]["wrong"]


# -- alerts


@asynccontextmanager
async def prometheus(answer: object) -> AsyncIterator[str]:
    from sanic.response import json as json_response

    made = http.app("prometheus")

    @made.get("/api/v1/alerts")
    async def alerts(request: Any) -> Any:
        assert "Bearer" not in request.headers.get("authorization", ""), "it is no server of ours"
        return json_response(answer)

    async with http.serving(made, "127.0.0.1", 0) as port:
        yield f"http://127.0.0.1:{port}"


def alert(name: str, state: str, **labels: str) -> dict[str, Any]:
    return {
        "labels": {"alertname": name, "severity": "critical", **labels},
        "annotations": {"summary": "It is late", "runbook_url": "docs/runbook.md#late"},
        "state": state,
        "activeAt": "2026-11-28T20:00:00.5Z",
    }


async def test_alerts_are_those_of_prometheus_about_this_system(tmp_path: Path) -> None:
    said = [
        alert("Pending", "pending"),
        alert("Ours", "firing", namespace="cecochat"),
        alert("Theirs", "firing", namespace="another"),
    ]
    async with (
        prometheus({"status": "success", "data": {"alerts": said}}) as at,
        running(tmp_path, prometheus_url=at.replace("//", "//anna:secret@")) as up,
    ):
        shown = (await facts(url(up)))["alerts"]
    assert shown["prometheus"] == at, "a password is shown to nobody"
    assert [each["name"] for each in shown["alerts"]] == ["Ours", "Pending"]
    assert shown["alerts"][0]["since_ms"] == 1_795_896_000_500
    assert shown["alerts"][0]["runbook"] == "docs/runbook.md#late"


@pytest.mark.parametrize("answer", [{}, {"data": {"alerts": [{}]}}, []])
async def test_a_prometheus_that_says_nonsense_hides_nothing_else(
    tmp_path: Path, answer: object
) -> None:
    async with prometheus(answer) as at, running(tmp_path, prometheus_url=at) as up:
        shown = await facts(url(up))
    assert "does not say which alerts fire" in shown["alerts"]["why"]
    assert shown["partitions"] == {"owned": 1}
