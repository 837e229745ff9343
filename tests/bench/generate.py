"""Runs the load generator, a process of its own, against a system that is up."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.results import ROOT


class Failed(Exception):
    """A workload that could not be measured; the others are."""


async def generate(
    connect_url: str,
    secret_file: Path,
    pids: Mapping[str, Sequence[int]],
    arguments: Sequence[str],
) -> dict[str, Any]:
    """Run the generator to its end; its figures. `pids`: name -> processes whose CPU is measured.

    Raises `Failed`.
    """
    named = [f"--server-pid={name}={','.join(map(str, each))}" for name, each in pids.items()]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.load", *arguments, *named,
        "--connect", connect_url, "--secret-file", str(secret_file),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise Failed("the generator failed, see above")
    figures: dict[str, Any] = json.loads(out)
    return figures
