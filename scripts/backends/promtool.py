"""promtool, which tries rules, and the Prometheus that came with it: those on PATH, or Debian's,
unpacked beside the backends. To install that package would start it, and to build one takes
minutes.

python3 -m scripts.backends.promtool    bring them; prints where promtool is
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from scripts.backends import store, tools
from scripts.backends.instance import Failed

PACKAGE = "prometheus"  # of Debian 12 and later, which has promtool
VERSION = "debian-both"


def here() -> str | None:
    """Where it is."""
    return shutil.which("promtool") or _unpacked("promtool")


def prometheus_here() -> str | None:
    """Where a Prometheus is that scrapes fixed targets: Debian's finds none in Consul."""
    return shutil.which("prometheus") or _unpacked("prometheus")


def _unpacked(name: str) -> str | None:
    program = store.place("promtool", VERSION) / name
    return str(program) if program.exists() else None


def program() -> str:
    """Bring it here unless it is. Raises Failed."""
    if there := here():
        return there
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise Failed("promtool is missing: put that of Prometheus 2.42 or newer on PATH")
    folder = store.bring("promtool", VERSION, _unpack, "fetching it with apt-get")
    return str(folder / "promtool")


def _unpack(folder: Path) -> None:
    tools.know(PACKAGE)
    # As root apt-get would hand it to a user of its own, who may not write here.
    tools.run(["apt-get", "download", "-o", "APT::Sandbox::User=root", PACKAGE], cwd=folder)
    (package,) = folder.glob("*.deb")
    content = folder / "content"
    tools.run(["dpkg-deb", "--extract", str(package), str(content)])
    for name in ("promtool", "prometheus"):
        (content / "usr" / "bin" / name).rename(folder / name)
    shutil.rmtree(content)
    package.unlink()


if __name__ == "__main__":
    try:
        print(program())
    except Failed as error:
        sys.exit(str(error))
