"""What `scripts/backends` brings to this machine: pins, checksums, jars, what is kept."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from scripts.backends import cassandra, jars, kafka, store, tools, versions
from scripts.backends.instance import Failed

SCRIPTS = Path(kafka.__file__).parent


# -- What is pinned


@pytest.mark.parametrize(
    ("name", "module", "version"),
    [
        ("consul", "github.com/hashicorp/consul", versions.CONSUL),
        ("jaeger", "github.com/jaegertracing/jaeger", versions.JAEGER),
        ("porcupine", "github.com/anishathalye/porcupine", versions.PORCUPINE),
        ("prometheus", "github.com/prometheus/prometheus", versions.PROMETHEUS),
        ("versitygw", "github.com/versity/versitygw", versions.VERSITYGW),
    ],
)
def test_a_go_module_names_the_pinned_version(name: str, module: str, version: str) -> None:
    pinned = store.PINNED / name
    assert f"require {module} v{version}\n" in (pinned / "go.mod").read_text()
    sums = (pinned / "go.sum").read_text().splitlines()
    assert any(line.startswith(f"{module} v{version} h1:") for line in sums)


@pytest.mark.parametrize(
    ("name", "jar"),
    [
        ("kafka", f"kafka_2.13-{versions.KAFKA}.jar"),
        ("kafka", f"log4j-core-{versions.KAFKA_LOG4J}.jar"),
        ("kafka", f"log4j-slf4j-impl-{versions.KAFKA_LOG4J}.jar"),
        ("cassandra", f"cassandra-all-{versions.CASSANDRA}.jar"),
    ],
)
def test_the_checksums_are_those_of_the_pinned_version(name: str, jar: str) -> None:
    assert jar in jars.parse((store.PINNED / name / "jars.sha256").read_text())


def test_nothing_names_the_host_of_a_registry() -> None:
    hosts = re.compile(r"https?://(?!maven\.apache\.org/POM/)\S+")
    files = [path for path in SCRIPTS.rglob("*") if path.suffix in {".py", ".xml", ".mod", ".go"}]
    assert {str(path): found for path in files if (found := hosts.findall(path.read_text()))} == {}
    assert len(files) > 15


def test_jars_are_exactly_those_that_are_named(tmp_path: Path) -> None:
    libs, checksums = tmp_path / "libs", tmp_path / "jars.sha256"
    libs.mkdir()
    (libs / "a.jar").write_bytes(b"a")
    digest = hashlib.sha256(b"a").hexdigest()
    checksums.write_text(f"{digest}  a.jar\n")
    jars.verify(libs, checksums)
    (libs / "b.jar").write_bytes(b"b")
    with pytest.raises(Failed, match=r"says: b\.jar"):
        jars.verify(libs, checksums)
    checksums.write_text(f"{digest}  a.jar\n{digest}  b.jar\n{digest}  c.jar\n")
    with pytest.raises(Failed, match=r"says: b\.jar, c\.jar"):
        jars.verify(libs, checksums)


def test_jars_beside_a_start_script_on_the_path_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, name in (("bin", "kafka-server-start.sh"), ("libs", "kafka_2.13-4.0.0.jar")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert kafka.installed() == tmp_path / "libs"
    assert cassandra.installed() is None


# -- What is kept


def test_what_was_brought_is_whole_and_made_once(fresh_cache: Path) -> None:
    made = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "program").write_text("whole")

    first = store.bring("redis-like", "1", make, "made up")
    assert store.bring("redis-like", "1", make, "made up") == first
    assert (first / "program").read_text() == "whole"
    assert len(made) == 1
    assert first.parent == fresh_cache / "cecochat" / "backends"


def test_what_fails_half_way_leaves_nothing(fresh_cache: Path) -> None:
    def make(folder: Path) -> None:
        (folder / "half").touch()
        raise Failed("the network is down")

    with pytest.raises(Failed, match="network"):
        store.bring("redis-like", "1", make, "made up")
    left = [path.name for path in (fresh_cache / "cecochat" / "backends").iterdir()]
    assert left == ["redis-like.lock"]


@pytest.fixture
def fresh_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "pinned" / "redis-like").mkdir(parents=True)
    monkeypatch.setattr(store, "PINNED", tmp_path / "pinned")
    return tmp_path / "cache"


def test_another_pin_has_another_place(tmp_path: Path) -> None:
    (tmp_path / "go.sum").write_text("one")
    before = store.fingerprint(tmp_path)
    (tmp_path / "go.sum").write_text("two")
    assert store.fingerprint(tmp_path) != before


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("go1.26.8", (1, 26, 8)),
        ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0", (7, 0, 15)),
    ],
)
def test_versions_are_read(said: str, found: tuple[int, ...]) -> None:
    assert tools.numbers(said) == found


def test_a_command_that_fails_says_what_it_said() -> None:
    with pytest.raises(Failed, match=r"(?s)no such thing.*exit code 3"):
        tools.run(["sh", "-c", "echo no such thing; exit 3"])
