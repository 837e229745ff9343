"""What traces cost: `make bench ARGS="--traces 10"`. Runs take turns: a busy machine hits all."""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from typing_extensions import override

from tests.bench.generate import generate
from tests.support.server import Server, running

LOAD = ["open", "--rate", "500", "--seconds", "10", "--warm-up", "3"]
RATIOS: dict[str, float | None] = {"off": None, "0 %": 0.0, "1 %": 0.01, "100 %": 1.0}
"""None: the servers have no collector."""

Figures = dict[str, dict[str, Any]]


async def measured(folder: Path, rounds: int) -> Figures:
    """CPU seconds of the server per 1,000 messages: the median of each, and of its ratio to that
    without traces in the same round.
    """
    cost: dict[str, list[float]] = {name: [] for name in RATIOS}
    with sink() as url:
        for turn in range(rounds):
            names = list(RATIOS) if turn % 2 else list(reversed(RATIOS))
            for name in names:
                print(f"round {turn + 1} of {rounds}: {name} ...", file=sys.stderr, flush=True)
                cost[name].append(await _once(folder / f"{turn}-{names.index(name)}", name, url))
    off = cost["off"]
    return {
        f"traces {name}": {
            "cpu_s_per_1000": round(statistics.median(each), 4),
            "ratio_to_off": round(
                statistics.median(a / b for a, b in zip(each, off, strict=True)), 3
            ),
        }
        for name, each in cost.items()
    }


async def _once(folder: Path, name: str, url: str) -> float:
    ratio = RATIOS[name]
    environment = {} if ratio is None else {"CECOCHAT_OTLP_URL": url}
    configuration = {"trace.ratio": ratio or 0.0, "sessions.max_per_server": 10_000}
    async with running(folder, environment, configuration) as server:
        return await _cpu(server)


async def _cpu(server: Server) -> float:
    found = await generate(server.connect_url, server.secret_file, {"server": [server.pid]}, LOAD)
    return float(found["server_cpu_s_per_1000"])


@contextmanager
def sink() -> Iterator[str]:
    """A collector that takes everything and does nothing."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Taker)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Taker(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    @override
    def log_message(self, *_: object) -> None:
        """Nothing."""


def main(rounds: int) -> Figures:
    """See `measured`."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(measured(Path(folder), rounds))
