"""The exchange in docs/reference/protocol.md is a case of the kit, and its bytes are right."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from shutil import which
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict

from cecochat.v1.messaging_pb2 import ClientFrame, ServerFrame
from tests.conformance.case import KIT, Case
from tests.support.backends import Backends

PAGE = (Path(__file__).parents[2] / "docs/reference/protocol.md").read_text()
SECTION = PAGE[PAGE.index("## A worked exchange") : PAGE.index("### Ids in JavaScript")]
FRAMES = re.findall(r"```json\n(.*?)\n```\n\n```text\n(.*?)\n```", SECTION, re.DOTALL)


def frames_of(case: Case) -> list[dict[str, Any]]:
    """Return the frames of both sides, in their order."""
    found = []
    for step in case.steps:
        if "server" in step:
            found.append({"items": step["server"]})
        if "hello" in step:
            found.append({"hello": {"device": "phone", **step["hello"]}})
        if "sends" in step:
            found.append({"offset": step["offset"], "sends": step["sends"]})
    return found


def test_the_page_shows_the_frames_of_the_case() -> None:
    case = Case.read(KIT / "00-session" / "the-worked-exchange.json")
    assert [json.loads(written) for written, _ in FRAMES] == frames_of(case)


def test_the_bytes_of_each_frame_are_those_of_its_json() -> None:
    for written, in_hex in FRAMES:
        kind = ServerFrame if "items" in json.loads(written) else ClientFrame
        read = kind.FromString(bytes.fromhex(in_hex))
        assert MessageToDict(read) == MessageToDict(ParseDict(json.loads(written), kind()))


def test_the_bytes_that_are_read_one_by_one_are_those_of_the_ack() -> None:
    rows = re.findall(r"^\| `([0-9a-f ]+)` \|", SECTION, re.MULTILINE)
    assert " ".join(rows) in {in_hex for _, in_hex in FRAMES}


def test_ids_in_javascript_are_as_the_page_says(backends: Backends) -> None:
    if which("node") is None:
        backends.absent("node")
    (script,) = re.findall(r"```js\n(.*?)```", PAGE, re.DOTALL)
    argv = ["node", "--input-type=module", "--eval", script]
    printed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    said = re.findall(r"; // (.*)$", script, re.MULTILINE)
    assert len(said) == script.count("console.log")
    assert printed.splitlines() == said
