"""What HAProxy is told: which port of the edge leads to which server."""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from pathlib import Path

import pytest

from cecochat.domain.errors import InvalidSettings
from cecochat.edge import haproxy
from cecochat.edge.configuration import of_instances, of_one_machine, written
from cecochat.ports.discovery import Instance, Service
from cecochat.settings.settings import load

EDGE = {"CECOCHAT_EDGE": "10.0.0.1:8443"}


INTERNAL = "10.9.9.9"


def server(service: Service, name: str, told: str, behind: str) -> Instance:
    return Instance(service, name, told, f"http://{INTERNAL}:9", "1", behind)


def section(text: str, name: str) -> str:
    """The lines of one section."""
    found = re.search(rf"^{name}\n((?: +.*\n)*)", text, re.M)
    assert found, f"no {name}"
    return found[1]


def servers(text: str, backend: str) -> list[str]:
    """Addresses of a backend's servers."""
    return re.findall(r"server \S+ (\S+)", section(text, f"backend {backend}"))


def test_on_one_machine_one_port_leads_to_all_three() -> None:
    settings = load(EDGE)
    text = written(settings, of_one_machine(settings))
    assert re.findall(r"^frontend (\S+)", text, re.M) == ["edge-8443"]
    assert servers(text, "connect") == ["127.0.0.1:8080"]
    assert servers(text, "messaging-8443") == ["127.0.0.1:8081"]
    assert servers(text, "history") == ["127.0.0.1:8082"]


def test_each_messaging_server_of_the_machine_has_a_port_of_its_own() -> None:
    settings = load(EDGE)
    found = of_instances(
        settings,
        [
            server("messaging", "m1", "10.0.0.1:20001", "10.0.0.1:31"),
            server("messaging", "m2", "10.0.0.1:20002", "10.0.0.1:32"),
            server("messaging", "elsewhere", "10.0.0.2:20001", "10.0.0.2:31"),
        ],
    )
    text = written(settings, found)
    assert servers(text, "messaging-20001") == ["10.0.0.1:31"]
    assert servers(text, "messaging-20002") == ["10.0.0.1:32"]
    assert servers(text, "messaging-8443") == []
    assert "10.0.0.2" not in text
    assert "path_beg /v1/" not in section(text, "frontend edge-20001")


def test_a_websocket_comes_to_the_port_that_leads_to_its_server() -> None:
    settings = load(EDGE)
    text = written(settings, of_one_machine(settings))
    assert servers(text, "websocket-8443") == ["127.0.0.1:8088"]
    rules = section(text, "frontend edge-8443")
    ours = "use_backend websocket-8443 if { path /v1/chat }"
    assert rules.index(ours) < rules.index("use_backend connect if { path_beg /v1/ ")
    told = server("messaging", "m1", "10.0.0.1:20001", "10.0.0.1:31")
    both = [told._replace(web_behind="10.0.0.1:38"), told._replace(instance_id="older")]
    text = written(settings, of_instances(settings, both))
    assert servers(text, "websocket-20001") == ["10.0.0.1:38"], "the other has none"
    assert len(servers(text, "messaging-20001")) == 2
    assert " proto h2" not in section(text, "backend websocket-20001")
    assert "{ path /v1/chat }" in section(text, "frontend edge-20001")


def test_any_connect_or_history_server_will_do() -> None:
    settings = load(EDGE)
    found = of_instances(
        settings,
        [
            server("connect", "c1", "10.0.0.1:8443", "10.0.0.1:80"),
            server("connect", "c2", "10.0.0.2:8443", "10.0.0.2:80"),
            server("history", "h2", "10.0.0.2:8443", "10.0.0.2:82"),
        ],
    )
    text = written(settings, found)
    assert servers(text, "connect") == ["10.0.0.1:80", "10.0.0.2:80"]
    assert INTERNAL not in section(text, "backend connect"), "it answers where clients ask"
    assert f"addr {INTERNAL} port 9" in section(text, "backend history")
    assert servers(text, "history") == ["10.0.0.2:82"]


def test_queries_over_http_come_to_the_listener_for_them() -> None:
    """gRPC has the same paths, so the type of the content tells one from the other."""
    settings = load(EDGE)
    text = written(settings, of_one_machine(settings))
    assert servers(text, "history-http") == ["127.0.0.1:8089"]
    assert " proto h2" not in section(text, "backend history-http")
    rules = section(text, "frontend edge-8443")
    ours = rules.index("use_backend history-http if { path_beg /cecochat.v1.History/ } !{ ")
    assert ours < rules.index("use_backend history if { path_beg /cecochat.v1.History/ }")
    told = server("history", "h1", "10.0.0.1:8443", "10.0.0.1:82")
    both = [told._replace(web_behind="10.0.0.1:89"), told._replace(instance_id="older")]
    text = written(settings, of_instances(settings, both))
    assert servers(text, "history-http") == ["10.0.0.1:89"], "the other has none"
    assert len(servers(text, "history")) == 2


def test_a_server_without_an_edge_is_not_behind_it() -> None:
    settings = load(EDGE)
    alone = Instance("messaging", "m1", "10.0.0.1:31", "http://10.0.0.1:9", "1")
    assert of_instances(settings, [alone]) == []


@pytest.mark.parametrize(
    "spoilt", ["10.0.0.1:82\n    server more 6.6.6.6:6", "10.0.0.1", "a:99999"]
)
def test_whoever_writes_to_the_registry_writes_no_lines_here(spoilt: str) -> None:
    sound = server("history", "h1", "10.0.0.1:8443", "10.0.0.1:82")
    others = [
        sound._replace(address=spoilt),
        sound._replace(behind=spoilt),
        sound._replace(web_behind=spoilt),
        sound._replace(health_url=f"http://{spoilt}"),
        sound._replace(instance_id="one two"),
    ]
    assert of_instances(load(EDGE), [*others, sound]) == of_instances(load(EDGE), [sound])


def test_servers_are_in_one_order_whoever_came_first() -> None:
    settings = load(EDGE)
    one, two = (server("history", name, "10.0.0.1:8443", f"{name}:1") for name in "ab")
    assert of_instances(settings, [one, two]) == of_instances(settings, [two, one])


def test_servers_that_speak_tls_need_somebody_whom_the_edge_trusts() -> None:
    settings = load({**EDGE, "CECOCHAT_TLS_CERT_FILE": "/cert.pem"})
    with pytest.raises(InvalidSettings, match="CECOCHAT_EDGE_CA_FILE"):
        written(settings, [])


def lines_of(text: str) -> list[str]:
    """Of the servers, in the order of the configuration."""
    return re.findall(r"^ +server (.*)$", text, re.M)


def test_the_edge_encrypts_to_servers_of_an_authority_that_it_trusts() -> None:
    settings = load({**EDGE, "CECOCHAT_EDGE_CA_FILE": "/ca's.pem"})
    found = of_instances(
        settings,
        [
            server("connect", "c1", "10.0.0.1:8443", "10.0.0.1:80"),
            server("history", "h1", "10.0.0.1:8443", "history.local:82"),
        ],
    )
    connect, history = lines_of(written(settings, found))
    assert connect.endswith(r" ssl alpn http/1.1 verify required ca-file '/ca'\''s.pem'")
    assert " proto h2 " in history
    assert history.endswith(
        r" ssl alpn h2 verify required ca-file '/ca'\''s.pem' verifyhost history.local"
    )


def test_a_health_over_tls_is_asked_so() -> None:
    sound = server("history", "h1", "10.0.0.1:8443", "10.0.0.1:82")
    encrypted = sound._replace(health_url="https://10.0.0.1:9")
    settings = load(EDGE)
    (line,) = lines_of(written(settings, of_instances(settings, [encrypted])))
    assert line.endswith(" check-ssl verify none")
    assert " ssl " not in line


@pytest.mark.parametrize(
    "edge", ["", "chat.example.com", ":8443", "chat:0", "chat:x", "chat:99999"]
)
def test_an_edge_is_a_host_and_a_port(edge: str) -> None:
    with pytest.raises(InvalidSettings, match="CECOCHAT_EDGE is"):
        of_one_machine(load({"CECOCHAT_EDGE": edge}))


async def test_a_file_that_cannot_be_read_is_a_change_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(haproxy, "CERTIFICATE_EVERY_S", 0.01)
    file = tmp_path / "edge.pem"
    file.write_text("one")
    async with aclosing(haproxy.changes([file])) as changes, asyncio.timeout(60):
        seen = asyncio.create_task(anext(changes))
        await asyncio.sleep(0)  # it has looked once
        file.unlink()
        file.mkdir()  # as for who has no right to read it: not even root reads this
        await seen
        file.rmdir()
        await anext(changes)
        file.write_text("two")
        await anext(changes)
