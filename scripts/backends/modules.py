"""Has Go build a program, from modules that are all in the go.sum that is committed."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from scripts.backends import store, toolchain, tools

# Some modules from 2023 use internals of the runtime, which the linker has refused since Go 1.23.
LINKER = "-s -w -checklinkname=0"


def bring(name: str, version: str, package: str, tags: str = "") -> Path:
    """The program built from `package`, a main package of `pinned/<name>/go.mod` or, as ".", of the
    files beside it, with these build tags (commas between).
    """
    folder = store.bring(
        name,
        version,
        lambda folder: _build(name, package, tags, folder / name),
        "building it with Go, which can take some minutes",
    )
    return folder / name


def _build(name: str, package: str, tags: str, program: Path) -> None:
    go = toolchain.go()
    with tempfile.TemporaryDirectory() as work:
        shutil.copytree(store.PINNED / name, work, dirs_exist_ok=True)
        argv = [go, "build", "-trimpath", "-buildvcs=false", "-mod=readonly", f"-tags={tags}"]
        environ = {"CGO_ENABLED": "0", "GOWORK": "off"}  # no C compiler is needed
        tools.run(
            [*argv, "-ldflags", LINKER, "-o", str(program), package],
            cwd=Path(work),
            environ=environ,
        )
