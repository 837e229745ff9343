"""Who follows the page adds a backend by adding one folder."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.integration.test_docs import A_BACKEND, ROOT, free_row
from tests.support.examples import clean_environment, run

CHECKOUT = ("services", "tests", "scripts", "pyproject.toml")
"""What the page needs of one."""
BYTECODE = shutil.ignore_patterns("__pycache__")  # others write it meanwhile


def checkout(folder: Path) -> Path:
    """A copy, with the commands of this one."""
    folder.mkdir()
    for name in CHECKOUT:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=BYTECODE)
        else:
            shutil.copy(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def sources(folder: Path) -> dict[str, bytes]:
    """Path -> what is there."""
    files = (path for name in CHECKOUT for path in (folder / name).rglob("*.py"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.timeout(300)
def test_a_backend_is_a_folder(tmp_path: Path) -> None:
    copy = checkout(tmp_path / "checkout")
    before = sources(copy)
    environment = clean_environment(tmp_path / "home")
    environment |= {"PYTHONPATH": str(copy / "services"), "PYTHONDONTWRITEBYTECODE": "1"}
    (tmp_path / "home").mkdir()
    first = free_row()
    text = A_BACKEND.read_text().replace("--port-base 9000", f"--port-base {first}")
    run(text.replace("127.0.0.1:9000", f"127.0.0.1:{first}"), tmp_path, environment, where=copy)
    after = sources(copy)
    assert before.items() <= after.items(), "nothing else had to change"
    toy = "services/cecochat/adapters/toy"
    assert after.keys() - before.keys() == {
        f"{toy}/{name}.py" for name in ("__init__", "backend", "backplane")
    }
