"""Containers of the image that this checkout builds, on the Docker engine of this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from cecochat import __version__
from scripts.backends import places
from scripts.backends.store import locked
from tests.support.eventually import eventually
from tests.support.guard import MARK

ROOT = Path(__file__).parents[2]
IMAGE = f"cecochat:{__version__}"
BUILT_WITHIN_S = 600.0
DOCKER_WITHIN_S = 120.0
COMPOSE_WITHIN_S = 300.0
READY_WITHIN_S = 60.0
SERVERS = ("messaging", "materialize", "history", "connect", "control", "hooks")
HARDENED = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges")


def base() -> str:
    """The name of the image that ours is built on."""
    named: list[str] = re.findall(r"^ARG BASE=(.+)", (ROOT / "Dockerfile").read_text(), re.M)
    return named[0]


def engine() -> bool:
    """Whether an engine answers: the program alone is found where none runs."""
    if shutil.which("docker") is None:
        return False
    return not subprocess.run(["docker", "version"], capture_output=True, check=False).returncode


def docker(*words: str) -> str:
    """What a command of docker prints that ends well."""
    return printed(["docker", *words], DOCKER_WITHIN_S)


def make(target: str) -> str:
    """What a target of the Makefile prints that ends well."""
    return printed(["make", "--silent", target], BUILT_WITHIN_S)


def printed(words: Sequence[str], within_s: float, **more: str) -> str:
    """What a command in this checkout prints that ends well. `more` is added to its environment."""
    done = subprocess.run(
        words,
        cwd=ROOT,
        env={**os.environ, **more},
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass
class Container:
    """One container, which keeps its volume, ports and name over restarts."""

    image: str
    port: int  # of connect; those of messaging and history follow
    options: tuple[str, ...] = ()
    name: str = field(default_factory=lambda: f"cecochat-test-{uuid4().hex[:8]}")

    @property
    def connect_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def run(self) -> None:
        """Run `cecochat up` in it. Its processes end with the tests, however these end."""
        ports = f"{self.port}-{self.port + 2}"
        docker(
            "run", "--detach", f"--name={self.name}", f"--volume={self.name}:/data", *HARDENED,
            f"--publish=127.0.0.1:{ports}:{ports}", f"--env={MARK}", "--env=CECOCHAT_HOST=0.0.0.0",
            "--env=CECOCHAT_ADVERTISE_HOST=127.0.0.1", *self.options,
            self.image, "up", f"--port-base={self.port}",
        )  # fmt: skip

    def start(self) -> None:
        docker("start", self.name)

    def kill(self) -> None:
        docker("kill", self.name)

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        docker("stop", "--time=40", self.name)
        return int(self.state()["ExitCode"])

    def execute(self, *words: str) -> str:
        """What a command of cecochat prints inside."""
        return docker("exec", self.name, "cecochat", *words)

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(docker("inspect", "-f", "{{json .State}}", self.name))
        return found

    def said(self) -> str:
        done = subprocess.run(
            ["docker", "logs", self.name], capture_output=True, text=True, check=True
        )
        return done.stdout + done.stderr

    async def ready(self, times: int = 1) -> None:
        """Return once it has said that it is ready so many times."""
        await eventually(
            lambda: self.said().count("CecoChat is ready") == times, READY_WITHIN_S, 0.1
        )

    async def is_said_to_be(self, health: str) -> None:
        await eventually(lambda: self.state()["Health"]["Status"] == health, READY_WITHIN_S, 0.2)


@contextmanager
def container(image: str, port: int, *options: str) -> Iterator[Container]:
    """One that has not been run yet, and is gone afterwards with its volume."""
    made = Container(image, port, options)
    try:
        yield made
    finally:
        docker("rm", "--force", "--volumes", made.name)
        docker("volume", "rm", "--force", made.name)


def built() -> str:
    """The name of the image of this checkout. What has not changed is not built again."""
    places.cache().mkdir(parents=True, exist_ok=True)
    with locked(places.cache() / "image.lock"):  # or each worker would make a base of its own
        if not _has(base()) and not _pulled(base()):
            make("base-image")
        make("image")
    return IMAGE


def _has(image: str) -> bool:
    found = subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False)
    return found.returncode == 0


def _pulled(image: str) -> bool:
    done = subprocess.run(["docker", "pull", "--quiet", image], capture_output=True, check=False)
    return done.returncode == 0


@dataclass(frozen=True)
class Composed:
    """A project of Docker Compose that is the test's own. `variables`: what compose.yaml asks."""

    name: str
    variables: Mapping[str, str]
    files: tuple[Path, ...]

    def run(self, *words: str) -> str:
        """What a command of it prints that ends well."""
        files = [f"--file={file}" for file in self.files]
        options = ["--project-directory", str(ROOT), "--project-name", self.name, *files]
        return printed([*compose(), *options, *words], COMPOSE_WITHIN_S, **self.variables)

    def execute(self, service: str, *words: str) -> str:
        """What a command of cecochat prints inside."""
        return self.run("exec", "-T", service, "cecochat", *words)

    def end(self) -> None:
        """Leave nothing of it."""
        self.run("--profile", "cluster", "down", "--volumes", "--timeout=40")

    def inspected(self, service: str, what: str) -> Any:
        found = docker(
            "inspect", f"--format={{{{json {what}}}}}", self.run("ps", "-q", service).strip()
        )
        return json.loads(found)


def compose() -> list[str]:
    """The command of Docker Compose, of today or of Debian 12; empty if there is none."""
    if shutil.which("docker"):
        words = ["docker", "compose", "version"]
        if not subprocess.run(words, capture_output=True, check=False).returncode:
            return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else []


@contextmanager
def composed(port: int, folder: Path, backends: Mapping[str, Any]) -> Iterator[Composed]:
    """A project with its ports from `port` on, gone afterwards with its volumes. `backends`: what
    takes the place of some of its services. All end with the tests, however these end.
    """
    ours = {"restart": "no", "environment": {MARK: os.environ[MARK]}}
    services = dict.fromkeys(("cecochat", *SERVERS), ours) | dict(backends)
    override = folder / "compose.json"
    override.write_text(json.dumps({"services": services}))
    ports = {name: str(port + i) for i, name in enumerate(("CONNECT", "MESSAGING", "HISTORY"))}
    made = Composed(
        f"cecochat-test-{uuid4().hex[:8]}",
        {f"{name}_PORT": number for name, number in ports.items()},
        (ROOT / "compose.yaml", override),
    )
    try:
        yield made
    finally:
        made.end()
