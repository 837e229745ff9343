"""Parses, plans and registers Nomad jobs for `cecochat deploy`, and waits for them."""

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
"""What Nomad says while its servers elect a leader. Any other error is about the request."""


class Change(NamedTuple):
    """What registering a job would do, as Nomad plans it."""

    kind: str  # Added, Edited, None
    updates: dict[str, int]  # create, destroy, in place update and so on -> how many servers
    unplaced: str  # why not all servers can be placed; empty if they can
    job_index: int  # the index of the job that the plan was made for


def declared(text: str) -> set[str]:
    """Return the variables that a job file declares."""
    return set(DECLARED.findall(text))


class Jobs:
    """The jobs of Nomad, through the agent that the settings name, or else that of this machine.

    Its methods raise `InvalidSettings` if Nomad refuses, and `Unavailable` if it does not answer.
    """

    def __init__(self, settings: Settings) -> None:
        """Prepare a client. Raises `InvalidSettings` for an unusable token or certificate."""
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
        """Return the job of a file. Raises `InvalidSettings` if it is not valid."""
        values = "\n".join(f"{name} = {_literal(value)}" for name, value in variables.items())
        body = {"JobHCL": text, "Variables": values, "Canonicalize": True}
        job: dict[str, Any] = await self._ask("POST", "jobs/parse", body)
        return job

    async def plan(self, job: Mapping[str, Any]) -> Change:
        """Return what registering a job would change."""
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
        unplaced = "; ".join(map(_unplaced, failed.values()))
        return Change(found["Diff"]["Type"], updates, unplaced, found["JobModifyIndex"])

    async def register(self, job: Mapping[str, Any], index: int) -> None:
        """Submit a job, unless somebody has changed it since the plan."""
        body = {"Job": job, "EnforceIndex": True, "JobModifyIndex": index}
        await self._ask("POST", "jobs", body)

    async def running(self, job_id: str) -> dict[str, Any] | None:
        """Return the job that runs, or None if it does not run."""
        try:
            job: dict[str, Any] = await self._ask("GET", f"job/{job_id}")
        except LookupError:
            return None
        return None if job["Stop"] else job

    async def rolled_out(self, job_id: str, version: int) -> tuple[bool, str]:
        """Wait until the deployment of a version has ended.

        Return whether it is healthy, and what Nomad says about it. Nomad limits the time by the
        job's progress_deadline. Raises `Unavailable` if Nomad lists none for `SILENT_S`.
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
        """Wait until a version of a system job has run for some seconds on all of its nodes.

        Nomad has no deployments of system jobs. Return whether it runs, and what the nodes say.
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
        """Send a request. Raises LookupError for something that Nomad does not know, too."""
        try:
            answer = await self._client.request(method, f"/{path}", json=body)
        except (httpx.HTTPError, ValueError) as error:
            raise Unavailable(f"Nomad at {self._address}: {error!r}") from error
        if answer.status_code == httpx.codes.NOT_FOUND:
            raise LookupError(path)
        leaderless = any(words in answer.text for words in LEADERLESS)
        if answer.is_server_error and (method == "GET" or leaderless):
            raise Unavailable(f"Nomad at {self._address}: {answer.text.strip()[:500]}")
        if answer.is_error:  # Nomad also calls an invalid job a server error
            raise InvalidSettings(f"Nomad refuses this: {answer.text.strip()[:500]}")
        return answer.json()


def _literal(value: Any) -> str:
    """Return a value in HCL. `${...}` is escaped, so that Nomad fills it in when a task starts."""
    return json.dumps(value).replace("${", "$${").replace("%{", "%%{")


def _is_as_it_was(diff: Mapping[str, Any]) -> bool:
    """Return whether nothing has changed.

    Once a job has been registered, Nomad always calls its scaling block edited, but names no field.
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
    """Turn `InPlaceUpdate` into `in place update`."""
    return re.sub(r"(?<!^)([A-Z])", r" \1", name).lower()


def _state(allocation: Mapping[str, Any]) -> str:
    tasks = (allocation.get("TaskStates") or {}).values()
    restarts = sum(task["Restarts"] for task in tasks)
    running = tasks and all(task["State"] == "running" for task in tasks)
    state = "running" if running else allocation["ClientStatus"]
    again = f" after {restarts} restarts" if restarts else ""
    return f"{allocation['NodeName']}: version {allocation['JobVersion']} {state}{again}"


def _unplaced(failed: Mapping[str, Any]) -> str:
    filtered, exhausted = failed.get("ConstraintFiltered"), failed.get("DimensionExhausted")
    reasons = {**(filtered or {}), **(exhausted or {})}
    return ", ".join(reasons) or "no node fits"
