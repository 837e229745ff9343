"""Signs webhooks, as Standard Webhooks says (https://www.standardwebhooks.com)."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime

from standardwebhooks.webhooks import Webhook

from cecochat.domain.hooks.endpoints import Endpoint


class Signer:
    """Signs with the secrets of endpoints, each of which follows from the cluster's secret. Whoever
    has one of them learns nothing of the others, and nothing of the cluster's.
    """

    def __init__(self, cluster_secret: bytes) -> None:
        self._key = hmac.digest(cluster_secret.strip(), b"cecochat-webhooks", "sha256")

    def secret(self, endpoint: Endpoint, generation: int | None = None) -> str:
        """Return the secret of an endpoint, `whsec_...`, by default the newest."""
        number = endpoint.generation if generation is None else generation
        named = f"{endpoint.name}.{endpoint.created_ms}.{number}"
        return (
            f"whsec_{base64.b64encode(hmac.digest(self._key, named.encode(), 'sha256')).decode()}"
        )

    def headers(self, endpoint: Endpoint, id_: str, body: str, now_ms: int) -> Mapping[str, str]:
        """Return the headers of a webhook that is sent now, at `now_ms` since 1970."""
        at = datetime.fromtimestamp(now_ms // 1_000, UTC)
        secrets = [self.secret(endpoint, each) for each in endpoint.generations(now_ms)]
        return {
            "webhook-id": id_,
            "webhook-timestamp": str(now_ms // 1_000),
            "webhook-signature": " ".join(Webhook(each).sign(id_, at, body) for each in secrets),
        }
