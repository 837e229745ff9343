"""promtool, which tries rules: the one on PATH, or Debian's, unpacked beside the backends. To
install that package would start its Prometheus, and to build one takes minutes.

python3 -m scripts.backends.promtool    bring it; prints where it is
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from scripts.backends import store, tools
from scripts.backends.instance import Failed

PACKAGE = "prometheus"  # of Debian 12 and later, which has promtool
VERSION = "debian"


def here() -> str | None:
    """Where it is."""
    unpacked = store.place("promtool", VERSION) / "promtool"
    return shutil.which("promtool") or (str(unpacked) if unpacked.exists() else None)


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
    (content / "usr" / "bin" / "promtool").rename(folder / "promtool")
    shutil.rmtree(content)
    package.unlink()


if __name__ == "__main__":
    try:
        print(program())
    except Failed as error:
        sys.exit(str(error))
