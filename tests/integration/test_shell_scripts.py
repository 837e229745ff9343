"""Every shell script of this repository is one that shellcheck has nothing to say about."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.backends import Backends

ROOT = Path(__file__).parents[2]
SHEBANG = re.compile(rb"#!\S*?/(env +)?(ba|da|k)?sh\b")


def tracked() -> list[Path]:
    """Files of this repository that are there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    return [path for name in listed.stdout.decode().split("\0") if (path := ROOT / name).is_file()]


def is_shell(file: Path) -> bool:
    with file.open("rb") as content:
        return file.suffix == ".sh" or bool(SHEBANG.match(content.readline(200)))


def test_shellcheck_finds_nothing(backends: Backends) -> None:
    program = backends.program("shellcheck")
    scripts = [str(file.relative_to(ROOT)) for file in tracked() if is_shell(file)]
    assert {".ci/run", "scripts/venv.sh"} <= set(scripts), "they are not looked for as they should"
    done = subprocess.run(
        [program, *scripts], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "text", "shell"),
    [
        ("run", "#!/usr/bin/env bash\n", True),
        ("run", "#!/bin/sh\n", True),
        ("part.sh", "# to be sourced\n", True),
        ("tool", "#!/usr/bin/env python3\n", False),
        ("fish", "#!/usr/bin/fish\n", False),
        ("empty", "", False),
    ],
)
def test_a_script_is_known_by_its_name_or_first_line(
    name: str, text: str, shell: bool, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    assert is_shell(tmp_path / name) is shell
