"""The Dockerfile as it is written, and what the image asks to know whether its server lives."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client import CollectorRegistry

from cecochat.auth.certificates import Certificate
from cecochat.runtime import http, internal
from cecochat.settings.settings import Settings, load
from cecochat.settings.tls import Tls
from scripts import healthcheck
from tests.support import operators
from tests.support.certificates import certificates

ROOT = Path(__file__).parents[2]


class Step(NamedTuple):
    """An instruction of a Dockerfile."""

    name: str
    words: str

    @property
    def flags(self) -> list[str]:
        return [word for word in self.words.split() if word.startswith("--")]


def stages() -> list[list[Step]]:
    """The steps of each stage, FROM first; what is before the first is left out."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.M)
    found: list[list[Step]] = []
    for line in text.replace("\\\n", " ").splitlines():
        name, _, words = line.strip().partition(" ")
        if name == "FROM":
            found.append([])
        if name and found:
            found[-1].append(Step(name, words.strip()))
    return found


def last(name: str) -> Step:
    return [step for step in stages()[-1] if step.name == name][-1]


def copied() -> list[str]:
    """What the build takes from this checkout."""
    steps = [step for stage in stages() for step in stage if step.name == "COPY"]
    local = [step for step in steps if not any(f.startswith("--from=") for f in step.flags)]
    return [word for step in local for word in shlex.split(step.words)[:-1]]


def sent(path: str) -> bool:
    """Whether .dockerignore lets it, or all of what is in it, into the build: the last line that
    fits decides.
    """
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    taken = True
    for line in filter(None, (line for line in lines if not line.startswith("#"))):
        pattern = line.removeprefix("!")
        if fnmatch(path, pattern) or path.startswith(f"{pattern}/"):
            taken = line.startswith("!")
    return taken


def test_what_builds_is_left_behind() -> None:
    build, image = stages()
    assert build[0].words == "${BASE} AS build"
    assert image[0].words == "scratch"
    assert {step.name for step in image}.isdisjoint({"RUN", "ADD"})
    assert all("--from=build" in step.flags for step in image if step.name == "COPY")


def test_every_package_is_installed_by_its_hash() -> None:
    installs = re.findall(r"pip install([^&]*)", " & ".join(step.words for step in stages()[0]))
    assert ["--require-hashes" in words or "--no-deps" in words for words in installs] == [True] * 3


def test_it_runs_as_a_user_with_a_fixed_number() -> None:
    user = last("USER").words
    assert re.fullmatch(r"[1-9]\d{4,}:[1-9]\d{4,}", user)
    assert f"cecochat:x:{user}:" in (ROOT / "scripts" / "image-root.sh").read_text()
    assert f"--chown={user}" in last("COPY").flags


def test_it_runs_the_program_and_asks_whether_it_lives() -> None:
    assert json.loads(last("ENTRYPOINT").words) == ["cecochat"]
    _, _, command = last("HEALTHCHECK").words.partition(" CMD ")
    program = Path(json.loads(command)[-1])
    assert f"cp {program.name} {program.parent}/ " in stages()[0][-1].words


def test_what_is_copied_is_there_and_is_sent() -> None:
    assert {path: (ROOT / path).exists() and sent(path) for path in copied()} == dict.fromkeys(
        copied(), True
    )
    assert sent("services/cecochat/v1/history_pb2.py")


@pytest.mark.parametrize(
    "path", [".git", ".venv", "tests", "scripts", "jobs", "docs", "services/__pycache__"]
)
def test_nothing_else_is_sent(path: str) -> None:
    assert not sent(path)


def test_the_wheel_has_all_that_it_is_built_from() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    assert 'license-files = ["LICENSE"]' in project
    assert 'readme = "README.md"' in project
    assert '"protos/cecochat/v1" = ' in project
    assert {"LICENSE", "README.md", "protos", "pyproject.toml", "services"} <= set(copied())


# Whether the server lives


@pytest.mark.parametrize(
    ("words", "server"),
    [
        (["python", "/opt/cecochat/bin/cecochat", "serve", "history"], "history"),
        (["/sbin/docker-init", "--", "cecochat", "serve", "control", "--json"], "control"),
        (["python", "/opt/cecochat/bin/cecochat", "up", "--json"], "connect"),
        (["cecochat", "up", "--backends", "real", "--processes"], None),
        (["cecochat", "send", "--as", "alice", "bob", "up"], None),
        (["cecochat", "serve", "--help"], None),
        (["cecochat", "serve"], None),
    ],
)
def test_the_server_is_known_by_its_command(words: list[str], server: str | None) -> None:
    assert healthcheck.served(words) == server


@pytest.mark.parametrize(
    ("server", "settings", "address"),
    [
        ("messaging", Settings(), ("127.0.0.1", 8083)),
        ("connect", Settings(internal_host="0.0.0.0"), ("127.0.0.1", 8087)),
        ("history", Settings(internal_host="10.0.0.1"), ("10.0.0.1", 8085)),
        ("control", Settings(control_port=0), None),
    ],
)
def test_its_health_is_asked_where_the_settings_put_it(
    server: str, settings: Settings, address: tuple[str, int] | None
) -> None:
    assert healthcheck.address_of(["cecochat", "serve", server], settings) == address


def test_the_settings_are_those_of_the_command(tmp_path: Path) -> None:
    file = tmp_path / "settings"
    file.write_text("CECOCHAT_HISTORY_HEALTH_PORT=4000\n")
    for words in (["--settings", str(file)], [f"--settings={file}"]):
        assert healthcheck.loaded(["serve", "history", *words]).history_health_port == 4000
    assert healthcheck.loaded(["serve", "history"]) == load()
    up = ["cecochat", "up", "--port-base", "9000"]
    assert healthcheck.address_of(up, healthcheck.loaded(up)) == ("127.0.0.1", 9007)


@pytest.fixture
def app() -> http.App:
    return internal.app(
        operators.guard(), "history", "history-1", CollectorRegistry(), lambda: "not ready yet"
    )


async def test_a_server_that_answers_lives(app: http.App) -> None:
    async with http.serving(app, "127.0.0.1", 0) as port:
        assert await asyncio.to_thread(healthcheck.lives, "127.0.0.1", port, Settings())
    with pytest.raises(OSError, match="refused"):
        healthcheck.lives("127.0.0.1", port, Settings())


async def test_a_server_with_mutual_tls_lives_too(app: http.App, tmp_path: Path) -> None:
    ca_file, cert_file, key_file = certificates(tmp_path)
    settings = Settings(
        internal_ca_file=ca_file, internal_cert_file=cert_file, internal_key_file=key_file
    )
    certificate = Certificate(Tls(ca_file, cert_file, key_file))
    async with http.serving(app, "127.0.0.1", 0, certificate) as port:
        assert await asyncio.to_thread(healthcheck.lives, "127.0.0.1", port, settings)
