"""What owners ask the homes of groups, as messages of the contract between servers."""

from __future__ import annotations

from cecochat.domain.errors import Refusal
from cecochat.domain.log import place
from cecochat.domain.log.ids import UserId
from cecochat.domain.ownership import asks
from cecochat.internal.v1.internal_pb2 import Answer, Asked, AskedSend, Known, Place, Result


def encode_asked(home: int, asked: asks.Asked) -> Asked:
    """Return a request to the owner of a home."""
    return Asked(
        home=home,
        partition=asked.partition,
        epoch=place_of(asked.epoch),
        number=asked.number,
        home_epoch=place_of(asked.home_epoch),
        high=place_of(asked.high),
        sends=map(_asked_send, asked.sends),
    )


def decode_asked(asked: Asked) -> asks.Asked:
    """Return what a request asks for."""
    return asks.Asked(
        asked.partition,
        place_in(asked.epoch),
        asked.number,
        place_in(asked.home_epoch),
        place_in(asked.high),
        tuple(map(_asked_send_in, asked.sends)),
    )


def encode_answer(server_id: str, answer: asks.Answer) -> Answer:
    """Return the answer of a server."""
    return Answer(
        server_id=server_id,
        epoch=place_of(answer.epoch),
        last=place_of(answer.last),
        results=map(_result, answer.results),
    )


def decode_answer(answer: Answer) -> asks.Answer:
    """Return what an answer says. A result of a kind that is not known counts as left."""
    return asks.Answer(
        place_in(answer.epoch), tuple(map(_result_in, answer.results)), place_in(answer.last)
    )


def _asked_send(asked: asks.AskedSend) -> AskedSend:
    user_id, send, verdict = asked
    return AskedSend(user_id=user_id, send=send, verdict=verdict.proto() if verdict else None)


def _asked_send_in(asked: AskedSend) -> asks.AskedSend:
    verdict = Refusal.of(asked.verdict) if asked.HasField("verdict") else None
    return asks.AskedSend(UserId(asked.user_id), asked.send, verdict)


def _result(result: asks.Result) -> Result:
    match result:
        case asks.Taken():
            return Result(taken=True)
        case asks.Known(message_id, at):
            return Result(known=Known(message_id=message_id, at=place_of(at)))
        case Refusal():
            return Result(refused=result.proto())
        case asks.Left():
            return Result(left=True)


def _result_in(result: Result) -> asks.Result:
    match result.WhichOneof("result"):
        case "taken":
            return asks.Taken()
        case "known":
            return asks.Known(result.known.message_id, place_in(result.known.at))
        case "refused":
            return Refusal.of(result.refused)
    return asks.Left()


def place_of(given: place.Place) -> Place:
    """Return a place as it goes over the wire."""
    return Place(offset=given.offset, clock_ms=given.clock_ms)


def place_in(given: Place) -> place.Place:
    """Return the place that came over the wire."""
    return place.Place(given.clock_ms, given.offset)
