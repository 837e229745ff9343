"""The systems that run on this machine, as commands know them."""

from __future__ import annotations

from dataclasses import replace

from cecochat.cli.systems import System


def test_the_ports_of_a_system_that_runs_are_its_own() -> None:
    health = {"connect": "http://127.0.0.1:8084"}
    urls = ("http://127.0.0.1:8080", "127.0.0.1:8081", "127.0.0.1:8082")
    websocket = "ws://127.0.0.1:8088/v1/chat"
    known = System(*urls, health, "/d", None, "/s", {}, {}, runs=True, websocket=websocket)
    assert known.ports == {8080, 8081, 8082, 8084, 8088}
    more = replace(known, history_http="http://127.0.0.1:8089")
    assert more.ports == known.ports | {8089}
