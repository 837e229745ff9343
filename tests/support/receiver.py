"""An endpoint of webhooks as a program of its own, which is slow and refuses at random.

`python -m tests.support.receiver PORT FILE SECRET SEED TROUBLE`. A line of FILE is a webhook that
it took, written before the answer. TROUBLE from 0 to 1: how often it makes trouble.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from standardwebhooks.webhooks import Webhook
from typing_extensions import override

SLOW_S = (0.0, 0.3)
POISON = "poison"
"""A message with this text is refused for what it is, until FILE.lenient exists."""


class Receiver(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    """A server with a thread for each connection."""

    def __init__(self, port: int, file: str, secret: str, seed: int, trouble: float) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.file, self.webhook, self.trouble = file, Webhook(secret), trouble
        self.rng, self.lock = random.Random(seed), threading.Lock()

    def keep(self, line: dict[str, object]) -> None:
        with self.lock, Path(self.file).open("a") as file:
            file.write(json.dumps(line) + "\n")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.webhook.verify(body, dict(self.headers))
        status = self.decide(body)
        if status == 200:
            self.server.keep({"id": self.headers["webhook-id"], "body": json.loads(body)})
            if self.server.rng.random() < self.server.trouble:
                status = 500  # it has it, and says that it has not
        self.send_response(status)
        if status == 429:
            self.send_header("retry-after", "1")
        self.send_header("content-length", "0")
        self.end_headers()

    def decide(self, body: bytes) -> int:
        if self.server.trouble and self.server.rng.random() < self.server.trouble:
            time.sleep(self.server.rng.uniform(*SLOW_S))
        if POISON.encode() in body and not self.is_lenient:
            return 422
        if self.server.rng.random() < self.server.trouble:
            return self.server.rng.choice([429, 500, 502, 503, 404, 408])
        return 200

    @property
    def is_lenient(self) -> bool:
        return Path(f"{self.server.file}.lenient").exists()

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    port, file, secret, seed, trouble = sys.argv[1:]
    Receiver(int(port), file, secret, int(seed), float(trouble)).serve_forever()
