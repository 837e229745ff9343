"""The close codes of a WebSocket say what a client does next."""

from __future__ import annotations

from cecochat.domain.errors import RETRIABLE, Refusal
from cecochat.domain.websocket import Liveness, close_code, error_number, says_reconnect
from cecochat.v1.errors_pb2 import ErrorCode


def test_each_error_has_a_code_of_its_own_that_says_whether_to_reconnect() -> None:
    codes = {code: close_code(Refusal(code, "")) for code in ErrorCode.values()}
    assert len(set(codes.values())) == len(codes)
    for error, code in codes.items():
        assert 4_000 <= code < 5_000, "others are the RFC's, or not for applications"
        assert says_reconnect(code) == (error in RETRIABLE)
        assert error_number(code) == error


def test_codes_of_the_rfc_name_no_error_and_let_a_client_reconnect() -> None:
    for code in (1000, 1001, 1006, 1009, 1011, 3000):
        assert error_number(code) == 0
        assert says_reconnect(code)


def test_who_is_silent_is_asked_and_then_given_up() -> None:
    liveness = Liveness()
    assert [liveness.beat() for _ in range(8)] == ["", "", "", "ping", "", "", "", "dead"]
    liveness.heard()
    assert [liveness.beat() for _ in range(4)] == ["", "", "", "ping"]
