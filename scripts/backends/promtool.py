"""promtool, which tries rules, and the Prometheus that came with it: those on PATH, or Debian's,
unpacked beside the backends. To install that package would start it, and to build one takes
minutes.

python3 -m scripts.backends.promtool    bring them; prints where promtool is
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from scripts.backends import store, tools
from scripts.backends.instance import Failed

PACKAGE = "prometheus"  # in Debian 12 and later, it has promtool
VERSION = "debian-both"


def here() -> str | None:
    """Return where promtool is."""
    return shutil.which("promtool") or unpacked("promtool")


def prometheus_here() -> str | None:
    """Return where a Prometheus is that can scrape fixed targets. Debian's cannot ask Consul."""
    return shutil.which("prometheus") or unpacked("prometheus")


def unpacked(name: str) -> str | None:
    """Return where a program is that was installed here, and is not on PATH."""
    program = store.place("promtool", VERSION) / name
    return str(program) if program.exists() else None


def program() -> str:
    """Install promtool, unless it is here. Raises Failed."""
    return here() or _brought("promtool")


def prometheus() -> str:
    """Install that Prometheus, unless it is here. Raises Failed."""
    return prometheus_here() or _brought("prometheus")


def _brought(name: str) -> str:
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise Failed(f"{name} is missing: put the one of Prometheus 2.42 or newer on PATH")
    folder = store.bring("promtool", VERSION, _unpack, "fetching it with apt-get")
    return str(folder / name)


def extract(packages: Iterable[str], content: Path) -> Iterator[str]:
    """Unpack packages of Debian into a folder. Return what each depends on. Raises Failed."""
    with tempfile.TemporaryDirectory() as work:
        # For root, apt-get would use another user, who may not write here.
        fetch = ["apt-get", "download", "-o", "APT::Sandbox::User=root", *packages]
        tools.run(fetch, cwd=Path(work))
        for file in sorted(Path(work).glob("*.deb")):
            tools.run(["dpkg-deb", "--extract", str(file), str(content)])
            yield tools.run(["dpkg-deb", "--field", str(file), "Depends"])


def _unpack(folder: Path) -> None:
    tools.know(PACKAGE)
    content = folder / "content"
    list(extract([PACKAGE], content))
    for name in ("promtool", "prometheus"):
        (content / "usr" / "bin" / name).rename(folder / name)
    shutil.rmtree(content)


if __name__ == "__main__":
    try:
        print(program())
    except Failed as error:
        sys.exit(str(error))
