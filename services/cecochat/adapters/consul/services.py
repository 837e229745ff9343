"""How a server is written into Consul's catalog, and read from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cecochat.adapters.consul.settings import ConsulSettings
from cecochat.ports.discovery import Instance, Service

NODE_CHECK: Final = "serfHealth"
"""The check of a machine, by the other machines of the Consul cluster."""


def name(settings: ConsulSettings, service: Service) -> str:
    """Of a service in the catalog."""
    return f"{settings.namespace}-{service}"


def service_id(settings: ConsulSettings, instance: Instance) -> str:
    """Of a server, on its agent, which may hold those of other services and namespaces."""
    return f"{name(settings, instance.service)}-{instance.instance_id}"


def check_id(registered: str) -> str:
    """Of the check of a service with that id, as Consul names it."""
    return f"service:{registered}"


def registration(settings: ConsulSettings, instance: Instance) -> dict[str, Any]:
    """The arguments to register it, with its check. It counts as healthy until two checks fail: it
    registers when it serves.
    """
    host, _, port = instance.address.rpartition(":")
    return {
        "name": name(settings, instance.service),
        "service_id": service_id(settings, instance),
        "address": host.strip("[]"),
        "port": int(port),
        "meta": {
            "instance_id": instance.instance_id,
            "health_url": instance.health_url,
            "version": instance.version,
            **({"behind": instance.behind} if instance.behind else {}),
        },
        "check": {
            "Name": "the process lives",
            "HTTP": f"{instance.health_url}/livez?instance={instance.instance_id}",
            "TLSSkipVerify": True,  # it asks whether the process lives, not who it is
            "Interval": _duration(settings.interval_s),
            "Timeout": _duration(settings.timeout_s),
            "FailuresBeforeCritical": settings.failures,
            "DeregisterCriticalServiceAfter": _duration(settings.deregister_after_s),
            "Status": "passing",
        },
        "replace_existing_checks": True,
    }


def instance_of(service: Service, entry: Mapping[str, Any]) -> Instance:
    """From an entry of the health API. A service that was registered by others, as by a Nomad job,
    may lack the meta.
    """
    found, meta = entry["Service"], entry["Service"].get("Meta") or {}
    host = found.get("Address") or entry["Node"]["Address"]
    return Instance(
        service,
        meta.get("instance_id") or found["ID"],
        f"[{host}]:{found['Port']}" if ":" in host else f"{host}:{found['Port']}",
        meta.get("health_url", ""),
        meta.get("version", ""),
        meta.get("behind", ""),
    )


def _duration(seconds: float) -> str:
    return f"{round(seconds * 1_000)}ms"
