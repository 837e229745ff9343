"""What is waited for until a test cluster is whole, and what is said where it is not."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from scripts.backends import probe
from scripts.backends.instance import Failed
from scripts.cluster import plan, ready
from tests.support.node import plans

Ran = list[tuple[str, ...]]


def noting(commands: Ran, answers: Iterator[int]) -> Callable[..., int]:
    """In place of commands: what they were goes there, and they end like that."""

    def run(*words: str) -> int:
        commands.append(words)
        return next(answers)

    return run


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ran:
    """Commands that were run in a cluster in which all is there; nobody waits."""
    commands: Ran = []
    monkeypatch.setattr(ready, "ETC", tmp_path)
    monkeypatch.setattr(ready, "questions", lambda nodes: {"nodes": (lambda: nodes, nodes)})
    monkeypatch.setattr(ready, "_nomad_clients", lambda: 3)
    monkeypatch.setattr(ready, "_healthy", lambda: True)
    monkeypatch.setattr(ready, "_done", noting(commands, repeat(1)))
    monkeypatch.setattr(ready, "POLL_S", 0.0)
    monkeypatch.setattr(ready, "WITHIN_S", 0.0)
    return commands


# Who returns


@pytest.mark.parametrize(
    ("has_data", "others", "returns"),
    [(False, {2}, True), (False, set(), False), (False, {1}, False), (True, {2, 3}, False)],
)
def test_a_node_without_a_disk_returns_to_others(
    has_data: bool, others: set[int], returns: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the first start of all, nobody is there before it."""
    there = {plan.address(number) for number in others}
    monkeypatch.setattr(probe, "kafka", lambda host, _: host in there)
    kafka = tmp_path / "kafka"
    if has_data:
        kafka.mkdir()
    assert ready.returns(plans(3)[0], kafka) == returns


def test_who_returns_waits_for_the_quorum(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([False, False, True])
    monkeypatch.setattr(probe, "kafka", lambda *_: next(answers))
    monkeypatch.setattr(ready, "POLL_S", 0.0)
    ready.in_quorum(plans(3)[0])
    assert next(answers, None) is None
    monkeypatch.setattr(probe, "kafka", lambda *_: False)
    monkeypatch.setattr(ready, "WITHIN_S", 0.0)
    with pytest.raises(Failed, match="broker of this node"):
        ready.in_quorum(plans(3)[0])


# What has to be there


@pytest.mark.parametrize("nodes", [1, 3, 5])
def test_all_nodes_of_what_replicates_are_waited_for(
    nodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "kafka", lambda *_: True)
    for name in ("redis", "postgres"):
        monkeypatch.setattr(probe, name, lambda host, _: host == plan.address(1))
    monkeypatch.setattr(probe, "cassandra_peers", peers_in_a_ring_of(nodes))
    monkeypatch.setattr(ready, "_json", lambda *_: ["peer"] * nodes)
    counted = {what: (count(), wanted) for what, (count, wanted) in ready.questions(nodes).items()}
    assert {what: there for what, (there, _) in counted.items()} == {
        what: wanted for what, (_, wanted) in counted.items()
    }
    assert sorted(wanted for _, wanted in counted.values()) == [1, 1, nodes, nodes, nodes]


def peers_in_a_ring_of(nodes: int) -> Any:
    ring = {plan.address(number) for number in range(1, nodes + 1)}
    return lambda host, _: frozenset(ring - {host})


def test_a_node_that_does_not_know_all_others_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = {
        plan.address(1): frozenset([plan.address(2), plan.address(3)]),
        plan.address(2): frozenset([plan.address(1)]),
    }
    monkeypatch.setattr(probe, "cassandra_peers", lambda host, _: known.get(host))
    count, wanted = ready.questions(3)["Cassandra's nodes"]
    assert (count(), wanted) == (1, 3)


def test_a_broker_that_does_not_answer_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(host: str, _: int) -> bool:
        if host == plan.address(3):
            raise ConnectionRefusedError
        return True

    monkeypatch.setattr(probe, "kafka", ask)
    count, wanted = ready.questions(3)["Kafka's brokers"]
    assert (count(), wanted) == (2, 3)


CLIENTS = json.dumps(
    [
        {"Name": "server1", "Status": "ready"},
        {"Name": "server1", "Status": "ready"},  # it was made again
        {"Name": "server2", "Status": "down"},
    ]
).encode()


@pytest.mark.parametrize(
    ("status", "body", "clients"),
    [(200, CLIENTS, 1), (200, b"<html>not yet", 0), (500, CLIENTS, 0)],
    ids=["one of two", "another program", "an error"],
)
def test_only_clients_that_are_ready_count(
    status: int, body: bytes, clients: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(status, body) as port:
        monkeypatch.setattr(plan, "NOMAD", port)
        assert ready._nomad_clients() == clients


@contextmanager
def serving(status: int, body: bytes) -> Iterator[int]:
    """The port of an agent that says the same to everybody."""

    class Says(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        @override
        def log_message(self, format: str, *args: object) -> None:
            """To nobody."""

    with http.server.HTTPServer(("127.0.0.1", 0), Says) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        yield server.server_address[1]
        thread.join()


def test_where_nothing_listens_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "NOMAD", 1)
    assert ready._nomad_clients() == 0


# Deploying


def test_with_nomad_the_jobs_are_deployed(ran: Ran) -> None:
    ready.ready(3)
    scaled = [words for words in ran if words[:2] == ("config", "set")]
    assert ("scale.connect.min", "3") in [words[2:] for words in scaled]
    (deployed,) = [words for words in ran if words[0] == "deploy"]
    assert deployed[deployed.index("--vars") + 1] == str(ready.ETC / "cluster.toml")
    assert ran.index(deployed) == len(ran) - 1, "control would scale them down before"


def test_what_nobody_answers_is_done_again(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready, "_done", noting(ran, iter([1, 0, 1, 0, 0, 1])))
    monkeypatch.setattr(ready, "WITHIN_S", 60.0)
    ready.ready(3)
    assert [words[0] for words in ran] == ["config"] * 3 + ["deploy"] * 3


def test_without_nomad_nothing_is_deployed(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    (ready.ETC / "note").touch()
    monkeypatch.setattr(ready, "_nomad_clients", lambda: pytest.fail("there is no Nomad"))
    ready.ready(3)
    assert ran == []


def test_who_waits_deploys_nothing(ran: Ran) -> None:
    ready.wait(3)
    assert ran == []


def test_what_is_missing_at_the_end_is_named(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready, "_nomad_clients", lambda: 2)
    with pytest.raises(Failed, match=r"Nomad's clients: 2 of 3 after .*journalctl"):
        ready.ready(3)
    assert ran == []


def test_servers_that_do_not_become_healthy_are_an_error(
    ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ready, "_healthy", lambda: False)
    with pytest.raises(Failed, match="CecoChat: "):
        ready.wait(3)


@pytest.fixture
def cecochat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A command of that name, which ends as its only argument says."""
    command = tmp_path / "cecochat"
    command.write_text("#!/bin/sh\necho no leader >&2; exit $1\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return command


@pytest.mark.usefixtures("cecochat")
def test_a_command_that_nobody_answers_is_done_later(capsys: pytest.CaptureFixture[str]) -> None:
    ready._say.cache_clear()
    assert [ready._done("0"), ready._done("3"), ready._done("3")] == [1, 0, 0]
    assert capsys.readouterr().out == "no leader\n", "once"


@pytest.mark.usefixtures("cecochat")
def test_a_command_that_fails_is_shown_with_what_it_said() -> None:
    with pytest.raises(Failed, match="no leader\n\n`cecochat 1` failed"):
        ready._done("1")
