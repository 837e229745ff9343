"""Takes webhooks of CecoChat: verifies each, and prints it once.

Run it with `CECOCHAT_HOOK_SECRET=whsec_... python receiver.py [PORT]`. It needs nothing but Python.
"""

import base64
import hmac
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = base64.b64decode(os.environ["CECOCHAT_HOOK_SECRET"].removeprefix("whsec_"))
TOLERANCE_S = 300
seen: set[str] = set()  # in production a table of the database that the webhook changes


def is_genuine(headers: dict[str, str], body: bytes) -> bool:
    """Return whether a webhook is signed with our secret, and is not an old one."""
    id_, at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not at.isdecimal() or abs(time.time() - int(at)) > TOLERANCE_S:
        return False
    signed = hmac.digest(SECRET, f"{id_}.{at}.".encode() + body, "sha256")
    wanted = f"v1,{base64.b64encode(signed).decode()}"
    given = headers.get("webhook-signature", "").split(" ")
    return any(hmac.compare_digest(wanted.encode(), each.encode()) for each in given)


class Receiver(BaseHTTPRequestHandler):
    """Answers 200 once it has a webhook for good, and 401 if it is not genuine."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        if not is_genuine(headers, body):
            self.answer(401)
            return
        if headers["webhook-id"] not in seen:  # or else it is a repeat
            handle(json.loads(body))
            seen.add(headers["webhook-id"])
        self.answer(200)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of each request."""


def handle(event: dict[str, object]) -> None:
    """What your product does with it."""
    print(event["type"], json.dumps(event["data"], ensure_ascii=False), flush=True)


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    with ThreadingHTTPServer(("127.0.0.1", port), Receiver) as server:
        server.serve_forever()
