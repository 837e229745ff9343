"""Figures of tests and benchmarks as JSON files, with the machine and the commit they come from."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.texts import SOURCE

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "results"


def write(name: str, figures: Mapping[str, Any], folder: Path = FOLDER) -> Path:
    """`build/results/NAME.json`; the file before it is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.json"
    file.write_text(json.dumps({"name": name, **where(), "figures": figures}, indent=2) + "\n")
    return file


def where() -> dict[str, Any]:
    """Date, machine, Python, commit and texts: what a figure means nothing without."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpu": _cpu_model(),
            "cores": os.cpu_count(),
            "memory_gib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30,
            "system": f"{platform.system()} {platform.release()}",
        },
        "python": platform.python_version(),
        "commit": _commit(),
        "texts": SOURCE,
    }


def _cpu_model() -> str:
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text().splitlines() if cpus.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, "unknown")


def _commit() -> str:
    """The commit, and whether there were changes on top of it."""
    command = ["git", "describe", "--always", "--abbrev=12", "--dirty"]
    try:
        return subprocess.check_output(command, cwd=ROOT, text=True).strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
