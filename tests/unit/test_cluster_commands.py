"""What a guest is told who it is, and that it is left alone where that is wrong."""

from __future__ import annotations

import pytest

from scripts.cluster import __main__ as commands
from scripts.cluster.plan import Plan
from tests.support.node import CLUSTER_ID

NODE = {"NODE": "2", "NODES": "3", "KAFKA_CLUSTER_ID": CLUSTER_ID, "NOMAD": "1"}

Made = list[tuple[Plan, bool]]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    """Nodes that would have been made of this machine, and whether with Nomad."""
    nodes: Made = []

    def note(here: Plan, *, with_nomad: bool) -> None:
        nodes.append((here, with_nomad))

    monkeypatch.setattr(commands, "provision", note)
    for name, value in NODE.items():
        monkeypatch.setenv(name, value)
    return nodes


@pytest.mark.parametrize(("nomad", "wanted"), [("1", True), ("", True), ("0", False)])
def test_a_guest_becomes_the_node_that_it_is_told(
    nomad: str, wanted: bool, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOMAD", nomad)
    assert commands.main(["provision"]) == 0
    ((here, with_nomad),) = made
    assert (here.node, here.nodes, here.kafka_cluster_id) == (2, 3, CLUSTER_ID)
    assert with_nomad is wanted


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("NODE", "", "NODE is not set: run `vagrant provision`, which sets it"),
        ("NODES", "", "NODES is not set: run `vagrant provision`, which sets it"),
        (
            "KAFKA_CLUSTER_ID",
            "",
            "KAFKA_CLUSTER_ID is not set: run `vagrant provision`, which sets it",
        ),
        ("NODE", "one", "NODE: 'one' is not a number from 1 up"),
        ("NODES", "0", "NODES: '0' is not a number from 1 up"),
        ("NODE", "4", "NODE is 4, but NODES is 3: use a number from 1 to 3"),
    ],
)
def test_a_machine_that_is_told_nonsense_is_left_alone(
    name: str,
    value: str,
    says: str,
    made: Made,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(name, value)
    assert commands.main(["provision"]) == 1
    assert capsys.readouterr().err == f"{says}\n"
    assert made == []
