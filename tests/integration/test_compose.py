"""compose.yaml: one process that keeps its messages, and a container for each server."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from cecochat import __version__
from cecochat.client import connect, open_history
from scripts.backends import places
from tests.integration.test_docs import free_row
from tests.support.backends import Backends
from tests.support.containers import ROOT, SERVERS, Composed, base, composed
from tests.support.eventually import eventually
from tests.support.guard import MARK

PORTS = {"kafka": 9092, "cassandra": 9042, "redis": 6379, "consul": 8500, "postgres": 5432}
READY_WITHIN_S = 60.0
CLUSTER_WITHIN_S = 400.0  # two cores start ten containers, two of them Java's
RUN = "exec python3 -m scripts.backends run $$0 --host $$(hostname -i) --port $$1 --data /state"
OF_THIS_MACHINE = ("/usr", "/etc/alternatives", "/etc/java-17-openjdk")

pytestmark = pytest.mark.timeout(900)  # the first one may have to make a base, and build


async def test_one_process_keeps_its_messages(
    image: str, backends: Backends, tmp_path: Path
) -> None:
    backends.compose()
    with composed(free_row(), tmp_path, {}) as project:
        project.run("up", "--detach")
        await ready(project, "cecochat")
        project.execute("cecochat", "send", "--as", "alice", "bob", "in a volume")
        assert project.inspected("cecochat", ".HostConfig.ReadonlyRootfs") is True
        assert project.inspected("cecochat", ".HostConfig.CapDrop") == ["ALL"]
        project.run("down")
        project.run("up", "--detach")
        await ready(project, "cecochat")
        assert "in a volume" in project.execute("cecochat", "history", "--as", "bob", "alice")


async def test_a_container_for_each_server(image: str, backends: Backends, tmp_path: Path) -> None:
    backends.compose()
    for name in PORTS:
        backends.provisioned(name)
    if not is_debian_12():
        pytest.skip("it puts this machine's programs into a Debian 12: run it on one")
    with composed(
        port := free_row(), tmp_path, {name: launched(name) for name in PORTS}
    ) as project:
        project.run("--profile", "cluster", "up", "--detach", "connect")
        await eventually(lambda: all_are_ready(project), CLUSTER_WITHIN_S, 1.0)
        assert "partitions: 60 owned" in project.execute("connect", "status")
        url, token = (
            f"http://127.0.0.1:{port}",
            project.execute("connect", "token", "alice").strip(),
        )
        async with connect(url, token, listen=False) as alice:
            sent = await alice.send("bob", "through five containers")
        async with open_history(url, token) as history:

            async def stored() -> bool:
                return [each.id for each in (await history.messages("bob")).messages] == [sent]

            await eventually(stored, READY_WITHIN_S, 0.1)


def is_debian_12() -> bool:
    release = Path("/etc/debian_version")
    return release.exists() and release.read_text().startswith("12")


def launched(backend: str) -> dict[str, Any]:
    """A backend as our launcher runs it, in place of an image that has to come from a registry."""
    mounts = [*(f"{folder}:{folder}:ro" for folder in OF_THIS_MACHINE), f"{ROOT}:{ROOT}:ro"]
    return {
        "image": base(),
        "entrypoint": ["sh", "-c", RUN],
        "command": [backend, str(PORTS[backend])],
        "working_dir": str(ROOT),
        "restart": "no",
        "environment": {
            "XDG_CACHE_HOME": "/cache",
            "PYTHONDONTWRITEBYTECODE": "1",
            MARK: os.environ[MARK],
        },
        "volumes": [*mounts, f"{places.cache()}:/cache/cecochat/backends:ro"],
    }


def all_are_ready(project: Composed) -> bool:
    said = project.run("logs", "--no-color", *SERVERS)
    return all(re.search(rf"{server}-\w+ is ready", said) for server in SERVERS)


async def ready(project: Composed, service: str) -> None:
    await eventually(
        lambda: "CecoChat is ready" in project.run("logs", service), READY_WITHIN_S, 0.2
    )


def test_its_image_is_the_one_that_make_image_builds() -> None:
    images = re.findall(r"cecochat:([\d.]+)\}", (ROOT / "compose.yaml").read_text())
    assert images == [__version__]
