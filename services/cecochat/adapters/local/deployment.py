"""Deployment by the `cecochat up --processes` of this machine, which is asked over loopback."""

from __future__ import annotations

from typing import Any

import httpx
from typing_extensions import override

from cecochat.domain.errors import CannotScale, Unavailable
from cecochat.ports.deployment import Allocation, Deployment, Limits, ServerSet
from cecochat.ports.discovery import Service

ASK_S = 5.0


class LocalDeployment(Deployment):
    """The deployment at `address`, which is `host:port/SECRET` as in CECOCHAT_STACK."""

    def __init__(self, address: str) -> None:
        host_and_port, _, secret = address.partition("/")
        self._url = f"http://{host_and_port}/sets"
        headers = {"Authorization": f"Bearer {secret}"}
        self._client = httpx.AsyncClient(timeout=ASK_S, trust_env=False, headers=headers)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    @override
    async def state(self, service: Service) -> ServerSet:
        return _set(await self._ask("GET", service))

    @override
    async def scale(self, service: Service, count: int, reason: str) -> None:
        await self._ask("PUT", service, {"count": count, "reason": reason})

    async def _ask(self, method: str, service: Service, body: Any = None) -> Any:
        try:
            answer = await self._client.request(method, f"{self._url}/{service}", json=body)
            if answer.status_code == httpx.codes.CONFLICT:
                raise CannotScale(answer.json()["why"])
            return answer.raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise Unavailable(f"`cecochat up` does not answer: {error!r}") from error


def _set(body: Any) -> ServerSet:
    allocations = tuple(Allocation(**each) for each in body["allocations"])
    return ServerSet(body["wanted"], Limits(**body["limits"]), allocations, body["rollout"])
