"""The page on containers works as it is typed, but for the ports and names of a test's own."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from tests.integration.test_docs import IN_A_CONTAINER, ROOT, free_row
from tests.support import containers
from tests.support.backends import Backends
from tests.support.examples import clean_environment, run


@pytest.mark.timeout(900)
def test_the_examples_work(image: str, backends: Backends, tmp_path: Path) -> None:
    backends.compose()
    first, name = free_row(), f"cecochat-test-{uuid4().hex[:8]}"
    environment = clean_environment(tmp_path / "home") | {"COMPOSE_PROJECT_NAME": name}
    variables = ("CONNECT", "MESSAGING", "HISTORY", "WEBSOCKET", "HISTORY_HTTP")
    for number, variable in enumerate(variables):
        environment[f"{variable}_PORT"] = str(first + number)
    (tmp_path / "home").mkdir()
    text = IN_A_CONTAINER.read_text().replace(f"{image} up", f"{image} up --port-base {first}")
    for written, here in {
        "8080-8082": f"{first}-{first + 2}",
        "8088-8089:8088-8089": f"{first + 7}-{first + 8}:{first + 7}-{first + 8}",
        "127.0.0.1:8080": f"127.0.0.1:{first}",
        "chat-server": name,
        "chat-data": name,
        "docker compose": " ".join(containers.compose()),
    }.items():
        text = text.replace(written, here)
    try:
        run(text, tmp_path, environment, where=ROOT)
    finally:
        containers.docker("rm", "--force", "--volumes", name)
        containers.docker("volume", "rm", "--force", name)
        containers.Composed(name, {}, (ROOT / "compose.yaml",)).end()
