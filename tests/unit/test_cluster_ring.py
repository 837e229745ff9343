"""What several nodes of Cassandra and Consul are told so that they become one, and what one that
comes back is told.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.backends import cassandra, consul, probe, tools
from scripts.backends.instance import Instance
from scripts.cluster.plan import Plan
from tests.support.node import instance, plans

RING = range(-(2**63), 2**63)
every_size = pytest.mark.parametrize("nodes", [1, 2, 3, 5])


# Cassandra


def seeds(settings: dict[str, Any]) -> set[str]:
    ((parameters,),) = [provider["parameters"] for provider in settings["seed_provider"]]
    return {seed.partition(":")[0] for seed in parameters["seeds"].split(",")}


def tokens(of: Instance) -> list[int]:
    return [int(token) for token in str(cassandra.settings(of)["initial_token"]).split(",")]


@every_size
def test_nodes_have_equal_parts_of_the_ring(nodes: int) -> None:
    """In turn, so that a part and its copies are on different nodes."""
    owners = {
        token: here.node for here in plans(nodes) for token in tokens(instance(here, "cassandra"))
    }
    assert len(owners) == nodes * cassandra.TOKENS, "no token has two owners"
    assert all(token in RING for token in owners)
    ring = sorted(owners)
    gaps = [
        after - token for token, after in zip(ring, [*ring[1:], ring[0] + len_ring()], strict=True)
    ]
    assert max(gaps) - min(gaps) <= len(gaps)
    in_order = [owners[token] for token in ring]
    assert in_order == [here.node for here in plans(nodes)] * cassandra.TOKENS


def len_ring() -> int:
    return RING.stop - RING.start


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch) -> dict[str, frozenset[str]]:
    """Nodes that answer: address -> the others that each knows. No Java is needed."""
    answering: dict[str, frozenset[str]] = {}
    monkeypatch.setattr(probe, "cassandra_peers", lambda host, _: answering.get(host))
    monkeypatch.setattr(tools, "java", lambda: "java")
    return answering


def started(here: Plan, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[str]]:
    """What a node of Cassandra is told when it starts: its settings, and Java's."""
    (folder / "libs").mkdir(exist_ok=True)
    (folder / "libs" / "jamm-0.jar").touch()
    monkeypatch.setattr(cassandra, "libs", lambda: folder / "libs")
    argv = cassandra.command(instance(here, "cassandra", folder)).argv
    return json.loads((folder / "cassandra.yaml").read_text()), argv


def replaced(argv: list[str]) -> list[str]:
    flag = "-Dcassandra.replace_address_first_boot="
    return [word.removeprefix(flag) for word in argv if word.startswith(flag)]


@pytest.mark.usefixtures("ring")
def test_nodes_that_start_together_are_all_seeds_and_wait_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = plans(3)
    for here in cluster:
        settings, argv = started(here, tmp_path, monkeypatch)
        assert not settings["auto_bootstrap"]
        assert seeds(settings) == {each.address for each in cluster}
        assert replaced(argv) == []


def test_a_node_that_comes_later_joins_what_is_there(
    ring: dict[str, frozenset[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = plans(3)
    ring[first.address] = frozenset([second.address])
    settings, argv = started(third, tmp_path, monkeypatch)
    assert settings["auto_bootstrap"], "it fetches what it is to hold"
    assert seeds(settings) == {first.address, second.address}, "a seed would not join"
    assert settings["initial_token"]
    assert replaced(argv) == []


def test_a_node_that_has_lost_its_disk_takes_its_own_place(
    ring: dict[str, frozenset[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = plans(3)
    ring[third.address] = frozenset([first.address, second.address])
    settings, argv = started(first, tmp_path, monkeypatch)
    assert replaced(argv) == [first.address]
    assert settings["auto_bootstrap"]
    assert "initial_token" not in settings, "it takes those that it had"
    assert seeds(settings) == {second.address, third.address}


def test_a_node_starts_again_as_it_first_did(
    ring: dict[str, frozenset[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was first goes on when others are there, and one that has to join may take several
    starts until it has.
    """
    first, second, third = plans(3)
    for here, folder in ((first, "first"), (second, "second")):
        (tmp_path / folder).mkdir()
        before = started(here, tmp_path / folder, monkeypatch)
        ring[third.address] = frozenset([second.address])
        assert started(here, tmp_path / folder, monkeypatch) == before
    assert before[0]["auto_bootstrap"]
    assert replaced(before[1]) == [second.address]
    ring.clear()
    assert started(second, tmp_path / "second", monkeypatch) == before


@pytest.mark.usefixtures("ring")
def test_a_node_starts_after_its_disk_was_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then there are segments of the commit log that nothing could be written to any more."""
    commitlog = tmp_path / "data" / "commitlog"
    commitlog.mkdir(parents=True)
    (commitlog / "CommitLog-7-1.log").write_bytes(b"\0\0\0\7" + bytes(1_000))
    (commitlog / "CommitLog-7-2.log").write_bytes(bytes(1_000))
    (commitlog / "CommitLog-7-3.log").touch()
    started(plans(3)[0], tmp_path, monkeypatch)
    assert [path.name for path in commitlog.iterdir()] == ["CommitLog-7-1.log"]


@every_size
def test_only_one_of_several_waits_for_others(
    nodes: int,
    ring: dict[str, frozenset[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not ring
    _, argv = started(plans(nodes)[0], tmp_path, monkeypatch)
    (delay,) = [word.partition("=")[2] for word in argv if "ring_delay_ms" in word]
    assert (int(delay) > 0) == (nodes > 1)


# Consul


def agents(nodes: int) -> list[dict[str, Any]]:
    return [consul.settings(instance(here, "consul")) for here in plans(nodes)]


def test_a_server_of_consul_that_lost_its_disk_is_the_same_node() -> None:
    ids = [agent["node_id"] for agent in agents(3)]
    assert len(set(ids)) == 3
    assert [agent["node_id"] for agent in agents(3)] == ids


def test_a_server_of_consul_starts_that_has_ended_while_it_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consul, "program", lambda: "consul")
    (tmp_path / "data").mkdir()
    file = tmp_path / "data" / "server_metadata.json"
    for text, stays in (("{}", True), ("", False)):
        file.write_text(text)
        consul.command(instance(plans(3)[0], "consul", tmp_path))
        assert file.exists() == stays


@every_size
def test_servers_of_consul_wait_for_each_other(nodes: int) -> None:
    found = agents(nodes)
    assert [agent["bootstrap_expect"] for agent in found] == [nodes] * nodes
    serf = {f"{agent['bind_addr']}:{agent['ports']['serf_lan']}" for agent in found}
    assert all(set(agent["retry_join"]) == serf for agent in found)
    assert len({agent["node_name"] for agent in found}) == nodes


def test_a_server_of_consul_that_is_stopped_still_counts() -> None:
    """Three of which one has left are two, and need both."""
    assert [agent["leave_on_terminate"] for agent in agents(3)] == [False] * 3


def test_others_reach_consul_at_the_network_of_the_cluster() -> None:
    addresses = [here.address for here in plans(3)]
    assert [agent["bind_addr"] for agent in agents(3)] == addresses
