"""What passes the edge, and what is refused there."""

from __future__ import annotations

import pytest

from cecochat.domain.errors import Refusal
from cecochat.domain.log.ids import UserId
from cecochat.domain.session import intake
from cecochat.v1.events_pb2 import Receipt
from cecochat.v1.messaging_pb2 import Send

ID_MAX = 1_000


def check(receipt: Receipt) -> tuple[str, ...]:
    send = Send(client_message_id="1", chat_id="d:alice~bob", receipt=receipt)
    return intake.check_send(UserId("alice"), send, 100, lambda: ID_MAX, 0)


@pytest.mark.parametrize("mark", [0, 1, ID_MAX])
def test_a_receipt_of_what_can_have_been_received_passes(mark: int) -> None:
    assert check(Receipt(read_up_to=mark)) == ("bob",)
    assert check(Receipt(delivered_up_to=mark)) == ("bob",)


@pytest.mark.parametrize("mark", [-1, ID_MAX + 1, (1 << 63) - 1])
def test_a_receipt_of_the_future_is_refused(mark: int) -> None:
    for receipt in (Receipt(read_up_to=mark), Receipt(delivered_up_to=mark)):
        with pytest.raises(Refusal, match="use ids of received messages"):
            check(receipt)
