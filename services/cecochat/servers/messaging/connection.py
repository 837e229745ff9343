"""One device's connection, for any transport: it reads frames and checks them, resumes the session,
and writes what the session queues.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing

from cecochat.auth.tokens import Identity
from cecochat.domain.errors import Refusal, Trimmed, Unavailable, Undecodable
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.ids import message_id, stamp_at
from cecochat.domain.log.records import LogRecord
from cecochat.domain.session import frames, intake, resume
from cecochat.domain.session.session import Replay, Session, replace
from cecochat.ports.backplane import MESSAGES
from cecochat.ports.reading import appended_at_ms, between, fold_at, known_fold_at
from cecochat.runtime.clock import now_ms
from cecochat.runtime.flag import Flag
from cecochat.servers.messaging.before import Verdicts
from cecochat.servers.messaging.gate import Gate
from cecochat.servers.messaging.limits import limits
from cecochat.servers.messaging.ready import ReadyPartition
from cecochat.servers.messaging.refusals import HELLO_TIMEOUT_S, log_away, no_hello
from cecochat.servers.messaging.session_token import SessionToken
from cecochat.servers.messaging.texts import Texts
from cecochat.v1.messaging_pb2 import ClientFrame, Hello, Position, Send, Welcome

log = logging.getLogger(__name__)

WRITE_BYTES = 64 << 10
CLOSE_GRACE_S = 1.0  # how long to try to write the last frame to a client that does not read

Read = Callable[[], Awaitable[bytes | None]]
Write = Callable[[bytes], Awaitable[object]]
Records = AsyncGenerator[tuple[int, LogRecord | Undecodable, int]]


class Connection:
    """A connection from its first frame to its last. `run` returns why the server ended it, or None
    if the client left.
    """

    def __init__(
        self,
        gate: Gate,
        token: str,
        identity: Identity,
        session_id: str,
        read: Read,
        write: Write,
    ) -> None:
        self._gate = gate
        self._read = read
        self._write = write
        self._queued = Flag()
        self._taken = Flag()
        self._deadline: asyncio.Timeout | None = None  # of the writer, while it writes
        self._left = False
        self._credit = gate.send_credit(identity.user_id)
        self._replays = gate.replays(identity.user_id)
        self.session = Session(
            session_id,
            identity.user_id,
            queue_max_bytes=gate.config.queue_max_bytes,
            wake=self._wake,
        )
        self.token = SessionToken(self.session, gate.verifier, token, identity)
        self._texts = Texts(self.session, gate.keys, gate.opening, gate.receipts)

    # -- life

    async def run(self) -> Refusal | None:
        """Serve until either side ends the connection."""
        try:
            async with asyncio.TaskGroup() as group:
                reader = group.create_task(self._serve())
                try:
                    async with asyncio.timeout(None) as self._deadline:
                        await self._write_frames()
                except TimeoutError:
                    pass  # the client does not read, so it does not get its last frame
                finally:
                    self._deadline = None  # the session can be closed while the reader ends
                reader.cancel()
        finally:
            self.session.abandon()
        return self.session.closed and self.session.closed.detached()

    def _wake(self) -> None:
        self._queued.set()
        if self.session.closed:
            self._taken.set()
            if self._deadline:
                loop = asyncio.get_running_loop()
                self._deadline.reschedule(loop.time() + CLOSE_GRACE_S)

    async def _write_frames(self) -> None:
        session = self.session
        while not self._left:
            await self._queued.wait()
            self._queued.clear()
            while chunks := session.take(WRITE_BYTES):
                if frame := await self._texts.opened(chunks):
                    await self._write(frame)
                    session.written()
                self._taken.set()
            if session.closed:
                return

    async def _serve(self) -> None:
        partition: ReadyPartition | None = None
        try:
            hello = await self._first_frame()
            partition = self._gate.ownership.partition_for(self.session.user_id)
            await self._texts.begin()
            self.session.device_id = hello.device_id
            replace(self.session, self._gate.sessions_of(self.session.user_id))
            await self._resume(partition, hello)
            self._gate.signalling.begin(partition.owner, self.session)
            await self._read_frames(partition)
            self._left = True
            self._queued.set()
        except Refusal as refusal:
            self.session.close(refusal)
        except (Trimmed, Unavailable) as error:
            fields = {"session_id": self.session.id}  # so that thousands can share one message
            log.warning("a session is sent away: %s", error, extra=fields)
            if partition and isinstance(error, Trimmed):
                partition.loading.look_again()
            self.session.close(log_away())
        finally:
            if partition:
                partition.owner.detach(self.session)
                self._gate.signalling.end(partition.owner, self.session)

    async def _next(self) -> ClientFrame | None:
        frame = await self._read()
        return None if frame is None else intake.parse(frame)

    async def _first_frame(self) -> Hello:
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                frame = await self._next()
        except TimeoutError:
            raise no_hello() from None
        frame = frame or ClientFrame()
        intake.check_hello(frame)
        self.session.invisible = frame.invisible
        return frame.hello

    # -- resume

    async def _resume(self, partition: ReadyPartition, hello: Hello) -> None:
        owner, session, log = partition.owner, self.session, partition.log
        begun_s = time.monotonic()
        log_start, log_end = bounds = await log.backplane.bounds(MESSAGES, partition.partition)
        start = resume.start(
            hello,
            log_id=log.id,
            partition=partition.partition,
            first_known=await partition.loading.first_known(log_start),
            log_end=log_end,
            read_to=owner.cursor,
            appended_at_ms=await self._appended_at_ms(partition, hello, bounds),
            hidden_at=owner.hidden.up_to,
        )
        session.position = start.position
        session.began = resume.began(hello, start)
        welcome = self._welcome(partition, start.position)
        welcome.position.clock_ms = hello.position.clock_ms
        if start.gapped:
            await self._tell_gap(partition, hello, welcome, log_start)
        else:
            if not hello.HasField("position"):  # live: the owner's fold stands where it starts
                welcome.up_to.update(owner.fold.since(partition.partition))
                welcome.position.clock_ms = owner.fold.clock_ms
            token = resume.read_token(
                log.id, partition.partition, owner.cursor - 1, owner.fold, log.partitions
            )
            welcome.token.CopyFrom(token)
            session.push(frames.welcome(welcome))
        self.token.welcomed = True
        how = "gap" if start.gapped else "tail" if hello.HasField("position") else "live"
        while not self._attached(partition):
            if owner.can_attach(session):
                await self._written()
            else:
                how = "gap" if start.gapped else "log"
                await self._replay(partition)
        self._gate.metrics.resumes.labels(how).inc()
        self._gate.metrics.resume_seconds.observe(time.monotonic() - begun_s)

    async def _appended_at_ms(
        self, partition: ReadyPartition, hello: Hello, bounds: tuple[int, int]
    ) -> int:
        """Return when the record at the position of the hello was appended, in ms since 1970; 0 if
        there is nothing to compare, as for a position beyond the end.
        """
        owner, position = partition.owner, hello.position
        start, end = bounds
        if not position.clock_ms or position.log_id != partition.log.id:
            return 0
        if (clock_ms := owner.tail.clock_at(position.offset)) is not None:
            return clock_ms
        backplane, number = partition.log.backplane, partition.partition
        if position.offset == start - 1:  # that record is gone, but a state record may know it
            fold = await known_fold_at(backplane, number, position.offset)
            return fold.clock_ms if fold else 0
        held = start <= position.offset < end
        return await appended_at_ms(backplane, number, position.offset) if held else 0

    async def _tell_gap(
        self, partition: ReadyPartition, hello: Hello, welcome: Welcome, log_start: int
    ) -> None:
        """Welcome the client, and tell it what to read from the history."""
        log, number, position = partition.log, partition.partition, welcome.position.offset
        fold = await self._fold_at(partition, position)
        welcome.position.clock_ms = fold.clock_ms
        welcome.up_to.update(fold.ids(number))
        gap = resume.gap(hello, log.id, number, position, fold, log.partitions)  # it moves on
        welcome.token.CopyFrom(gap.token)
        if hello.position.log_id != log.id:
            began_ms = await appended_at_ms(log.backplane, number, log_start)
            welcome.log_began_id = message_id(stamp_at(began_ms), 0)
        self.session.push(frames.welcome(welcome))
        self.session.push(frames.gap(gap))

    async def _fold_at(self, partition: ReadyPartition, position: int) -> Fold:
        """Return the fold at a position. If the log was cut, only its owner may know it. Raises
        `Trimmed`.
        """
        log, owner, number = partition.log, partition.owner, partition.partition
        if position == owner.cursor - 1:
            return owner.fold
        if fold := await known_fold_at(log.backplane, number, position):
            return fold
        raise Trimmed(number, position, (await log.backplane.bounds(MESSAGES, number))[0])

    def _welcome(self, partition: ReadyPartition, offset: int) -> Welcome:
        log = partition.log
        return Welcome(
            session_id=self.session.id,
            position=Position(log_id=log.id, partition=partition.partition, offset=offset),
            limits=limits(self._gate.config.of(self.session.user_id)),
            server_time_ms=now_ms(),
            user_id=self.session.user_id,
            server_id=self._gate.server_id,
            partition_count=log.partitions,
            answers_probes=True,
            takes_signals=True,
            takes_attachments=True,
        )

    async def _replay(self, partition: ReadyPartition) -> None:
        """Deliver from the log what the tail no longer has, no faster than the client reads."""
        owner, session = partition.owner, self.session
        log, number = partition.log, partition.partition
        fold = await fold_at(log.backplane, number, session.position, log.partition_of)
        replay = Replay(session, fold)
        while not owner.can_attach(session):
            await self._replay_to(owner.tail.floor.offset, replay, partition)

    async def _replay_to(self, high: int, replay: Replay, partition: ReadyPartition) -> None:
        session = self.session
        records = between(
            partition.log.backplane, partition.partition, session.position + 1, high + 1
        )
        async with aclosing(records):
            while await self._replay_some(records, replay, partition):
                if not session.has_room:
                    await self._written()
        session.position = max(session.position, high)

    async def _replay_some(self, records: Records, replay: Replay, of: ReadyPartition) -> bool:
        """Replay records for one turn of this user, and return whether there may be more."""
        async with self._replays.turn() as until_s:
            async for record in records:
                if not replay.feed(*record):
                    raise of.hides(record[0])
                if not self.session.has_room or time.monotonic() > until_s:
                    return True
        return False

    async def _written(self) -> None:
        while self.session.queued_bytes and not self.session.closed:
            self._taken.clear()
            await self._taken.wait()

    def _attached(self, partition: ReadyPartition) -> bool:
        """Attach the session if the tail and its queue allow it. Returns whether it is attached."""
        self._gate.ownership.check(partition)
        owner = partition.owner
        if self.session.closed:
            raise self.session.closed
        return owner.can_attach(self.session) and owner.attach(self.session)

    # -- sends

    async def _read_frames(self, partition: ReadyPartition) -> None:
        """Read frames until the client leaves.

        If the client sends too fast, its stream is not read for a while: nothing is lost, and
        nobody else waits. A frame without sends costs about as much as a send, and counts as one.
        """
        while (frame := await self._next()) is not None:
            intake.check_later(frame)
            if frame.renewed_token:
                self.token.renew(frame.renewed_token)
            if frame.probe:
                partition.owner.tell_position(self.session)
            if intake.has_signals(frame):
                self._gate.signalling.take(partition.owner, self.session, frame)
            if frame.sends:
                await self._take_sends(partition, frame)
            else:
                await self._credit.take(1)

    async def _take_sends(self, partition: ReadyPartition, frame: ClientFrame) -> None:
        sends, taken = frame.sends, 0
        while taken < len(sends):
            until = taken + await self._credit.take_for(sends[taken:])
            await partition.room(sends[taken:until])
            verdicts = await self._verdicts(partition, sends[taken:until])
            if not self._take_all(partition, sends[taken:until], frame.offset, verdicts):
                return
            taken = until

    async def _verdicts(self, partition: ReadyPartition, sends: Sequence[Send]) -> Verdicts:
        """Return why sends are to be refused, unless they were accepted before."""
        user_id, owner = self.session.user_id, partition.owner
        new = [each for each in sends if not owner.is_repeat((user_id, each.client_message_id))]
        asked = await self._gate.asker.verdicts(user_id, new)
        refused = asked | await self._gate.blocking.refused(user_id, new)
        left = [each for each in new if each.client_message_id not in refused]
        limit = self._gate.config.of(user_id).strangers_messages_max
        return refused | await self._gate.strangers.refused(owner, user_id, left, limit)

    def _take_all(
        self, partition: ReadyPartition, sends: Sequence[Send], seen: int, verdicts: Verdicts
    ) -> bool:
        """Take these sends. Returns whether the session takes more: after a refused one it takes
        none.
        """
        for send in sends:
            if self.session.closed or self.session.blocked:
                return False
            self._take(partition, send, seen, verdicts.get(send.client_message_id))
            if refusal := self.session.blocked:
                self._gate.metrics.refuse(self.session.user_id, refusal)
        partition.asking.look()
        return not self.session.blocked

    def _take(
        self, partition: ReadyPartition, send: Send, seen: int, verdict: Refusal | None
    ) -> None:
        session = self.session
        try:
            self._texts.seal(send)
            if not partition.settle(session, send, seen):
                partition.accept(session, send, verdict)
        except Refusal as refusal:
            if refusal.retriable:
                raise
            session.refuse(send.client_message_id, refusal)
