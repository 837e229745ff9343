"""What the Vagrantfile asks for, of every provider: tests/support/vagrantfile.rb evaluates it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

from scripts.backends import kafka
from scripts.cluster import __main__ as main
from scripts.cluster import plan, provision
from scripts.cluster.plan import Plan
from tests.support.backends import Backends
from tests.support.node import instance

ROOT = Path(__file__).parents[2]
RECORDER = ROOT / "tests" / "support" / "vagrantfile.rb"
GIB = 1_024
PROVIDERS = ["virtualbox", "libvirt", "lxc", "docker"]
MACHINES = ["virtualbox", "libvirt"]
COMMAND_WITHIN_S = 100

Guest = Mapping[str, Any]
Evaluate = Callable[..., dict[str, Guest]]

each_provider = pytest.mark.parametrize("provider", PROVIDERS)


def project(folder: Path) -> Path:
    """The Vagrantfile, with what it names, where it may leave its secrets."""
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "Vagrantfile", folder)
    shutil.copytree(ROOT / "scripts" / "cluster", folder / "scripts" / "cluster")
    return folder


def run(argv: list[str], folder: Path, **given: str) -> subprocess.CompletedProcess[str]:
    """In `folder`, with nothing of who runs the tests."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    quiet = {"VAGRANT_CHECKPOINT_DISABLE": "1", "LANG": "C.UTF-8"}
    return subprocess.run(
        argv,
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(home), **quiet, **given},
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_WITHIN_S,
    )


@pytest.fixture(scope="module")
def ruby(backends: Backends) -> str:
    return backends.program("ruby")


@pytest.fixture(scope="module")
def evaluate(ruby: str, tmp_path_factory: pytest.TempPathFactory) -> Evaluate:
    """evaluate(provider, NODES="1"): guest -> what is asked for."""
    folder = project(tmp_path_factory.mktemp("cluster") / "project")
    return cache(partial(evaluated, ruby, folder))


def evaluated(
    ruby: str, folder: Path, provider: str = "virtualbox", **given: str
) -> dict[str, Guest]:
    done = run([ruby, str(RECORDER), "Vagrantfile", provider], folder, **given)
    assert done.returncode == 0, done.stderr
    found: dict[str, Guest] = json.loads(done.stdout)
    return found


def told_of(guest: Guest, name: str) -> list[list[Any]]:
    """What a method of the provider was called with, each time."""
    calls: list[list[Any]] = guest["provider"].get(name, [])
    return calls


def memory_mib(guest: Guest, provider: str) -> int:
    if provider in MACHINES:
        return int(guest["provider"]["memory"])
    if provider == "lxc":
        text = dict(told_of(guest, "customize"))["cgroup2.memory.max"]
    else:
        words = guest["provider"]["create_args"]
        text = words[words.index("--memory") + 1]
    assert text[-1] in "mM", text
    return int(text[:-1])


@pytest.mark.parametrize("nodes", ["1", "3"])
def test_vagrant_takes_it(nodes: str, tmp_path: Path, backends: Backends) -> None:
    vagrant = backends.program("vagrant")
    folder = project(tmp_path / "project")
    done = run([vagrant, "validate", "--ignore-provider"], folder, NODES=nodes)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"server{nodes}" in done.stdout


# Guests


@each_provider
def test_guests_are_the_nodes_of_the_plan(provider: str, evaluate: Evaluate) -> None:
    for given, nodes in (({}, 3), ({"NODES": "1"}, 1), ({"NODES": "5"}, 5)):
        plans = [Plan(node, nodes, "") for node in range(1, nodes + 1)]
        guests = evaluate(provider, **given)
        assert list(guests) == [each.name for each in plans]
        assert [guest["vm"]["hostname"] for guest in guests.values()] == list(guests)
        private = [networks(guest, "private_network") for guest in guests.values()]
        assert [network["ip"] for (network,) in private] == [each.address for each in plans]
        assert {network["netmask"] for (network,) in private} == {24}


def networks(guest: Guest, kind: str) -> list[Mapping[str, Any]]:
    return [network for network in guest["networks"] if network["kind"] == kind]


@each_provider
def test_guests_fit_into_the_memory_that_is_promised(provider: str, evaluate: Evaluate) -> None:
    three, one = evaluate(provider), evaluate(provider, NODES="1")
    assert sum(memory_mib(guest, provider) for guest in three.values()) <= 12 * GIB
    assert sum(memory_mib(guest, provider) for guest in one.values()) <= 5 * GIB
    assert memory_mib(one["server1"], provider) > memory_mib(three["server1"], provider)


@each_provider
def test_memory_is_what_is_given(provider: str, evaluate: Evaluate) -> None:
    guests = evaluate(provider, MEMORY="3000", NODES="2")
    assert [memory_mib(guest, provider) for guest in guests.values()] == [3_000, 3_000]


@pytest.mark.parametrize("provider", MACHINES)
def test_a_machine_has_the_processors_that_it_is_given(provider: str, evaluate: Evaluate) -> None:
    for given, cpus in (({}, 2), ({"CPUS": "4"}, 4)):
        guests = evaluate(provider, **given)
        assert {guest["provider"]["cpus"] for guest in guests.values()} == {cpus}


@pytest.mark.parametrize("provider", [*MACHINES, "lxc"])
def test_the_box_is_debian_or_the_one_that_is_given(provider: str, evaluate: Evaluate) -> None:
    for given, box in (({}, "debian/bookworm64"), ({"BOX": "mine"}, "mine")):
        assert {guest["vm"]["box"] for guest in evaluate(provider, **given).values()} == {box}


def test_docker_has_an_image_and_no_box(evaluate: Evaluate) -> None:
    script = (ROOT / "scripts" / "cluster" / "host.sh").read_text()
    for given, image in (({}, "local/cecochat-node:latest"), ({"BOX": "mine"}, "mine")):
        for name, guest in evaluate("docker", **given).items():
            assert guest["vm"]["box"] is None
            assert guest["provider"]["image"] == image
            assert guest["provider"]["name"] == name
            assert guest["provider"]["has_ssh"], "it is provisioned as a machine is"
    assert "image=local/cecochat-node:latest\n" in script, "what `make cluster-box` makes"


def test_containers_of_lxc_have_limits_of_their_own(evaluate: Evaluate) -> None:
    guests = evaluate("lxc")
    found = [dict(told_of(guest, "customize")) for guest in guests.values()]
    for key in ("cgroup.dir.container", "cgroup.dir.monitor"):
        assert len({each[key] for each in found}) == len(guests)


# What the host has of it


@pytest.mark.parametrize("provider", ["virtualbox", "libvirt", "docker"])
def test_pages_of_the_first_node_are_forwarded_to_this_machine_alone(
    provider: str, evaluate: Evaluate
) -> None:
    first, *others = evaluate(provider).values()
    forwarded = networks(first, "forwarded_port")
    pages = {plan.CONNECT, plan.CONSUL, plan.NOMAD, plan.JAEGER, plan.PROMETHEUS}
    assert {each["guest"] for each in forwarded} == pages
    for each in forwarded:
        assert each["host"] == each["guest"]
        assert each["host_ip"] == "127.0.0.1"
        assert each["auto_correct"], "the host may have a backend of its own there"
        assert not each.get("disabled")
    assert [networks(other, "forwarded_port") for other in others] == [[], []]


def test_lxc_forwards_nothing(evaluate: Evaluate) -> None:
    """Its host reaches the guests."""
    for guest in evaluate("lxc").values():
        assert all(each.get("disabled") for each in networks(guest, "forwarded_port"))


@each_provider
def test_guests_share_the_checkout_and_the_cache(
    provider: str, evaluate: Evaluate, tmp_path: Path
) -> None:
    for guest in evaluate(provider, XDG_CACHE_HOME=str(tmp_path / "cache")).values():
        checkout, cache = (
            guest["folders"][name] for name in ("/vagrant", f"{provision.SHARED}/cecochat")
        )
        assert checkout["host"] == "."
        assert {".venv", ".vagrant"} <= set(checkout["rsync__exclude"])
        assert cache["host"] == str(tmp_path / "cache" / "cecochat")
        assert Path(cache["host"]).is_dir()


# What is run


def shell_of(guest: Guest, name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = guest["provisioners"][name]
    assert found["type"] == "shell"
    return found


@each_provider
def test_every_guest_is_made_the_node_that_it_is(
    provider: str, evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Plan] = []
    monkeypatch.setattr(main, "provision", lambda here, **_: made.append(here))
    guests = evaluate(provider)
    for guest in guests.values():
        shell = shell_of(guest, "cluster")
        assert (ROOT / shell["path"]).is_file()
        for name, value in shell["env"].items():
            monkeypatch.setenv(name, str(value))
        assert main.main(["provision"]) == 0
    assert [each.name for each in made] == list(guests)
    assert {each.nodes for each in made} == {3}
    (cluster,) = {each.kafka_cluster_id for each in made}
    assert len(cluster) == len(kafka._random_id())
    assert not cluster.startswith("-")
    assert instance(made[0], "kafka").options["cluster-id"] == cluster


@pytest.mark.parametrize(
    ("given", "nomad", "mirror"),
    [
        ({}, True, ""),
        ({"NOMAD": "0"}, False, ""),
        ({"NOMAD_MIRROR": "https://a.mirror/nomad"}, True, "https://a.mirror/nomad"),
    ],
    ids=["as it is", "without Nomad", "a mirror"],
)
def test_guests_are_told_of_nomad(
    given: dict[str, str],
    nomad: bool,
    mirror: str,
    evaluate: Evaluate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[bool] = []
    monkeypatch.setattr(main, "provision", lambda _, **how: told.append(how["with_nomad"]))
    for guest in evaluate(**given).values():
        environ = shell_of(guest, "cluster")["env"]
        for name, value in environ.items():
            monkeypatch.setenv(name, str(value))
        main.main(["provision"])
        assert environ["NOMAD_MIRROR"] == mirror
    assert told == [nomad] * 3


@pytest.mark.parametrize(
    ("variable", "name"), [("SECRET", "token-secret"), ("CLUSTER_SECRET", "cluster-secret")]
)
def test_a_secret_is_drawn_once_and_kept_from_others(
    ruby: str, tmp_path: Path, variable: str, name: str
) -> None:
    evaluate = partial(evaluated, ruby, project(tmp_path / "project"))
    first, again = evaluate(), evaluate("lxc", NODES="2")
    shells = [shell_of(guest, "secret") for guest in [*first.values(), *again.values()]]
    (secret,) = {shell["env"][variable] for shell in shells}
    assert len(secret) >= 32
    assert all(shell["sensitive"] for shell in shells), "Vagrant would print it"
    assert secret not in json.dumps([shell["inline"] for shell in shells])
    (file,) = tmp_path.rglob(name)
    assert file.stat().st_mode & 0o077 == 0
    file.unlink()
    assert shell_of(evaluate()["server1"], "secret")["env"][variable] != secret


def test_the_secret_is_there_before_what_needs_it(evaluate: Evaluate) -> None:
    for guest in evaluate().values():
        names = list(guest["provisioners"])
        assert names.index("secret") < names.index("cluster")


@each_provider
@pytest.mark.parametrize("nodes", [1, 3])
def test_the_last_guest_ends_with_a_message_between_them(
    provider: str, nodes: int, evaluate: Evaluate
) -> None:
    *others, last = evaluate(provider, NODES=str(nodes)).values()
    assert [other["triggers"] for other in others] == [[]] * (nodes - 1)
    (trigger,) = last["triggers"]
    assert trigger["after"] == ["up", "provision"]
    assert (ROOT / trigger["run"]["path"]).is_file()
    assert trigger["run"]["args"] == [nodes]
