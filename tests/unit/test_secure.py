"""SECURE=1 of a test cluster: what is drawn, who is given it, and what is written where."""

from __future__ import annotations

import base64
import grp
import json
import os
import shutil
import subprocess
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from cryptography import x509

from scripts.backends import consul, prometheus
from scripts.backends.instance import Failed
from scripts.backends.kinds import kind
from scripts.cluster import acl, plan, ready, secure
from scripts.cluster.plan import Plan
from scripts.cluster.secure import Secrets
from tests.support.secured import GUESTS, Drawn, draw, ruby

ROOT = Path(__file__).parents[2]
SECRETS = Secrets(
    ca="its authority",
    certificate="its certificate",
    key="its key",
    gossip={"consul": "a gossip key", "nomad": "another"},
    tokens={name: f"token of {name}" for name in acl.POLICIES},
    management="the token that may do all",
)

GROUP = grp.getgrgid(os.getgid()).gr_name


@pytest.fixture
def drawn(tmp_path: Path) -> Drawn:
    return draw(tmp_path / "secure")


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


# On the host


def test_secrets_are_drawn_once_and_the_owners_alone(drawn: Drawn) -> None:
    before = contents(drawn.folder)
    assert draw(drawn.folder).guests == drawn.guests
    assert contents(drawn.folder) == before
    assert drawn.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in drawn.folder.iterdir()} == {0o600}


def test_no_two_clusters_and_no_two_purposes_share_a_secret(drawn: Drawn, tmp_path: Path) -> None:
    other = draw(tmp_path / "other")
    found = [*contents(drawn.folder).values(), *contents(other.folder).values()]
    assert len(set(found)) == len(found)


def test_a_guest_is_given_what_it_needs(drawn: Drawn) -> None:
    """The authority's key stays on the host, and one guest alone may do all in Consul."""
    given = {name: json.dumps(asdict(each)) for name, each in drawn.guests.items()}
    kept = contents(drawn.folder)
    for secret in (kept["ca-key.pem"], kept["host-key.pem"]):
        assert not any(json.dumps(secret) in text for text in given.values())
    assert [name for name, text in given.items() if drawn.management in text] == ["server3"]
    assert set(drawn.tokens) == set(acl.POLICIES)
    assert len({each.key for each in drawn.guests.values()}) == len(GUESTS)


def test_a_certificate_names_its_guest_and_what_that_is(drawn: Drawn) -> None:
    found = x509.load_pem_x509_certificate(drawn.guests["server2"].certificate.encode())
    ca = x509.load_pem_x509_certificate(drawn.guests["server2"].ca.encode())
    found.verify_directly_issued_by(ca)
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {
        "server2",
        "localhost",
        "server.dc1.consul",  # without which no other server talks to it
        "server.global.nomad",
        "client.global.nomad",
    }
    addresses = {str(each) for each in names.get_values_for_type(x509.IPAddress)}
    assert addresses == {"127.0.0.1", "127.0.0.12"}


def test_one_guest_more_leaves_the_others_as_they_are(drawn: Drawn) -> None:
    more = draw(drawn.folder, {**GUESTS, "server4": "127.0.0.14"})
    for name in GUESTS:
        assert replace(more.guests[name], management=None) == replace(
            drawn.guests[name], management=None
        )
    assert more.guests["server4"].management == drawn.management


def test_nothing_of_it_is_in_the_repository(drawn: Drawn) -> None:
    ignored = subprocess.run(
        ["git", "check-ignore", "--quiet", ".vagrant/cluster/secure/ca-key.pem"],
        cwd=ROOT,
        check=False,
    )
    assert ignored.returncode in (0, 128), "128: this is no repository"


EVALUATE = """
require "fileutils" # as in Vagrant
require "json"
class Anything < BasicObject
  def method_missing(name, *given, **options, &block)
    $given << options[:env] if name == :provision && given == ["secret"]
    block.call(self, self) if block
    self
  end
end
module Vagrant
  def self.configure(_) = yield(Anything.new)
end
$given = []
load "./Vagrantfile"
puts JSON.generate($given)
"""
"""What each guest is given, as the Vagrantfile says it, without Vagrant."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "Vagrantfile", tmp_path)
    (tmp_path / "scripts").mkdir()
    shutil.copytree(ROOT / "scripts" / "cluster", tmp_path / "scripts" / "cluster")
    return tmp_path


def given(project: Path, **environ: str) -> list[str]:
    """The secrets of each guest."""
    argv, environ = [ruby(), "-e", EVALUATE], {"HOME": str(project), **environ}
    done = subprocess.run(
        argv, cwd=project, env=environ, capture_output=True, text=True, check=True
    )
    return [each["SECRETS"] for each in json.loads(done.stdout)]


def test_a_cluster_is_secure_from_when_it_was_asked_for(project: Path) -> None:
    folder = project / ".vagrant" / "cluster" / "secure"
    assert given(project) == ["", "", ""]
    assert not folder.exists()
    first = given(project, SECURE="1")
    assert folder.is_dir()
    assert given(project) == first
    parsed = [Secrets.parse(base64.b64decode(text).decode()) for text in first]
    assert [each.management is not None for each in parsed] == [False, False, True]


@pytest.mark.parametrize(("first", "then"), [("0", "1"), ("1", "0")])
def test_machines_stay_as_secure_as_they_were_made(project: Path, first: str, then: str) -> None:
    """What runs on them reads files that the other kind lacks."""
    before = given(project, SECURE=first)
    machine = project / ".vagrant" / "machines" / "server3" / "lxc"
    machine.mkdir(parents=True)
    (machine / "id").touch()
    with pytest.raises(subprocess.CalledProcessError) as refused:
        given(project, SECURE=then)
    assert "remove it first with `make cluster-down`" in refused.value.stderr
    assert given(project) == before


def test_what_a_start_that_failed_has_drawn_makes_no_other_secure(project: Path) -> None:
    given(project, SECURE="1")
    assert given(project, SECURE="0") == given(project) == ["", "", ""]


def test_a_word_that_says_neither_is_refused(project: Path) -> None:
    """Nobody shall believe that a cluster is secure."""
    for word in ("", "true", "yes"):
        with pytest.raises(subprocess.CalledProcessError) as refused:
            given(project, SECURE=word)
        assert f'SECURE is "{word}": use 1 or 0' in refused.value.stderr


# In a guest


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(secure, "COMMANDS", tmp_path / "profile.sh")
    return tmp_path / "profile.sh"


def test_what_is_installed_only_the_group_of_the_servers_reads(
    tmp_path: Path, commands: Path
) -> None:
    folder = tmp_path / "secure"
    secure.install(SECRETS, folder, GROUP)
    assert folder.stat().st_mode & 0o777 == 0o750
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o640}
    assert contents(folder) == secure.files(SECRETS, folder)
    assert "its key" not in commands.read_text()
    secure.install(replace(SECRETS, key="new"), folder, GROUP)
    assert (folder / "key.pem").read_text() == "new"
    assert not [path for path in folder.iterdir() if path.name.endswith(".new")]


def test_the_servers_cannot_read_what_may_do_all(tmp_path: Path) -> None:
    texts = secure.files(SECRETS, tmp_path).values()
    assert not any("may do all" in text for text in texts)


def test_secrets_are_in_no_repr_and_in_no_message() -> None:
    assert "its" not in repr(SECRETS)
    for damaged in (json.dumps({"key": "its key"}), '{"key": "its key"'):
        with pytest.raises(Failed, match="damaged") as failed:
            Secrets.parse(damaged)
        assert "its key" not in str(failed.value)
        assert failed.value.__suppress_context__


def test_an_open_cluster_is_told_nothing_of_secrets() -> None:
    opened, secured = Plan(1, 3, "kafka"), Plan(1, 3, "kafka", secured=True)
    assert plan.SECURE not in f"{opened.backends()}{opened.settings()}"
    assert secured.settings().items() - opened.settings().items() == plan.SECURED.items()
    assert secured.backends()["consul"][-2:] == ["--settings", f"{plan.SECURE}/consul.json"]
    assert "127.0.0.1:8500" in secured.backends()["prometheus"], "elsewhere it asks for TLS"


def test_the_ports_of_consul_differ() -> None:
    taken = kind("consul").instance(Path("/"), {"http": plan.CONSUL}).ports.values()
    assert plan.CONSUL_TLS not in taken


def test_one_guest_makes_the_acl(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[str] = []

    def apply(management: str, _: object) -> list[str]:
        made.append(management)
        return []

    monkeypatch.setattr(acl, "apply", apply)
    for secrets in (None, replace(SECRETS, management=None), SECRETS):
        monkeypatch.setattr(secure, "read", lambda secrets=secrets: secrets)
        ready._acl()
    assert made == [SECRETS.management]
    assert capsys.readouterr().out == "Consul's ACL: as it was\n"


# The backends


def test_further_settings_of_consul_come_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consul, "program", lambda: "consul")
    plain = consul.command(kind("consul").instance(tmp_path)).argv
    more = kind("consul").instance(tmp_path, options={"settings": "/more.json"})
    assert consul.command(more).argv == [*plain, "-config-file=/more.json"]


def test_prometheus_reads_its_token_from_a_file(tmp_path: Path) -> None:
    options = {"consul": "db:1", "consul-token": "/etc/a token"}
    text = prometheus.configuration(kind("prometheus").instance(tmp_path, options=options))
    assert (
        "      - server: db:1\n"
        "        authorization:\n"
        '          credentials_file: "/etc/a token"\n'
        "        refresh_interval: 5s"
    ) in text
