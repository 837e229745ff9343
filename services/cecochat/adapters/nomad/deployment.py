"""Deployment by Nomad. Each server set is a job `cecochat-{service}` with one group, which has the
name of the service.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import nomad  # type: ignore[import-untyped]
import requests
from nomad.api.exceptions import (  # type: ignore[import-untyped]
    BaseNomadException,
    URLNotFoundNomadException,
)
from typing_extensions import override

from cecochat.domain.errors import CannotScale, InvalidSettings, Unavailable
from cecochat.ports.deployment import Allocation, Deployment, Limits, ServerSet, Status
from cecochat.ports.discovery import Service
from cecochat.settings.tls import Tls

ASK_S: Final = 5
WITHOUT_LIMITS: Final = Limits(0, 1_000)  # of a group that has no `scaling` block

_STATUS: Final[dict[str, Status]] = {
    "pending": "pending",
    "running": "running",
    "failed": "failed",
    "lost": "failed",
    "unknown": "failed",
    "complete": "ended",
}


class NomadDeployment(Deployment):
    """The deployment on the agent at `address` (host:port). Calls of python-nomad block, so each
    runs in a thread.
    """

    def __init__(
        self,
        address: str,
        *,
        prefix: str = "cecochat",
        tls: Tls | None = None,
        token: str | None = None,
    ) -> None:
        """Make the client. Raises `InvalidSettings`."""
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal():
            raise InvalidSettings(f"the address of Nomad is {address!r}: use host:port")
        self._address = address
        self._prefix = prefix
        self._nomad = nomad.Nomad(
            address=f"{'https' if tls else 'http'}://{address}",  # else NOMAD_ADDR is used
            token=token,
            timeout=ASK_S,
            verify=str(tls.ca_file) if tls and tls.ca_file else True,
            cert=(str(tls.cert_file), str(tls.key_file)) if tls and tls.cert_file else (),
            session=_session(),
        )

    @override
    async def state(self, service: Service) -> ServerSet:
        found: ServerSet = await self._ask(service, self._state)
        return found

    @override
    async def scale(self, service: Service, count: int, reason: str) -> None:
        limits = (await self.state(service)).limits
        if not limits.min <= count <= limits.max:
            raise CannotScale(
                f"there cannot be {count} {service} servers, since the job {self._job(service)} "
                f"allows {limits.min} to {limits.max}: change its scaling block"
            )
        await self._ask(service, lambda of: self._scale(of, count, reason))

    def _state(self, service: Service) -> ServerSet:
        job = self._nomad.job.get_job(self._job(service))
        if job.get("Stop"):
            raise URLNotFoundNomadException(None)
        group = next(each for each in job["TaskGroups"] if each["Name"] == service)
        found = self._nomad.job.get_allocations(self._job(service))
        allocations = tuple(_allocation(each) for each in found if each["DesiredStatus"] == "run")
        return ServerSet(group["Count"], _limits(group), allocations, self._rollout(service))

    def _rollout(self, service: Service) -> str:
        latest = self._nomad.job.get_deployment(self._job(service))
        return f"{latest['Status']}: {latest['StatusDescription']}" if latest else ""

    def _scale(self, service: Service, count: int, reason: str) -> None:
        """Ask for `count` servers by the HTTP API, for which python-nomad has no call."""
        body = {"Count": count, "Target": {"Group": service}, "Message": reason}
        self._nomad.job.request(self._job(service), "scale", json=body, method="post")

    def _job(self, service: Service) -> str:
        return f"{self._prefix}-{service}"

    async def _ask(self, service: Service, call: Any) -> Any:
        try:
            return await asyncio.to_thread(call, service)
        except URLNotFoundNomadException:
            raise CannotScale(
                f"Nomad at {self._address} runs no job {self._job(service)}: deploy that job first"
            ) from None
        except (BaseNomadException, requests.RequestException) as error:
            raise Unavailable(f"Nomad at {self._address}: {_reason(error)}") from error


def _session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # no proxy is between us and the agent
    return session


def _limits(group: Any) -> Limits:
    scaling = group.get("Scaling")
    if not scaling or not scaling.get("Enabled", True):
        return WITHOUT_LIMITS if not scaling else Limits(group["Count"], group["Count"])
    return Limits(scaling["Min"], scaling["Max"])


def _allocation(found: Any) -> Allocation:
    return Allocation(
        found["ID"],
        _STATUS.get(found["ClientStatus"], "failed"),
        f"job version {found['JobVersion']}",
        found["NodeName"],
    )


def _reason(error: Exception) -> str:
    response = getattr(error, "nomad_resp", None)
    return str(getattr(response, "text", "") or error or repr(error))[:300]
