"""Asks Prometheus which alerts fire. They are judged there alone, by observability/rules.yml."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx

WITHIN_S = 2.0


async def alerts(url: str, namespace: str) -> dict[str, Any]:
    """Return the alerts about a system, as an object for JSON, those that fire first.

    `why` says why they are not known; it is empty if they are. `url` is that of Prometheus, or
    empty if there is none.
    """
    if not url:
        return {"prometheus": None, "why": "", "alerts": []}
    shown = _without_password(url)
    try:
        async with httpx.AsyncClient(timeout=WITHIN_S, trust_env=False) as client:
            answer = await client.get(f"{url.rstrip('/')}/api/v1/alerts")
        found = [_alert(each) for each in answer.raise_for_status().json()["data"]["alerts"]]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        why = f"Prometheus does not say which alerts fire: {type(error).__name__}"
        return {"prometheus": shown, "why": why, "alerts": []}
    ours = [each for each in found if each["namespace"] in ("", namespace)]
    ours.sort(key=lambda each: (each["state"] != "firing", each["severity"], each["since_ms"]))
    return {"prometheus": shown, "why": "", "alerts": ours}


def _alert(said: dict[str, Any]) -> dict[str, Any]:
    labels, notes = said["labels"], said["annotations"]
    return {
        "name": str(labels["alertname"]),
        "namespace": str(labels.get("namespace", "")),
        "severity": str(labels.get("severity", "")),
        "state": str(said["state"]),
        "since_ms": round(datetime.fromisoformat(said["activeAt"]).timestamp() * 1_000),
        "summary": str(notes.get("summary", "")),
        "description": str(notes.get("description", "")),
        "runbook": str(notes.get("runbook_url", "")),
    }


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
