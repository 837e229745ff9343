"""The web pages of Debian's Prometheus, unpacked beside the backends, as `promtool.py` does with
the program. Without them it answers its API alone. A Prometheus that is installed has its own.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from scripts.backends import promtool, store, tools

VERSION = "debian"
NEEDED = re.compile(r"\b(?:libjs|fonts)-[\w.+-]+")  # packages of scripts and styles
UNUSED = "javascript/moment-timezone/data"  # 200 MB


def here() -> Path | None:
    """Return the folder for `--web.local-assets`, a flag that only Debian's program has."""
    there = store.place("prometheus-pages", VERSION) / "share" / "prometheus" / "web"
    return there if there.exists() else None


def bring() -> None:
    """Fetch them, unless they are here. Raises Failed."""
    store.bring("prometheus-pages", VERSION, _unpack, "fetching them with apt-get")


def _unpack(folder: Path) -> None:
    tools.know(promtool.PACKAGE)
    content = folder / "content"
    wanted, seen = {promtool.PACKAGE}, {promtool.PACKAGE}
    while wanted:
        needed = [NEEDED.findall(each) for each in promtool.extract(wanted, content)]
        wanted = set().union(*needed) - seen
        seen |= wanted
    (content / "usr" / "share").rename(folder / "share")
    shutil.rmtree(content)
    shutil.rmtree(folder / "share" / UNUSED, ignore_errors=True)
