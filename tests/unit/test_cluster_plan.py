"""What each node of a test cluster runs and is told: all nodes must agree, for every size."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cecochat.cli.cluster.deploy import ORDER, values_of, wanted
from cecochat.cli.cluster.nomad import declared
from cecochat.settings.settings import load
from scripts.backends import kafka
from scripts.cluster import plan, provision
from scripts.cluster.plan import COUNTS, Server
from tests.support.node import CLUSTER_ID, instance, plans

JOBS = Path(__file__).parents[2] / "jobs"
EVERYWHERE = {"consul", "kafka", "cassandra"}
ONCE = {"postgres", "redis", "jaeger", "prometheus"}

every_size = pytest.mark.parametrize("nodes", [1, 2, 3, 5])


# Backends


@every_size
def test_what_replicates_is_on_every_node_and_the_rest_on_the_first(nodes: int) -> None:
    first, *others = (here.backends().keys() for here in plans(nodes))
    assert first == EVERYWHERE | ONCE
    assert all(other == EVERYWHERE for other in others)


@pytest.mark.parametrize(
    ("nodes", "copies", "in_sync"), [(1, 1, 1), (2, 2, 1), (3, 3, 2), (5, 3, 2)]
)
def test_there_are_three_copies_where_there_are_three_nodes(
    nodes: int, copies: int, in_sync: int
) -> None:
    for here in plans(nodes):
        assert load(here.settings()).replication == copies
        properties = kafka.properties(instance(here, "kafka"))
        assert properties["default.replication.factor"] == copies
        assert properties["offsets.topic.replication.factor"] == copies
        assert properties["min.insync.replicas"] == in_sync
        assert properties["transaction.state.log.min.isr"] == in_sync


@every_size
def test_brokers_agree_on_one_quorum_in_which_each_is_itself(nodes: int) -> None:
    brokers = [instance(here, "kafka") for here in plans(nodes)]
    (quorum,) = {broker.options["quorum"] for broker in brokers}
    ids = [broker.options["node-id"] for broker in brokers]
    assert quorum.split(",") == [
        f"{number}@{broker.at('controller')}" for number, broker in zip(ids, brokers, strict=True)
    ]
    assert len(set(ids)) == nodes
    assert {broker.options["cluster-id"] for broker in brokers} == {CLUSTER_ID}


@every_size
def test_no_two_programs_of_a_node_have_the_same_port(nodes: int) -> None:
    for here in plans(nodes):
        found = [port for name in here.backends() for port in instance(here, name).ports.values()]
        ports = Counter([*found, plan.NOMAD, plan.NOMAD + 1, plan.NOMAD + 2, plan.CONNECT])
        assert ports.most_common(1)[0][1] == 1


@every_size
def test_backends_listen_for_other_machines(nodes: int) -> None:
    for here in plans(nodes):
        hosts = {name: instance(here, name).host for name in here.backends()}
        assert set(hosts.values()) <= {here.address, plan.EVERYWHERE}


def test_a_node_is_another_machine_of_the_same_network() -> None:
    addresses = [here.address for here in plans(5)]
    assert len(set(addresses)) == 5
    assert {address.rpartition(".")[0] for address in addresses} == {plan.NETWORK}


# What servers are told


@every_size
def test_servers_are_told_where_the_backends_listen(nodes: int) -> None:
    cluster = plans(nodes)
    for here in cluster:
        told = load(here.settings())
        assert told.value("kafka").split(",") == [
            instance(each, "kafka").address for each in cluster
        ]
        assert told.value("cassandra").split(",") == [
            instance(each, "cassandra").address for each in cluster
        ]
        for name in ("redis", "postgres"):
            assert told.value(name) == instance(cluster[0], name).address
        consul = instance(here, "consul")
        assert consul.host == plan.EVERYWHERE, "so that its own node asks it at 127.0.0.1"
        assert told.value("consul") == f"127.0.0.1:{consul.port}"


def test_spans_go_where_jaeger_takes_them() -> None:
    first, second = plans(2)
    jaeger = instance(first, "jaeger")
    for here in (first, second):
        told = load(here.settings())
        assert told.otlp_url.endswith(f"//{first.address}:{jaeger.ports['otlp-http']}")
        assert told.jaeger_url.endswith(f"//{first.address}:{jaeger.port}")


@every_size
def test_all_nodes_tell_their_servers_the_same(nodes: int) -> None:
    first, *others = (here.settings() for here in plans(nodes))
    assert all(other == first for other in others)


# Servers without Nomad


@every_size
def test_every_server_is_on_one_node_and_connect_on_each(nodes: int) -> None:
    dealt = {here.node: here.servers() for here in plans(nodes)}
    servers = [server for found in dealt.values() for server in found]
    assert len({server.name for server in servers}) == len(servers)
    assert Counter(server.service for server in servers) == {**COUNTS, "connect": nodes}
    assert all(Server("connect", node) in found for node, found in dealt.items())


@every_size
def test_a_node_that_is_lost_takes_no_set_with_it(nodes: int) -> None:
    for service, count in COUNTS.items():
        on = [sum(server.service == service for server in here.servers()) for here in plans(nodes)]
        assert sum(found > 0 for found in on) == min(count, nodes), service


@every_size
def test_nodes_carry_the_same_number_of_servers(nodes: int) -> None:
    carried = [len(here.servers()) for here in plans(nodes)]
    assert max(carried) - min(carried) <= 1


def test_servers_of_one_node_do_not_fight_for_ports() -> None:
    (here,) = plans(1)
    taken = []
    for server in here.servers():
        given_ports = plan.ports_of(server, here.address)
        ports = {name: int(port) for name, port in given_ports.items() if name.endswith("PORT")}
        assert ports, f"{server.name} would take the default port"
        load({**here.settings(), **given_ports})  # all are settings
        taken += [port for port in ports.values() if port]
    assert taken == [], "the edge finds them in Consul"


@every_size
def test_without_nomad_each_messaging_server_has_a_port_of_the_edge(nodes: int) -> None:
    for here in plans(nodes):
        told = {each.name: plan.ports_of(each, here.address) for each in here.servers()}
        edges = {name: load(found).edge for name, found in told.items()}
        main = f"{here.address}:{plan.CONNECT}"
        own = [edge for name, edge in edges.items() if name.startswith("messaging")]
        assert len({main, *own}) == 1 + len(own)
        for name, edge in edges.items():
            if name.startswith(("connect", "history")):
                assert edge == main
            elif not name.startswith("messaging"):
                assert edge == ""


# With Nomad


@every_size
def test_the_values_are_those_that_the_jobs_declare(nodes: int) -> None:
    here = plans(nodes)[-1]
    values = tomllib.loads(provision._toml(plan.job_values(here, "1.2.3+abc")))
    jobs = wanted(values)
    names = {service: declared((JOBS / f"{service}.nomad.hcl").read_text()) for service in jobs}
    assert values.keys() <= set().union(*names.values()) | set(ORDER)
    for service in ORDER:
        found = values_of(service, names[service], values)
        assert found["count"] == {**COUNTS, "connect": nodes}[service]
        assert found["version"] == "1.2.3+abc"
        assert {name: found[name] for name in plan.ADDRESSED} == {
            name: here.settings()[f"CECOCHAT_{name.upper()}"] for name in plan.ADDRESSED
        }


def test_a_job_is_told_nothing_twice() -> None:
    """An address that is a variable of the job is set by the job."""
    values = plan.job_values(plans(3)[0], "1")
    told = values["settings"]
    assert isinstance(told, dict)
    assert not told.keys() & {f"CECOCHAT_{name.upper()}" for name in plan.ADDRESSED}
    load(told)
    assert told["CECOCHAT_REPLICATION"] == "3"


def test_clients_come_through_the_edge_of_each_node() -> None:
    """At every address of its guest, as what is forwarded from the host needs."""
    values = plan.job_values(plans(3)[1], "1")
    assert wanted(values) == ("edge", *ORDER)
    names = declared((JOBS / "edge.nomad.hcl").read_text())
    found = values_of("edge", names, values)
    assert (found["edge"], found["edge_port"]) == (plan.EDGE_HOST, plan.CONNECT)
    assert load(found["settings"]).edge_host == plan.EVERYWHERE
    for service in ("connect", "history", "messaging"):
        names = declared((JOBS / f"{service}.nomad.hcl").read_text())
        assert values_of(service, names, values)["edge"] == plan.EDGE_HOST


plain = st.text(st.characters(min_codepoint=32, max_codepoint=126)) | st.integers(0, 2**31)
keys = st.text("abc_XYZ-0123456789", min_size=1, max_size=8)
tables = st.recursive(
    st.dictionaries(keys, plain, max_size=4),
    lambda inner: st.dictionaries(keys, plain | inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=50)
@given(tables)
def test_what_is_written_as_toml_is_read_again(values: dict[str, object]) -> None:
    assert tomllib.loads(provision._toml(values)) == values
