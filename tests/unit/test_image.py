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

from cecochat.runtime import http, internal
from cecochat.settings.settings import Settings
from scripts import healthcheck
from tests.support import operators

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
    assert build[0].words.endswith(" AS build")
    assert any("--from=build" in step.flags for step in image)
    assert "pip" not in " ".join(step.words for step in image if step.name == "RUN")


def test_every_package_is_installed_by_its_hash() -> None:
    installs = re.findall(r"pip install([^&]*)", " & ".join(step.words for step in stages()[0]))
    assert ["--require-hashes" in words or "--no-deps" in words for words in installs] == [True] * 3


def test_it_runs_as_a_user_with_a_fixed_number() -> None:
    user = last("USER").words
    assert re.fullmatch(r"[1-9]\d{4,}:[1-9]\d{4,}", user)
    assert f"--uid {user.partition(':')[0]} " in last("RUN").words


def test_it_runs_the_program_and_asks_whether_it_lives() -> None:
    assert json.loads(last("ENTRYPOINT").words) == ["cecochat"]
    _, _, command = last("HEALTHCHECK").words.partition(" CMD ")
    program = json.loads(command)[-1]
    assert program in [shlex.split(s.words)[-1] for s in stages()[-1] if s.name == "COPY"]


def test_what_is_copied_is_there_and_is_sent() -> None:
    assert {path: (ROOT / path).exists() and sent(path) for path in copied()} == dict.fromkeys(
        copied(), True
    )
    assert sent("services/cecochat/v1/history_pb2.py")


@pytest.mark.parametrize(
    "path", [".git", ".venv", "tests", "scripts", "docs", "services/__pycache__"]
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
        (["cecochat", "up"], None),
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


def test_the_settings_file_is_that_of_the_command() -> None:
    assert healthcheck.settings_file(["serve", "history", "--settings", "/a"]) == Path("/a")
    assert healthcheck.settings_file(["serve", "history", "--settings=/a"]) == Path("/a")
    assert healthcheck.settings_file(["serve", "history"]) is None


async def test_a_server_that_answers_lives() -> None:
    app = internal.app(
        operators.guard(), "history", "history-1", CollectorRegistry(), lambda: "not ready yet"
    )
    async with http.serving(app, "127.0.0.1", 0) as port:
        assert await asyncio.to_thread(healthcheck.lives, "127.0.0.1", port)
    with pytest.raises(OSError, match="refused"):
        healthcheck.lives("127.0.0.1", port)
