"""What the back end's sends come to, as messages of the contract between servers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cecochat.domain.errors import Refusal
from cecochat.domain.log.ids import UserId
from cecochat.domain.log.place import NOWHERE
from cecochat.domain.ownership import asks, calls
from cecochat.internal.asked import place_in, place_of
from cecochat.internal.v1.internal_pb2 import Called, CalledSend, Decided, Decision, Known


def encode_called(partition: int, sends: Iterable[calls.Called]) -> Called:
    """Return a request to the owner of a partition."""
    return Called(partition=partition, sends=map(_called, sends))


def decode_called(called: Called) -> list[calls.Called]:
    """Return the sends of a request."""
    return [
        calls.Called(
            UserId(each.user_id),
            each.send,
            each.since_ms,
            place_in(each.absent_up_to) if each.HasField("absent_up_to") else NOWHERE,
            each.as_system,
        )
        for each in called.sends
    ]


def encode_decided(server_id: str, decisions: Iterable[calls.Decision]) -> Decided:
    """Return the answer of a server."""
    return Decided(server_id=server_id, decisions=map(_decision, decisions))


def decode_decided(decided: Decided) -> Sequence[calls.Decision]:
    """Return what an answer says. A decision of a kind that is not known counts as open."""
    return [_decision_in(each) for each in decided.decisions]


def _called(called: calls.Called) -> CalledSend:
    return CalledSend(
        user_id=called.user_id,
        send=called.send,
        since_ms=called.since_ms,
        absent_up_to=place_of(called.absent_up_to),
        as_system=called.as_system,
    )


def _decision(decision: calls.Decision) -> Decision:
    match decision:
        case asks.Known(message_id, at):
            return Decision(known=Known(message_id=message_id, at=place_of(at)))
        case calls.Unsure(at):
            return Decision(unsure=place_of(at))
        case Refusal():
            return Decision(refused=decision.proto())
        case asks.Taken():
            return Decision(open=True)


def _decision_in(decision: Decision) -> calls.Decision:
    match decision.WhichOneof("decision"):
        case "known":
            return asks.Known(decision.known.message_id, place_in(decision.known.at))
        case "unsure":
            return calls.Unsure(place_in(decision.unsure))
        case "refused":
            return Refusal.of(decision.refused)
    return asks.Taken()
