"""How a server is written to Consul's catalog, and read from there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cecochat.adapters.consul.settings import ConsulSettings
from cecochat.auth.registration import health_parts, health_url, is_signed, signature
from cecochat.domain.errors import InvalidSettings
from cecochat.ports.discovery import Instance, Service

NODE_CHECK: Final = "serfHealth"
"""The check by which the machines of the Consul cluster watch each other."""
MAY_BE_EMPTY: Final = {
    "behind": "behind",
    "web": "websocket",
    "web_behind": "websocket_behind",
}
"""What is left out of a registration's meta if it is empty -> its key there. A key keeps the name
that servers of earlier versions know.
"""
SIGNATURE: Final = "signature"
"""The key in a registration's meta that has the signature of all the rest."""


def name(settings: ConsulSettings, service: Service) -> str:
    """Return the name of a service in the catalog."""
    return f"{settings.namespace}-{service}"


def service_id(settings: ConsulSettings, instance: Instance) -> str:
    """Return the id of a server on its agent, which may have other services and namespaces, too."""
    return f"{name(settings, instance.service)}-{instance.instance_id}"


def check_id(service_id: str) -> str:
    """Return the id that Consul gives to the check of the server with this service id."""
    return f"service:{service_id}"


def registration(settings: ConsulSettings, instance: Instance) -> dict[str, Any]:
    """Return the arguments to register an instance and its check. It counts as healthy at once,
    since it registers only when it serves, and until two checks fail. Raises `InvalidSettings` if
    its health URL cannot be registered.
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
            "TLSSkipVerify": True,  # the check asks whether the process lives, not who it is
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
        **{key: value for name, key in MAY_BE_EMPTY.items() if (value := getattr(instance, name))},
        SIGNATURE: signature(settings.secret, settings.namespace, instance),
    }


def is_registered(entry: Mapping[str, Any] | None, arguments: Mapping[str, Any]) -> bool:
    """Return whether an agent's entry is what these arguments register. Somebody else may have
    written another in its place.
    """
    names = {"Service": "name", "Address": "address", "Port": "port", "Meta": "meta"}
    return entry is not None and all(
        entry[key] == arguments[argument] for key, argument in names.items()
    )


def instance_of(settings: ConsulSettings, service: Service, entry: Mapping[str, Any]) -> Instance:
    """Return the instance of an entry of the health API. Raises ValueError if no server of this
    cluster has signed it.
    """
    meta = entry["Service"].get("Meta") or {}
    instance = Instance(
        service,
        meta.get("instance_id", ""),
        address_of(entry),
        health_url(meta.get("health_scheme", ""), meta.get("health", "")),
        meta.get("version", ""),
        *(meta.get(key, "") for key in MAY_BE_EMPTY.values()),
    )
    if is_signed(settings.secret, settings.namespace, instance, meta.get(SIGNATURE, "")):
        return instance
    raise ValueError("it is not signed with the secret of this cluster")


def address_of(entry: Mapping[str, Any]) -> str:
    """Return the address (host:port) of an entry of the health API, signed or not."""
    found = entry["Service"]
    host = found.get("Address") or entry["Node"]["Address"]
    return f"[{host}]:{found['Port']}" if ":" in host else f"{host}:{found['Port']}"
