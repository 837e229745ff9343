"""Questions that are asked in one turn of the loop and answered by one request."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest
from aiokafka.errors import KafkaConnectionError, KafkaError  # type: ignore[import-untyped]

from cecochat.adapters.kafka.cluster import Refused
from cecochat.adapters.kafka.joining import Joined


class Broker:
    """Answers with the square of a number, but not for 3."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, list[int]]] = []
        self.fails: Exception | None = None
        self.joined = Joined(self.ask)

    async def ask(self, to: str, about: Sequence[int]) -> Mapping[int, int | KafkaError]:
        self.requests.append((to, list(about)))
        await asyncio.sleep(0)
        if self.fails:
            raise self.fails
        return {each: Refused(6) if each == 3 else each * each for each in about}


async def test_what_is_asked_in_one_turn_is_one_request_to_each_broker() -> None:
    broker = Broker()
    asked = [("a", 1), ("b", 2), ("a", 4), ("a", 1)]
    assert await asyncio.gather(*(broker.joined.answer(*each) for each in asked)) == [1, 4, 16, 1]
    assert await broker.joined.answer("a", 5) == 25
    assert broker.requests == [("a", [1, 4]), ("b", [2]), ("a", [5])]


async def test_what_is_asked_while_a_request_is_under_way_is_the_next() -> None:
    broker = Broker()
    first = broker.joined.answer("a", 1)
    await asyncio.sleep(0)
    assert broker.requests == [("a", [1])]
    assert (await broker.joined.answer("a", 2), await first) == (4, 1)
    assert broker.requests == [("a", [1]), ("a", [2])], "an older answer could be out of date"


async def test_an_error_of_one_and_who_gives_up_do_not_concern_the_others() -> None:
    broker = Broker()
    fails, given_up, fine = (broker.joined.answer("a", each) for each in (3, 1, 2))
    given_up.cancel()
    assert await fine == 4
    with pytest.raises(Refused):
        await fails


@pytest.mark.parametrize("error", [KafkaConnectionError("it is down"), ValueError("a defect")])
async def test_a_request_that_fails_fails_for_all_and_the_next_is_asked(error: Exception) -> None:
    broker = Broker()
    broker.fails = error
    asked = [broker.joined.answer("a", each) for each in (1, 2)]
    for each in await asyncio.gather(*asked, return_exceptions=True):
        assert each is error
    broker.fails = None
    assert await broker.joined.answer("a", 1) == 1


async def test_an_answer_that_leaves_somebody_out_fails() -> None:
    async def silent(to: str, about: Sequence[int]) -> Mapping[int, int]:
        return {}

    with pytest.raises(KeyError):
        await Joined(silent).answer("a", 1)
