"""Requests of servers to the homes of groups, and the answers: they come in any order, late or
never.
"""

from __future__ import annotations

from typing import NamedTuple

from cecochat.domain.ownership.asks import Answer, Asked
from tests.sim.server import Server
from tests.sim.state import State


class Request(NamedTuple):
    """A request on its way to the owner of a home."""

    asker: Server
    home: int
    asked: Asked


class Reply(NamedTuple):
    """An answer on its way back, once the home's owner has read up to below `end`."""

    request: Request
    answer: Answer
    home: Server
    end: int


class Asks(State):
    """The part of the world where owners ask each other."""

    def do_ask(self, node: int, partition: int) -> bool:
        """An owner makes the requests that are due."""
        server = self.running(node, partition)
        due = list(server.owner.asking.due()) if server else []
        self.requests += [Request(server, home, asked) for home, asked in due if server]
        return bool(due)

    def do_land_ask(self, index: int, node: int) -> bool:
        """A request comes to a node, which answers if it owns that home."""
        if index >= len(self.requests):
            return False
        request = self.requests[index]
        server = self.running(node, request.home)
        if not server:
            return False
        del self.requests[index]
        answer, origins = server.home.answer(request.asked, server.now_ms())
        for origin in origins:
            server.append(server.partition, origin)
        end = self.end_to_read(server) if answer.refuses else 0
        self.replies.append(Reply(request, answer, server, end))
        return True

    def end_to_read(self, server: Server) -> int:
        """Up to where an owner has to read before it may refuse anything."""
        return server.log.end

    def do_answer_ask(self, index: int) -> bool:
        """An answer comes, if anybody is left who waits for it."""
        if index >= len(self.replies):
            return False
        request, answer, home, end = self.replies[index]
        if home.owner.cursor < end and not self._is_there(home):
            return self.do_lose_answer(index)
        if home.owner.cursor < end or not self.runs(request.asker.node):
            return False
        del self.replies[index]
        if self._is_there(request.asker):
            request.asker.owner.asking.answered(request.home, request.asked, answer, self.now_ms)
        return True

    def do_lose_ask(self, index: int) -> bool:
        """A connection breaks: a request does not come, and its asker knows."""
        if index >= len(self.requests):
            return False
        self._give_up(self.requests.pop(index))
        return True

    def do_lose_answer(self, index: int) -> bool:
        """A connection breaks: an answer does not come."""
        if index >= len(self.replies):
            return False
        self._give_up(self.replies.pop(index).request)
        return True

    def do_give_up_ask(self, index: int) -> bool:
        """An asker waits no longer for a request that may yet come."""
        if index >= len(self.requests):
            return False
        self._give_up(self.requests[index])
        return True

    def _give_up(self, request: Request) -> None:
        if self._is_there(request.asker):
            request.asker.owner.asking.given_up(request.home, request.asked)

    def _is_there(self, server: Server) -> bool:
        return self.servers.get((server.node, server.partition)) is server
