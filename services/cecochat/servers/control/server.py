"""The control server, which keeps every partition with a live messaging server, evenly.

Several may run: one leads, and the others know the same. If two lead for a moment, a change still
counts only if the assignment has the version that it was decided on. The other one gets a conflict,
reads again and decides again.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from contextlib import aclosing, suppress

from cecochat.documents.changes import changed
from cecochat.domain.cluster import assignment
from cecochat.domain.cluster.balance import CONTROL
from cecochat.domain.errors import Conflict, Unavailable
from cecochat.internal.client import InternalClient
from cecochat.ports.configuration import ASSIGNMENT, Configuration, Document
from cecochat.ports.discovery import Discovery, Instance
from cecochat.runtime.asking import Asking
from cecochat.servers.control.decisions import Decisions
from cecochat.servers.control.documents import Documents
from cecochat.servers.control.gone import GoneServers
from cecochat.servers.control.planner import Assignment, Decision, Planner
from cecochat.telemetry.tracing import Tracer

log = logging.getLogger(__name__)

TICK_S = 0.1
LOOK_S = 1.0
ASK_ALL_S = 2.0
RETRY_S = 1.0


class Control:
    """A control server; `run` decides and writes until it is cancelled."""

    def __init__(
        self,
        server_id: str,
        configuration: Configuration,
        discovery: Discovery,
        documents: Documents,
        planner: Planner,
        decisions: Decisions,
        asking: Asking,
        tracer: Tracer,
    ) -> None:
        self.ready = asyncio.Event()  # set once the live servers and the assignment are known
        self.leads = False
        self.paused = True  # until the configuration is known
        self._server_id = server_id
        self._by = f"{CONTROL}{server_id}"
        self._configuration = configuration
        self._discovery = discovery
        self._documents = documents
        self._planner = planner
        self._decisions = decisions
        self._asking = asking
        self._tracer = tracer
        self._changed = documents.changed
        self._live: tuple[Instance, ...] = ()
        self._gone: set[str] = set()  # those of them that were found gone while discovery was away
        self._seen: tuple[Document, int] | None = None  # the assignment that the planner knows

    @property
    def not_ready(self) -> str | None:
        """What this server has not seen yet, or None if it is ready."""
        if self._planner.live is None:
            return "waiting for the live messaging servers"
        if ASSIGNMENT not in self._documents.newest:
            return "waiting for the assignment"
        return None

    async def run(self) -> None:
        """Follow documents and servers, and act, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._documents.run())
            group.create_task(self._follow_live())
            group.create_task(self._ask_owners())
            group.create_task(self._look_for_gone())
            group.create_task(self._act())

    @property
    def may_act(self) -> bool:
        """Whether this server balances and scales. Failovers are done even while paused."""
        return self.leads and not self.paused

    def pause(self, paused: bool) -> None:
        """Pause or resume balancing and scaling."""
        self.paused = paused
        self._changed.set()

    async def stand(self) -> None:
        """Stand as a candidate until cancelled, but only while the store answers, since a server
        that cannot act must not lead. Call this once the server is registered: it leads only as
        long as its health check passes.
        """
        standing: asyncio.Task[None] | None = None
        async with asyncio.TaskGroup() as group:
            while True:
                if standing and self._documents.silent:
                    self._lead(False)
                    standing.cancel()
                if (standing is None or standing.done()) and not self._documents.silent:
                    standing = group.create_task(self._follow_lead())
                await asyncio.sleep(RETRY_S)

    async def _follow_lead(self) -> None:
        async with aclosing(self._discovery.lead("control", self._server_id)) as changes:
            try:
                async for leads in changes:
                    self._lead(leads)
            finally:
                self._lead(False)

    def _lead(self, leads: bool) -> None:
        if leads != self.leads:
            self.leads = leads
            self._decisions.leads(now=leads)
            self._changed.set()

    # -- what is seen

    async def _follow_live(self) -> None:
        while True:
            try:
                async with aclosing(self._discovery.watch("messaging")) as sets:
                    async for instances in sets:
                        self._live = instances
                        self._see_live()
            except Unavailable as error:
                log.warning("discovery cannot be followed now: %s", error)
            await asyncio.sleep(RETRY_S)

    def _see_live(self) -> None:
        live = {instance.instance_id for instance in self._live} - self._gone
        self._planner.see_live(live, time.monotonic())
        self._changed.set()

    async def _look_for_gone(self) -> None:
        """Ask the servers while discovery does not answer. A server that is gone counts as dead
        until discovery says so, too, or the server answers again.
        """
        async with self._asking() as client:
            gone = GoneServers(client)
            while True:
                away = not self._discovery.answers
                asked = [each for each in self._live if away or each.instance_id in self._gone]
                await gone.ask(asked)
                if found := gone.ids - self._gone:
                    log.warning(
                        "discovery does not answer, but these servers are gone: %s", sorted(found)
                    )
                if gone.ids != self._gone:
                    self._gone = gone.ids
                    self._see_live()
                await asyncio.sleep(LOOK_S)

    async def _ask_owners(self) -> None:
        """Ask servers that are given partitions until they own them, and from time to time all
        servers whether they still own what they were given.
        """
        asked_all_s = -math.inf
        async with self._asking() as http:
            client = InternalClient(http)
            while True:
                awaited = self._planner.awaited
                if time.monotonic() - asked_all_s > ASK_ALL_S:
                    asked_all_s = time.monotonic()
                    awaited = {instance.instance_id for instance in self._live}
                async with asyncio.TaskGroup() as group:
                    for instance in self._live:
                        if instance.instance_id in awaited:
                            group.create_task(self._ask(client, instance))
                await asyncio.sleep(TICK_S)

    async def _ask(self, client: InternalClient, instance: Instance) -> None:
        owned = await client.owned_by(instance)
        if owned is not None:
            self._planner.see_owned(instance.instance_id, owned, time.monotonic())
            self._changed.set()

    def _see_assignment(self) -> None:
        good, newest = self._documents.good.get(ASSIGNMENT), self._documents.newest.get(ASSIGNMENT)
        if good is None or newest is None or (good, newest) == self._seen:
            return
        self._seen = good, newest
        owners = assignment.parse(good.value, self._planner.partitions)
        self._planner.see_assignment(Assignment(newest, owners, good.changed_by), time.monotonic())

    # -- what is done

    async def _act(self) -> None:
        while True:
            self._changed.clear()
            self._see_assignment()
            if not self.not_ready:
                self.ready.set()
            self._judge_handovers()
            if decision := self._decide():
                await self._write(decision)
                continue
            with suppress(TimeoutError):
                wait_s = TICK_S if self._planner.waits(time.monotonic()) else None
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()

    def _decide(self) -> Decision | None:
        """Return the next decision, if this server leads. While discovery is away no server starts
        to lead, so each does what is urgent.
        """
        if not self.leads and self._discovery.answers:
            return None
        return self._planner.decide(time.monotonic(), balancing=self.may_act)

    def _judge_handovers(self) -> None:
        if late := self._planner.overdue(time.monotonic()):
            self._decisions.gave_up(late)
        lost = self._planner.lost()
        moving = self._planner.under_way.keys() - set(lost)
        self._decisions.count(self._planner.partitions, len(moving), len(lost))

    async def _write(self, decision: Decision) -> None:
        value = {str(partition): owner for partition, owner in sorted(decision.owners.items())}
        begun_ns = time.time_ns()
        try:
            document = await self._configuration.put(
                ASSIGNMENT, value, expected=decision.expected, by=self._by
            )
            changed(self._tracer, self._configuration, document, begun_ns)
            self._decisions.moved(decision, document.version)
            await self._documents.judge(document)
        except Conflict as error:
            log.info("the assignment has changed, so control decides again: %s", error)
            await self._look_again()
        except Unavailable as error:
            log.warning("the assignment cannot be written now: %s", error)
            await asyncio.sleep(RETRY_S)

    async def _look_again(self) -> None:
        try:
            await self._documents.check(ASSIGNMENT)
        except Unavailable:
            await asyncio.sleep(RETRY_S)
