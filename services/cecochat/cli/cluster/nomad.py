"""Jobs of Nomad, for `cecochat deploy`: parsed, planned, registered, and waited for."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import httpx

from cecochat.domain.errors import InvalidSettings, Unavailable
from cecochat.settings.settings import Settings
from cecochat.settings.tls import secret

HERE = "127.0.0.1:4646"
ASK_S = 10.0
POLL_S = 0.5
SILENT_S = 60.0
STEADY_S = 5.0
EVERYWHERE_S = 180.0
DECLARED = re.compile(r'^variable\s+"(\w+)"', re.MULTILINE)
ENDED = ("successful", "failed", "cancelled")
LEADERLESS = ("No cluster leader", "leadership lost", "not the leader", "leadership transfer")
"""What Nomad says while its servers choose a leader; anything else is about what it was asked."""


class Change(NamedTuple):
    """What registering a job would do, as Nomad plans it."""

    kind: str  # Added, Edited, None
    updates: dict[str, int]  # create, destroy, in-place and so on -> how many servers
    unplaced: str  # why not all can be placed; empty: they can
    job_index: int  # of the job that the plan was made for


def declared(text: str) -> set[str]:
    """The variables of a job file."""
    return set(DECLARED.findall(text))


class Jobs:
    """At the agent that the settings name, else that of this machine."""

    def __init__(self, settings: Settings) -> None:
        """Raises `InvalidSettings`."""
        address, token = settings.nomad or HERE, secret(settings.nomad_token_file)
        tls = settings.backends_tls(settings.nomad_tls)
        self._address = address
        self._client = httpx.AsyncClient(
            base_url=f"{'https' if tls else 'http'}://{address}/v1",
            verify=tls.client() if tls else True,
            headers={"X-Nomad-Token": token} if token else {},
            timeout=ASK_S,
            trust_env=False,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def parse(self, text: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """The job of a file. Raises `InvalidSettings` where it is not one."""
        values = "\n".join(f"{name} = {_literal(value)}" for name, value in variables.items())
        body = {"JobHCL": text, "Variables": values, "Canonicalize": True}
        job: dict[str, Any] = await self._ask("POST", "jobs/parse", body)
        return job

    async def plan(self, job: Mapping[str, Any]) -> Change:
        """What registering it would change."""
        found = await self._ask("POST", f"job/{job['ID']}/plan", {"Job": job, "Diff": True})
        if _is_as_it_was(found["Diff"]):
            return Change("None", {}, "", found["JobModifyIndex"])
        groups = (found.get("Annotations") or {}).get("DesiredTGUpdates") or {}
        updates = {
            _words(name): count
            for group in groups.values()
            for name, count in group.items()
            if count and name != "Ignore"
        }
        failed = found.get("FailedTGAllocs") or {}
        unplaced = "; ".join(_unplaced(of) for of in failed.values())
        return Change(found["Diff"]["Type"], updates, unplaced, found["JobModifyIndex"])

    async def register(self, job: Mapping[str, Any], index: int) -> None:
        """Submit it, if nobody has changed it since the plan."""
        body = {"Job": job, "EnforceIndex": True, "JobModifyIndex": index}
        await self._ask("POST", "jobs", body)

    async def running(self, job_id: str) -> dict[str, Any] | None:
        """The job as it runs; None: it does not."""
        try:
            job: dict[str, Any] = await self._ask("GET", f"job/{job_id}")
        except LookupError:
            return None
        return None if job["Stop"] else job

    async def rolled_out(self, job_id: str, version: int) -> tuple[bool, str]:
        """Wait until the deployment of that version has ended, which Nomad limits by the job's
        progress_deadline: whether it is healthy, and what is said of it. Raises `Unavailable` where
        Nomad tells of none for `SILENT_S`.
        """
        heard_s = time.monotonic()
        while True:
            try:
                if found := await self._deployment(job_id, version):
                    heard_s = time.monotonic()
                    if found["Status"] in ENDED:
                        return found["Status"] == "successful", found["StatusDescription"]
            except Unavailable:
                if time.monotonic() - heard_s > SILENT_S:
                    raise
            if time.monotonic() - heard_s > SILENT_S:
                raise Unavailable(f"Nomad has no deployment of {job_id} version {version}")
            await asyncio.sleep(POLL_S)

    async def runs_everywhere(self, job_id: str, version: int) -> tuple[bool, str]:
        """The same of a system job, of which Nomad has no deployment: whether on all of its nodes
        that version runs, and has for some seconds.
        """
        begun_s, steady_s, seen = time.monotonic(), time.monotonic(), ""
        while time.monotonic() - begun_s < EVERYWHERE_S:
            found = await self._ask("GET", f"job/{job_id}/allocations") or ()
            states = [_state(each) for each in found if each["DesiredStatus"] == "run"]
            now = ", ".join(sorted(states))
            if now != seen or any(f"version {version} running" not in each for each in states):
                steady_s, seen = time.monotonic(), now
            if states and time.monotonic() - steady_s > STEADY_S:
                return True, now
            await asyncio.sleep(POLL_S)
        return False, seen or "no node fits"

    async def _deployment(self, job_id: str, version: int) -> dict[str, Any] | None:
        found = await self._ask("GET", f"job/{job_id}/deployments") or ()
        return next((each for each in found if each["JobVersion"] == version), None)

    async def revert(self, job_id: str, version: int) -> None:
        """Run an earlier version again."""
        await self._ask("POST", f"job/{job_id}/revert", {"JobID": job_id, "JobVersion": version})

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        """Raises `InvalidSettings` where Nomad refuses, LookupError for what it does not know,
        `Unavailable`.
        """
        try:
            answer = await self._client.request(method, f"/{path}", json=body)
        except (httpx.HTTPError, ValueError) as error:
            raise Unavailable(f"Nomad at {self._address}: {error!r}") from error
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise LookupError(path)
        leaderless = any(words in answer.text for words in LEADERLESS)
        if answer.is_server_error and (method == "GET" or leaderless):
            raise Unavailable(f"Nomad at {self._address}: {answer.text.strip()[:500]}")
        if answer.is_error:  # a job that is not valid is a server error, too
            raise InvalidSettings(f"Nomad refuses: {answer.text.strip()[:500]}")
        return answer.json()


def _literal(value: Any) -> str:
    """In HCL, which would take `${...}` for its own: Nomad fills it in when a task starts."""
    return json.dumps(value).replace("${", "$${").replace("%{", "%%{")


def _is_as_it_was(diff: Mapping[str, Any]) -> bool:
    """Nomad calls the scaling block of a job that was registered once edited, without a field that
    is.
    """
    if diff["Type"] != "Edited" or diff.get("Fields") or diff.get("Objects"):
        return bool(diff["Type"] == "None")
    for group in diff["TaskGroups"]:
        edited = [each for each in group.get("Objects") or [] if each["Type"] != "None"]
        tasks = [each for each in group.get("Tasks") or [] if each["Type"] != "None"]
        if group.get("Fields") or tasks or any(each.get("Fields") for each in edited):
            return False
        if any(each["Name"] != "Scaling" for each in edited):
            return False
    return True


def _words(name: str) -> str:
    """`InPlaceUpdate` as `in place update`."""
    return re.sub(r"(?<!^)([A-Z])", r" \1", name).lower()


def _state(allocation: Mapping[str, Any]) -> str:
    tasks = (allocation.get("TaskStates") or {}).values()
    restarts = sum(task["Restarts"] for task in tasks)
    running = tasks and all(task["State"] == "running" for task in tasks)
    state = "running" if running else allocation["ClientStatus"]
    again = f" after {restarts} restarts" if restarts else ""
    return f"{allocation['NodeName']}: version {allocation['JobVersion']} {state}{again}"


def _unplaced(of: Mapping[str, Any]) -> str:
    reasons = {**(of.get("ConstraintFiltered") or {}), **(of.get("DimensionExhausted") or {})}
    return ", ".join(reasons) or "no node fits"
