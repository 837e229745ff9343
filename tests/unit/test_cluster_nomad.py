"""Nomad of a node: what its agent is told, and that only the program of its vendor is taken."""

from __future__ import annotations

import hashlib
import platform
import re
import socketserver
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hcl2
import pytest
from hcl2.utils import SerializationOptions
from typing_extensions import override

from scripts.backends import versions
from scripts.backends.instance import Failed
from scripts.cluster import nomad, plan
from scripts.cluster.plan import Plan
from tests.support.node import plans

JOBS = Path(__file__).parents[2] / "jobs"
PLAIN = SerializationOptions(with_comments=False, explicit_blocks=False, strip_string_quotes=True)
RELEASE = versions.NOMAD
PROGRAM = b"the program"

# What the agent is told


def agent(here: Plan) -> dict[str, Any]:
    text = nomad.agent(here, Path("/data"), "eth7")
    found: dict[str, Any] = hcl2.loads(text, serialization_options=PLAIN)
    return found


def only(blocks: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = blocks
    return found


def seconds(text: str) -> int:
    return int(re.fullmatch(r"(\d+)s", text)[1])  # type: ignore[index]


@pytest.mark.parametrize("nodes", [1, 2, 3, 5])
def test_servers_of_nomad_wait_for_each_other(nodes: int) -> None:
    addresses = [here.address for here in plans(nodes)]
    for here in plans(nodes):
        server = only(agent(here)["server"])
        assert server["enabled"]
        assert server["bootstrap_expect"] == nodes
        assert only(server["server_join"])["retry_join"] == addresses


def test_an_agent_is_known_by_its_node() -> None:
    found = [agent(here) for here in plans(3)]
    assert len({each["name"] for each in found}) == 3
    for here, each in zip(plans(3), found, strict=True):
        assert set(only(each["advertise"]).values()) == {here.address}


def test_servers_run_on_the_network_of_the_cluster() -> None:
    client = only(agent(plans(3)[1])["client"])
    assert client["enabled"]
    assert client["network_interface"] == "eth7"


def test_servers_may_take_the_time_that_their_jobs_give_them_to_end() -> None:
    longest = only(agent(plans(3)[0])["client"])["max_kill_timeout"]
    wanted = [
        time
        for file in JOBS.glob("*.nomad.hcl")
        for time in re.findall(r'kill_timeout += "(.*?)"', file.read_text())
    ]
    assert wanted
    assert max(map(seconds, wanted)) <= seconds(longest)


def test_services_are_registered_with_the_consul_of_the_node() -> None:
    assert only(agent(plans(3)[0])["consul"])["address"] == f"127.0.0.1:{plan.CONSUL}"


def test_jobs_may_run_programs_of_the_node() -> None:
    (plugin,) = [each["raw_exec"] for each in agent(plans(1)[0])["plugin"]]
    assert only(plugin["config"])["enabled"]


# Where the program comes from


@pytest.fixture
def vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its releases, one of which is RELEASE; this machine has no Nomad."""
    releases = tmp_path / "vendor"
    publish(releases, PROGRAM)
    monkeypatch.setattr(nomad, "VENDOR", releases.as_uri())
    monkeypatch.setattr(nomad, "TO", tmp_path / "nomad-of-the-node")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("NOMAD_MIRROR", raising=False)
    return releases


def publish(releases: Path, program: bytes, machine: str = "amd64") -> None:
    """An archive, and the sums of all that are there."""
    folder = releases / RELEASE
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"nomad_{RELEASE}_linux_{machine}.zip", "w") as archive:
        archive.writestr("nomad", program)
    sums = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n"
        for file in sorted(folder.glob("*.zip"))
    ]
    (folder / f"nomad_{RELEASE}_SHA256SUMS").write_text("".join(sums))


@pytest.fixture
def offline(vendor: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be fetched."""
    assert vendor

    def refuse(url: str) -> bytes:
        pytest.fail(f"{url} was fetched")

    monkeypatch.setattr(nomad, "_get", refuse)


@pytest.mark.usefixtures("offline")
def test_a_program_on_the_path_is_used_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nomad").touch(mode=0o755)
    keep(tmp_path / "cache")
    assert nomad.bring(tmp_path / "cache") == tmp_path / "bin" / "nomad"
    assert not nomad.TO.exists()


@pytest.mark.usefixtures("offline")
def test_a_program_in_the_cache_is_copied(tmp_path: Path) -> None:
    keep(tmp_path / "cache")
    assert nomad.bring(tmp_path / "cache") == nomad.TO
    assert nomad.TO.read_bytes() == b"kept"
    assert nomad.TO.stat().st_mode & 0o777 == 0o755


def keep(cache: Path) -> None:
    (cache / "nomad").mkdir(parents=True)
    (cache / "nomad" / "nomad").write_bytes(b"kept")


@pytest.mark.usefixtures("vendor")
def test_what_is_fetched_is_kept_for_the_other_guests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert nomad.bring(tmp_path / "cache") == nomad.TO
    assert nomad.TO.read_bytes() == PROGRAM
    assert nomad.TO.stat().st_mode & 0o111 == 0o111
    assert not list((tmp_path / "cache").rglob("*.zip"))
    nomad.TO.unlink()
    monkeypatch.setattr(nomad, "VENDOR", (tmp_path / "gone").as_uri())
    assert nomad.bring(tmp_path / "cache") == nomad.TO
    assert nomad.TO.read_bytes() == PROGRAM


def test_the_archive_is_that_of_this_machine(
    vendor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(vendor, b"of another machine", "arm64")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    nomad.bring(tmp_path / "cache")
    assert nomad.TO.read_bytes() == b"of another machine"


def test_a_mirror_serves_the_archive_and_the_vendor_its_sum(
    vendor: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (archive,) = vendor.rglob("*.zip")
    (tmp_path / "mirror" / RELEASE).mkdir(parents=True)
    archive.rename(tmp_path / "mirror" / RELEASE / archive.name)
    monkeypatch.setenv("NOMAD_MIRROR", (tmp_path / "mirror").as_uri())
    nomad.bring(tmp_path / "cache")
    assert nomad.TO.read_bytes() == PROGRAM


def swap(vendor: Path, mirror: Path) -> None:
    """Another program, with sums of its own."""
    publish(mirror, b"something else")


def forget(vendor: Path, mirror: Path) -> None:
    """The vendor has published no such archive."""
    publish(mirror, PROGRAM)
    (vendor / RELEASE / f"nomad_{RELEASE}_SHA256SUMS").write_text("")


@pytest.mark.parametrize("wrong", [swap, forget])
def test_a_mirror_with_something_else_is_refused(
    wrong: Callable[[Path, Path], None],
    vendor: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong(vendor, tmp_path / "mirror")
    monkeypatch.setenv("NOMAD_MIRROR", (tmp_path / "mirror").as_uri())
    with pytest.raises(Failed, match="not what its vendor has published"):
        nomad.bring(tmp_path / "cache")
    assert not nomad.TO.exists()
    assert not (tmp_path / "cache" / "nomad" / "nomad").exists()


@pytest.mark.parametrize("nowhere", ["http://127.0.0.1:1", "file:///nowhere"])
@pytest.mark.usefixtures("vendor")
def test_without_a_network_there_is_none(
    nowhere: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(nomad, "VENDOR", nowhere)
    assert nomad.bring(tmp_path / "cache") is None
    assert "Nomad cannot be had" in capsys.readouterr().out
    assert not nomad.TO.exists()


def test_a_page_in_place_of_the_sums_is_refused(vendor: Path, tmp_path: Path) -> None:
    """As a network gives it that wants a person to log in first."""
    (sums,) = vendor.rglob("*_SHA256SUMS")
    sums.write_bytes(b"<html>\n\n<p>Log in, \xff\n")
    with pytest.raises(Failed, match="not what its vendor has published"):
        nomad.bring(tmp_path / "cache")


@pytest.mark.usefixtures("vendor")
def test_a_connection_that_ends_half_way_brings_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with breaking_off() as port:
        monkeypatch.setattr(nomad, "VENDOR", f"http://127.0.0.1:{port}")
        assert nomad.bring(tmp_path / "cache") is None
    assert not nomad.TO.exists()


@contextmanager
def breaking_off() -> Iterator[int]:
    """The port of a server that promises more than it gives."""

    class Breaks(socketserver.StreamRequestHandler):
        @override
        def handle(self) -> None:
            while self.rfile.readline().strip():
                pass
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")

    with socketserver.TCPServer(("127.0.0.1", 0), Breaks) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        yield server.server_address[1]
        thread.join()


@pytest.mark.usefixtures("vendor")
def test_half_a_program_is_never_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another guest looks into the cache at any time."""

    def extract(archive: zipfile.ZipFile, member: str, path: Path) -> str:
        path.mkdir(exist_ok=True)
        (path / member).write_bytes(archive.read(member)[:3])
        raise OSError("the disk is full")

    with monkeypatch.context() as full:
        full.setattr(zipfile.ZipFile, "extract", extract)
        assert nomad.bring(tmp_path / "cache") is None
    assert nomad.bring(tmp_path / "cache") == nomad.TO
    assert nomad.TO.read_bytes() == PROGRAM


# The network interface


@pytest.mark.parametrize(
    ("says", "found"),
    [
        ("3: eth1    inet 192.168.56.11/24 brd 192.168.56.255 scope global eth1", "eth1"),
        ("9: eth1@if10    inet 192.168.56.11/24 scope global eth1", "eth1"),
    ],
    ids=["of a machine", "of a container"],
)
def test_the_interface_is_the_one_with_the_address(
    says: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "ip", f"case $* in *192.168.56.11) echo '{says}';; esac")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert nomad.interface("192.168.56.11") == found
    with pytest.raises(Failed, match=r"192\.168\.56\.12: `vagrant reload`"):
        nomad.interface("192.168.56.12")


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
