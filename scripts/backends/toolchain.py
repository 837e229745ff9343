"""Finds a Go that is new enough: the installed one, or one that it fetches as a Go module.

Debian 12 has Go 1.19, which is too old even to bring a newer one by itself (1.21 and later do). Go
is published as a module, so that the way all other modules come serves for it too.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from scripts.backends import store, tools, versions
from scripts.backends.instance import Failed

MODULE = "golang.org/toolchain@v0.0.1-go"


def go() -> str:
    """Return the program `go`. Raises Failed."""
    program = shutil.which("go") or _installed()
    if tools.numbers(tools.run([program, "env", "GOVERSION"])) >= versions.GO_AT_LEAST:
        return program
    say = f"bringing it, since {program} is older"
    folder = store.bring("go", versions.GO, lambda folder: _bring(program, folder), say)
    return str(folder / "bin" / "go")


def _installed() -> str:
    tools.install("golang-go", "Go is missing")
    return tools.found("go")


def _bring(older: str, folder: Path) -> None:
    os_and_cpu = "-".join(tools.run([older, "env", "GOOS", "GOARCH"]).split())
    expected = versions.GO_SUMS.get(os_and_cpu)
    if expected is None:
        wanted = ".".join(map(str, versions.GO_AT_LEAST))
        raise Failed(f"{older} is too old: install Go {wanted} or newer, and run this again")
    with tempfile.TemporaryDirectory() as outside:  # outside any module
        argv = [older, "mod", "download", "-json", f"{MODULE}{versions.GO}.{os_and_cpu}"]
        brought = json.loads(tools.run(argv, cwd=Path(outside)))
    if brought["Sum"] != expected:
        raise Failed(f"Go {versions.GO} came with {brought['Sum']}, not {expected}: do not use it")
    shutil.copytree(brought["Dir"], folder, dirs_exist_ok=True)
    _make_executable(folder)


def _make_executable(folder: Path) -> None:
    """Make files executable and writable, since a module has no permissions."""
    for path in [folder, *folder.rglob("*")]:
        program = path.is_dir() or path.parent.name == "bin" or "tool" in path.parts
        path.chmod(0o755 if program else 0o644)
