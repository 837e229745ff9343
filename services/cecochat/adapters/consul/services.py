"""How a server is written into Consul's catalog, and read from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cecochat.adapters.consul.settings import ConsulSettings
from cecochat.auth.registration import health_parts, health_url, is_signed, signature
from cecochat.domain.errors import InvalidSettings
from cecochat.ports.discovery import Instance, Service

NODE_CHECK: Final = "serfHealth"
"""The check of a machine, by the other machines of the Consul cluster."""
SIGNATURE: Final = "signature"
"""Of all that is registered, in its meta."""


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
    registers when it serves. Raises `InvalidSettings` for an instance that nobody would believe.
    """
    host, _, port = instance.address.rpartition(":")
    return {
        "name": name(settings, instance.service),
        "service_id": service_id(settings, instance),
        "address": host.strip("[]"),
        "port": int(port),
        "meta": _meta(settings, instance),
        "check": {
            "Name": "the process lives",
            "HTTP": f"{instance.health_url}/livez?instance={instance.instance_id}",
            "TLSSkipVerify": True,  # it asks whether the process lives, not who it is
            "Interval": "1s",  # Consul takes no less
            "Timeout": "1s",
            "FailuresBeforeCritical": 2,  # one may be a moment's load
            "DeregisterCriticalServiceAfter": "10m",  # Consul takes no less than 1m
            "Status": "passing",
        },
        "replace_existing_checks": True,
    }


def _meta(settings: ConsulSettings, instance: Instance) -> dict[str, str]:
    try:
        scheme, health = health_parts(instance.health_url)
    except ValueError as error:
        raise InvalidSettings(f"{instance.instance_id} cannot be registered: {error}") from None
    return {
        "instance_id": instance.instance_id,
        "health": health,
        "health_scheme": scheme,
        "version": instance.version,
        **({"behind": instance.behind} if instance.behind else {}),
        SIGNATURE: signature(settings.secret, settings.namespace, instance),
    }


def is_registered(entry: Mapping[str, Any] | None, arguments: Mapping[str, Any]) -> bool:
    """Whether an agent's entry is what these arguments register. Others may have written another in
    its place.
    """
    names = {"Service": "name", "Address": "address", "Port": "port", "Meta": "meta"}
    return entry is not None and all(entry[key] == arguments[of] for key, of in names.items())


def instance_of(settings: ConsulSettings, service: Service, entry: Mapping[str, Any]) -> Instance:
    """From an entry of the health API. Raises ValueError for one that no server of this cluster has
    signed.
    """
    meta = entry["Service"].get("Meta") or {}
    instance = Instance(
        service,
        meta.get("instance_id", ""),
        address_of(entry),
        health_url(meta.get("health_scheme", ""), meta.get("health", "")),
        meta.get("version", ""),
        meta.get("behind", ""),
    )
    if is_signed(settings.secret, settings.namespace, instance, meta.get(SIGNATURE, "")):
        return instance
    raise ValueError("it is not signed with the secret of this cluster")


def address_of(entry: Mapping[str, Any]) -> str:
    """host:port of an entry of the health API, signed or not."""
    found = entry["Service"]
    host = found.get("Address") or entry["Node"]["Address"]
    return f"[{host}]:{found['Port']}" if ":" in host else f"{host}:{found['Port']}"
