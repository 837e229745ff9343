"""compose.yaml: one process that keeps its messages, and a container for each server."""

from __future__ import annotations

import re

import pytest

from cecochat import __version__
from tests.integration.test_docs import free_row
from tests.support.backends import Backends
from tests.support.containers import ROOT, Composed, composed
from tests.support.eventually import eventually

READY_WITHIN_S = 60.0

pytestmark = pytest.mark.timeout(900)  # the first one may have to make a base, and build


async def test_one_process_keeps_its_messages(image: str, backends: Backends) -> None:
    backends.compose()
    with composed(free_row()) as project:
        project.run("up", "--detach")
        await ready(project, "cecochat")
        project.execute("cecochat", "send", "--as", "alice", "bob", "in a volume")
        assert project.inspected("cecochat", ".HostConfig.ReadonlyRootfs") is True
        assert project.inspected("cecochat", ".HostConfig.CapDrop") == ["ALL"]
        project.run("down")
        project.run("up", "--detach")
        await ready(project, "cecochat")
        assert "in a volume" in project.execute("cecochat", "history", "--as", "bob", "alice")


async def ready(project: Composed, service: str, line: str = "CecoChat is ready") -> None:
    """Return once a service has said so."""
    await eventually(lambda: line in project.run("logs", service), READY_WITHIN_S, 0.2)


def test_its_image_is_the_one_that_make_image_builds() -> None:
    images = re.findall(r"cecochat:([\d.]+)\}", (ROOT / "compose.yaml").read_text())
    assert images == [__version__]
