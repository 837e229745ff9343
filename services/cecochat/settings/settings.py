"""The settings of a process: from a file, the environment (`CECOCHAT_*`) and flags, parsed once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import platformdirs

from cecochat.domain.errors import InvalidSettings
from cecochat.domain.log.ids import PARTITIONS_MAX
from cecochat.settings import folders
from cecochat.settings.files import assignments
from cecochat.settings.hosts import EVERYWHERE
from cecochat.settings.tls import Tls
from cecochat.settings.variables import GONE, parse, setting, unknown

PORT_MAX = 65_535
PREFIX = "CECOCHAT_"
SETTINGS_FILE = f"{PREFIX}SETTINGS_FILE"
PARTITIONS = 1
PARTITIONS_IN_A_CLUSTER = 60
LOG_FORMATS = ("auto", "json", "text")
ELSEWHERE = frozenset(
    f"{PREFIX}{name}"
    for name in ("CONNECT_URL", "TOKEN", "OPERATOR_TOKEN", "BACKENDS", "SEED", "SETTINGS_FILE")
)
"""Variables with the same prefix that are for clients and tests."""
KEYS_FROM = ("jwks_file", "jwks_url", "oidc_issuer")
PARTS = "of_backends"
CHAT_PATH = "/v1/chat"
"""Where a messaging server answers WebSockets."""

Part = TypeVar("Part")


def default_data_dir() -> Path:
    """Return the folder where a server keeps its data by default."""
    return Path(platformdirs.user_data_dir("cecochat")) / "default"


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a process. Field `x` is the variable `CECOCHAT_X`. Port 0 is any free one."""

    data_dir: Path = setting(  # noqa: RUF009 - makes a field
        default_data_dir, "folder of the log, the history and the configuration"
    )
    host: str = setting("127.0.0.1", "address that every server listens on for clients")
    advertise_host: str = setting("", "host that clients are told; if empty, it is `host`")
    internal_host: str = setting(
        "127.0.0.1",
        "address that every server listens on for operators and other servers; they are told this "
        "address or, if it is 0.0.0.0, the host that clients are told",
    )
    connect_port: int = setting(8080, "HTTP port of the connect server", high=PORT_MAX)
    messaging_port: int = setting(8081, "gRPC port of the messaging server", high=PORT_MAX)
    history_port: int = setting(8082, "gRPC port of the history server", high=PORT_MAX)
    messaging_health_port: int = setting(8083, "internal HTTP port of messaging", high=PORT_MAX)
    materialize_health_port: int = setting(8084, "internal HTTP port of materialize", high=PORT_MAX)
    history_health_port: int = setting(8085, "internal HTTP port of history", high=PORT_MAX)
    control_port: int = setting(8086, "HTTP port of the control server", high=PORT_MAX)
    connect_health_port: int = setting(8087, "internal HTTP port of connect", high=PORT_MAX)
    messaging_websocket_port: int = setting(
        8088, "WebSocket port of the messaging server", high=PORT_MAX
    )
    history_http_port: int = setting(8089, "HTTP port of history, for clients", high=PORT_MAX)
    hooks_health_port: int = setting(8090, "internal HTTP port of hooks", high=PORT_MAX)
    connect_grpc_port: int = setting(
        8091, "gRPC port of connect, for the product's back end", high=PORT_MAX
    )
    chat_page: bool = setting(
        True,
        "sign tokens for the chat page, in development alone: one process on loopback, without an "
        "edge, with a secret that it made itself",
    )
    partitions: int = setting(
        0,
        "number of partitions, fixed once the log is created; 0 means as many as the log has, and "
        f"for a new log {PARTITIONS_IN_A_CLUSTER} on Kafka and {PARTITIONS} embedded",
        0,
        PARTITIONS_MAX,
    )
    retention_ms: int = setting(
        7 * 86_400_000,
        "how long the log keeps what nothing needs any more, ms; a device that was away no longer "
        "than this can resume where it was; what is still needed stays, however old it is",
        1,
    )
    retention_bytes: int = setting(
        1 << 30,
        "how much a partition keeps, bytes; embedded only: Kafka's log has no such limit",
        1,
    )
    log_format: str = setting(
        "auto",
        "format of log lines on standard error: json, text, or auto, which is text on a terminal "
        "and JSON elsewhere; for `cecochat up` and the servers that it runs, auto is always text",
        choices=LOG_FORMATS,
    )
    search: bool = setting(
        True, "index the words of messages for searches; in a cluster, in PostgreSQL"
    )
    attachments: bool = setting(
        True, "let messages carry files, in a folder of the data folder or in S3; in a cluster, S3"
    )
    namespace: str = setting(
        "cecochat",
        "prefix of this system's topics, keyspace, keys and services in shared backends",
    )
    otlp_url: str = setting("", "URL of a collector for traces, OTLP over HTTP; empty: no traces")
    jaeger_url: str = setting("", "URL of Jaeger, for links and `cecochat trace`")
    prometheus_url: str = setting(
        "", "URL of Prometheus, which history servers ask for alerts; `cecochat up` prints it"
    )
    nomad: str = setting("", "host:port of a Nomad agent, if Nomad runs the servers")
    stack: str = setting(
        "", "where to reach the `cecochat up` that runs this server, which sets this", secret=True
    )
    replication: int = setting(
        0,
        "copies that Kafka and Cassandra keep; 0 means 3, or as many as they have servers, and a "
        "start is refused if there are fewer copies; set another number if you really want it",
        0,
        9,
    )
    accept_loss: bool = setting(
        False,
        "start even if losing one machine may lose acknowledged messages, because "
        "`min.insync.replicas` or the consistency is too low for the number of copies",
    )
    nomad_tls: bool = setting(False, "connect to Nomad over TLS")
    nomad_token_file: Path | None = setting(None, "file with Nomad's ACL token")  # noqa: RUF009
    backends_ca_file: Path | None = setting(  # noqa: RUF009
        None, "authority that signs the backends' certificates (PEM); by default the system's"
    )
    backends_cert_file: Path | None = setting(  # noqa: RUF009
        None, "our certificate for backends that require one (PEM)"
    )
    backends_key_file: Path | None = setting(  # noqa: RUF009
        None, "its key (PEM)", needs="backends_cert_file"
    )
    tls_cert_file: Path | None = setting(  # noqa: RUF009
        None, "certificate of our gRPC and HTTP servers, with its chain (PEM); without it, no TLS"
    )
    tls_key_file: Path | None = setting(  # noqa: RUF009
        None, "its key (PEM)", needs="tls_cert_file"
    )
    internal_ca_file: Path | None = setting(  # noqa: RUF009
        None,
        "authority that signs the certificates that servers and operators show each other (PEM); "
        "with it and the next two, they use mutual TLS, without them, no TLS",
    )
    internal_cert_file: Path | None = setting(  # noqa: RUF009
        None, "certificate for the internal host by that authority, with its chain (PEM)"
    )
    internal_key_file: Path | None = setting(None, "its key (PEM)")  # noqa: RUF009
    edge: str = setting(
        "",
        "host:port of the edge in front of this server, which clients are told instead of its own "
        "address; if empty, there is no edge",
    )
    edge_host: str = setting("0.0.0.0", "address that the edge listens on")  # noqa: S104
    edge_cert_file: Path | None = setting(  # noqa: RUF009
        None,
        "certificate of the edge, with its chain (PEM); its key is in the same file, or in a file "
        "beside it whose name ends with `.key`; without it, no TLS",
    )
    edge_ca_file: Path | None = setting(  # noqa: RUF009
        None,
        "authority that signs the certificates of the servers behind the edge (PEM); with it, the "
        "edge uses TLS to reach them",
    )
    edge_connections: int = setting(4_000, "connections that the edge holds at a time", 1, 1 << 20)
    edge_connections_per_address: int = setting(
        256, "connections that the edge holds for one client address", 1, 1 << 20
    )
    edge_requests_per_address: int = setting(
        200,
        "lookups, streams and queries per second that the edge accepts from one client address, "
        "counted over 10 s",
        1,
        1 << 20,
    )
    edge_header_s: int = setting(
        10, "how long a client may take to send its headers after connecting, s", 1, 3_600
    )
    edge_idle_s: int = setting(
        3_600, "how long a stream through the edge may be silent, s", 60, 7 * 86_400
    )
    cluster_secret_file: Path | None = setting(  # noqa: RUF009
        None,
        "secret by which the servers and operators of a cluster know each other; by default "
        "`cluster-secret` in the data folder, made at the first start",
    )
    keys_secret_file: Path | None = setting(  # noqa: RUF009
        None,
        "secret that encrypts the keys of users where they are stored, which must never change; by "
        "default `keys-secret` in the data folder or, in a cluster, the cluster secret",
    )
    token_secret_file: Path | None = setting(  # noqa: RUF009
        None, "secret of development tokens; by default `token-secret` in the data folder"
    )
    jwks_file: Path | None = setting(  # noqa: RUF009 - makes a field
        None, "public keys of tokens (JWKS, RS256 or EdDSA); without any, development tokens"
    )
    jwks_url: str = setting(
        "", "https:// URL of such keys; fetched every 5 min, and if a token names a new key"
    )
    oidc_issuer: str = setting(
        "",
        "https:// URL of an OpenID Connect provider, whose configuration says where its keys are; "
        "it is also the `token_issuer`, unless that is set",
    )
    token_issuer: str = setting(
        "", "issuer that a token must have, as its `iss`; if empty, any that has one of the keys"
    )
    token_audience: str = setting("cecochat", "audience that a token must have, as its `aud`")
    of_backends: tuple[Any, ...] = ()
    """The settings of backends that are not the default. Read them with `of`."""

    def of(self, kind: type[Part]) -> Part:
        """Return the settings that a backend declares."""
        return next((each for each in self.of_backends if isinstance(each, kind)), None) or kind()

    def value(self, name: str) -> Any:
        """Return the value of any setting, also of a backend's. Raises `InvalidSettings`."""
        kind = _declaring(name)
        return getattr(self if kind is Settings else self.of(kind), name)

    @property
    def public_host(self) -> str:
        """The host that clients are told."""
        return self.advertise_host or self.host

    @property
    def internal_address(self) -> str:
        """The host at which operators and other servers reach the internal listeners."""
        return self.public_host if self.internal_host in EVERYWHERE else self.internal_host

    def http_url(self, address: str) -> str:
        """Return the URL where clients reach a connect or history server over HTTP: of the edge, or
        of the server.
        """
        return self.edge_url or f"{'https' if self.tls else 'http'}://{address}"

    @property
    def edge_url(self) -> str:
        """The URL where clients ask for a route through the edge; empty if there is none."""
        scheme = "https" if self.edge_cert_file else "http"
        return f"{scheme}://{self.edge}" if self.edge else ""

    def websocket_url(self, address: str) -> str:
        """Return the URL where clients open a WebSocket: at the edge, or at a messaging server."""
        encrypted = self.edge_cert_file if self.edge else self.tls_cert_file
        return f"{'wss' if encrypted else 'ws'}://{address}{CHAT_PATH}"

    @property
    def tls(self) -> Tls | None:
        """The certificate that our servers show to clients; None without TLS."""
        if self.tls_cert_file is None:
            return None
        return Tls(cert_file=self.tls_cert_file, key_file=self.tls_key_file)

    @property
    def internal_tls(self) -> Tls | None:
        """The certificate that internal listeners and their callers show; None without TLS."""
        if self.internal_ca_file is None:
            return None
        return Tls(self.internal_ca_file, self.internal_cert_file, self.internal_key_file)

    def backends_tls(self, wanted: bool) -> Tls | None:
        """Return the certificates for a backend, or None if its own setting wants no TLS."""
        if not wanted:
            return None
        return Tls(self.backends_ca_file, self.backends_cert_file, self.backends_key_file)

    @property
    def cluster_secret(self) -> Path:
        """The file with the secret that the servers and operators of this cluster share."""
        return self.cluster_secret_file or self.data_dir / "cluster-secret"

    @property
    def secret_file(self) -> Path | None:
        """The file with the secret of development tokens; None if public keys verify tokens."""
        if self.jwks_file or self.jwks_url or self.oidc_issuer:
            return None
        return self.token_secret_file or self.data_dir / "token-secret"


def declared() -> dict[str, Field[Any]]:
    """Return every setting by its name: first our own, then those that backends declare."""
    return {f.name: f for kind in _kinds() for f in fields(kind) if f.name != PARTS}


def _kinds() -> list[type[Any]]:
    return [Settings, *(each.variables for each in folders.backends() if each.variables)]


def _declaring(name: str) -> type[Any]:
    for kind in _kinds():
        if name in {f.name for f in fields(kind)}:
            return kind
    raise unknown(name, declared())


def made(**values: Any) -> Settings:
    """Make settings from values by name, also of backends. Raises `InvalidSettings`."""
    of_kind: dict[type[Any], dict[str, Any]] = {kind: {} for kind in _kinds()}
    for name, value in values.items():
        of_kind[_declaring(name)][name] = value
    own = of_kind.pop(Settings)
    parts = tuple(kind(**given) for kind, given in of_kind.items())
    return Settings(**own, of_backends=tuple(part for part in parts if part != type(part)()))


def load(
    environ: Mapping[str, str] | None = None, *, file: Path | None = None, **flags: Any
) -> Settings:
    """Load settings from a file, the environment and flags. A later one overrides an earlier one.

    Without `file`, it is the one that CECOCHAT_SETTINGS_FILE names. Flags that are None are not
    set. Raises `InvalidSettings`, which names the variable.
    """
    environ = os.environ if environ is None else environ
    if file is None and environ.get(SETTINGS_FILE):
        file = Path(environ[SETTINGS_FILE])
    values = dict(_parsed({**(from_file(file) if file else {}), **environ}))
    values |= {name: value for name, value in flags.items() if value is not None}
    settings = made(**values)
    _check_halves(settings)
    if settings.edge:
        split_address(settings.edge)
    return settings


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return f"{PREFIX}{name.upper()}"


def _parsed(given: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    by_variable = {variable(name): f for name, f in declared().items()}
    for name, text in given.items():
        if name in by_variable:
            yield by_variable[name].name, parse(name, text, by_variable[name])
        elif reason := GONE.get(name.removeprefix(PREFIX)):
            raise InvalidSettings(f"{name} is no setting any more: {reason}")
        elif name.startswith(PREFIX) and name not in ELSEWHERE:
            raise unknown(name, by_variable)


def _check_halves(settings: Settings) -> None:
    """Refuse a secret that would silently be unused, and keys from more than one place."""
    given = [f"{PREFIX}{name.upper()}" for name in KEYS_FROM if getattr(settings, name)]
    if len(given) > 1:
        raise InvalidSettings(f"set only one of {' and '.join(given)}: keys come from one place")
    for name, each in declared().items():
        other = each.metadata["needs"]
        if other and settings.value(name) and not settings.value(other):
            raise InvalidSettings(f"{variable(name)} is no use alone: set {variable(other)}, too")
    names = ("internal_ca_file", "internal_cert_file", "internal_key_file")
    missing = [name for name in names if not getattr(settings, name)]
    if 0 < len(missing) < len(names):
        wanted = ", ".join(f"{PREFIX}{name.upper()}" for name in missing)
        raise InvalidSettings(f"mutual TLS between servers needs three files: set {wanted}, too")
    for name in ("token_issuer", "token_audience"):
        if settings.secret_file and getattr(settings, name) != getattr(Settings(), name):
            raise InvalidSettings(
                f"{PREFIX}{name.upper()} is for tokens of your back end, but development tokens "
                f"are in use: name its keys with {PREFIX}JWKS_FILE or {PREFIX}JWKS_URL"
            )


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of the edge. Raises `InvalidSettings`."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) <= PORT_MAX:
        raise InvalidSettings(
            f"{PREFIX}EDGE is {address!r}: use the host and port that clients are told, such as "
            "chat.example.com:8443"
        )
    return host, int(port)


def as_environment(settings: Settings) -> dict[str, str]:
    """Return the environment with which another process loads the same settings."""
    values = {name: settings.value(name) for name in declared()}
    return {variable(name): "" if value is None else str(value) for name, value in values.items()}


def from_file(path: Path) -> dict[str, str]:
    """Read variables from lines of NAME=value. Raises `InvalidSettings`."""
    return assignments(path, PREFIX)
