"""Settings that are fixed at the start: from a file, `CECOCHAT_*` in the environment and flags,
parsed once.
"""

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
from cecochat.settings.loopback import EVERYWHERE
from cecochat.settings.tls import Tls
from cecochat.settings.variables import parse, setting

PORT_MAX = 65_535
PREFIX = "CECOCHAT_"
SETTINGS_FILE = f"{PREFIX}SETTINGS_FILE"
PARTITIONS = 12
PARTITIONS_IN_A_CLUSTER = 60
LOG_FORMATS = ("auto", "json", "text")
ELSEWHERE = frozenset(
    f"{PREFIX}{name}"
    for name in ("CONNECT_URL", "TOKEN", "OPERATOR_TOKEN", "BACKENDS", "SEED", "SETTINGS_FILE")
)
"""Variables of the same prefix that are for clients and tests."""
KEYS_FROM = ("jwks_file", "jwks_url", "oidc_issuer")
PARTS = "of_backends"

Part = TypeVar("Part")


def default_data_dir() -> Path:
    """Where a server keeps its data unless it is told."""
    return Path(platformdirs.user_data_dir("cecochat")) / "default"


@dataclass(frozen=True, slots=True)
class Settings:
    """One per process. A field `x` is the variable `CECOCHAT_X`. Port 0: any free one."""

    data_dir: Path = setting(  # noqa: RUF009 - makes a field
        default_data_dir, "folder of the log, the history and the configuration"
    )
    host: str = setting("127.0.0.1", "address that every server listens on for clients")
    advertise_host: str = setting("", "host that clients are told; empty: `host`")
    internal_host: str = setting(
        "127.0.0.1",
        "address that every server listens on for operators and other servers, which are told "
        "it; where it is 0.0.0.0, they are told what clients are",
    )
    connect_port: int = setting(8080, "HTTP port of the connect server", high=PORT_MAX)
    messaging_port: int = setting(8081, "gRPC port of the messaging server", high=PORT_MAX)
    history_port: int = setting(8082, "gRPC port of the history server", high=PORT_MAX)
    messaging_health_port: int = setting(8083, "HTTP health of messaging", high=PORT_MAX)
    materialize_health_port: int = setting(8084, "HTTP health of materialize", high=PORT_MAX)
    history_health_port: int = setting(8085, "HTTP health of history", high=PORT_MAX)
    control_port: int = setting(8086, "HTTP port of the control server", high=PORT_MAX)
    connect_health_port: int = setting(8087, "HTTP health of connect", high=PORT_MAX)
    partitions: int = setting(
        0,
        "partitions of a log that is created, fixed from then on; 0: of one that is there, as many "
        f"as it has, else {PARTITIONS_IN_A_CLUSTER} on Kafka and {PARTITIONS} embedded",
        0,
        PARTITIONS_MAX,
    )
    retention_ms: int = setting(
        7 * 86_400_000,
        "how long the log keeps what nothing needs any more, ms: a device that was away for so "
        "long still resumes where it was; what something needs stays, however old it is",
        1,
    )
    retention_bytes: int = setting(
        1 << 30, "how much a partition keeps, bytes; embedded: Kafka's log has no such limit", 1
    )
    log_format: str = setting(
        "auto",
        "lines of the log on standard error: json, text, or auto: text on a terminal and JSON "
        "elsewhere; of `cecochat up`, and the servers that it runs, text everywhere",
        choices=LOG_FORMATS,
    )
    namespace: str = setting(
        "cecochat",
        "what this system's topics, keyspace, keys and services in shared backends begin with",
    )
    otlp_url: str = setting("", "URL of a collector for traces, OTLP over HTTP; empty: no traces")
    jaeger_url: str = setting("", "URL of Jaeger, for links and `cecochat trace`")
    prometheus_url: str = setting("", "URL of Prometheus, for the link that `cecochat up` prints")
    nomad: str = setting("", "host:port of an agent, where Nomad runs the servers")
    stack: str = setting(
        "", "where the `cecochat up` that runs this server takes orders; it sets this", secret=True
    )
    replication: int = setting(
        0,
        "copies that Kafka and Cassandra keep; 0: 3, or as many as there are servers, and a start "
        "is refused where there are fewer; another number says that you mean it",
        0,
        9,
    )
    accept_loss: bool = setting(
        False,
        "start also where one lost machine may lose what was acknowledged: with a "
        "`min.insync.replicas` or a consistency that is too low for the number of copies",
    )
    nomad_tls: bool = setting(False, "connect to Nomad over TLS")
    nomad_token_file: Path | None = setting(None, "file with the ACL token")  # noqa: RUF009
    backends_ca_file: Path | None = setting(  # noqa: RUF009
        None, "who signs the backends' certificates (PEM); unset: the system's authorities"
    )
    backends_cert_file: Path | None = setting(  # noqa: RUF009
        None, "our certificate for backends that ask for one (PEM)"
    )
    backends_key_file: Path | None = setting(  # noqa: RUF009
        None, "its key (PEM)", needs="backends_cert_file"
    )
    tls_cert_file: Path | None = setting(  # noqa: RUF009
        None, "certificate, with its chain, of our gRPC and HTTP servers (PEM); unset: no TLS"
    )
    tls_key_file: Path | None = setting(  # noqa: RUF009
        None, "its key (PEM)", needs="tls_cert_file"
    )
    internal_ca_file: Path | None = setting(  # noqa: RUF009
        None,
        "who signs the certificates that servers and operators show each other (PEM), who talk "
        "over mutual TLS then, with the two below; unset: plainly",
    )
    internal_cert_file: Path | None = setting(  # noqa: RUF009
        None, "certificate of that authority, with its chain, for the internal host (PEM)"
    )
    internal_key_file: Path | None = setting(None, "its key (PEM)")  # noqa: RUF009
    edge: str = setting(
        "",
        "host:port of the edge in front of this server, which clients are told in place of its own "
        "address; empty: there is no edge",
    )
    edge_host: str = setting("0.0.0.0", "address that the edge listens on")  # noqa: S104
    edge_cert_file: Path | None = setting(  # noqa: RUF009
        None,
        "certificate, with its chain, of the edge (PEM), and its key in the same file or beside it "
        "in one with `.key` after the name; unset: no TLS",
    )
    edge_ca_file: Path | None = setting(  # noqa: RUF009
        None,
        "who signs the certificates of the servers behind the edge (PEM), to which it connects "
        "over TLS then; unset: they speak plainly with it",
    )
    edge_connections: int = setting(4_000, "connections that the edge holds at once", 1, 1 << 20)
    edge_connections_per_address: int = setting(
        256, "connections that the edge holds of one client's address", 1, 1 << 20
    )
    edge_requests_per_address: int = setting(
        200,
        "lookups, streams and queries a second that the edge takes of one client's address, "
        "counted over 10 s",
        1,
        1 << 20,
    )
    edge_header_s: int = setting(
        10, "how long a client has, from connecting, to have sent its headers, s", 1, 3_600
    )
    edge_idle_s: int = setting(
        3_600, "how long a stream through the edge may say nothing, s", 60, 7 * 86_400
    )
    cluster_secret_file: Path | None = setting(  # noqa: RUF009
        None,
        "secret that all servers and operators of a cluster have, by which they know each other; "
        "unset: `cluster-secret` in the data folder, made at the first start",
    )
    token_secret_file: Path | None = setting(  # noqa: RUF009
        None, "secret of development tokens; unset: `token-secret` in the data folder"
    )
    jwks_file: Path | None = setting(  # noqa: RUF009 - makes a field
        None, "public keys of the tokens (JWKS, RS256 or EdDSA); unset: development tokens"
    )
    jwks_url: str = setting(
        "", "URL of such public keys, https://; asked again every 5 min and for a new key"
    )
    oidc_issuer: str = setting(
        "",
        "OpenID Connect provider, https://, whose configuration says where its keys are; it is the "
        "`token_issuer` too, unless that says another",
    )
    token_issuer: str = setting(
        "", "who must have issued a token, its `iss`; empty: whoever has one of the keys"
    )
    token_audience: str = setting("cecochat", "whom a token must be for, its `aud`")
    of_backends: tuple[Any, ...] = ()
    """What the folders of `adapters/` declare, as far as it is not the default: ask with `of`."""

    def of(self, kind: type[Part]) -> Part:
        """The settings that a backend declares."""
        return next((each for each in self.of_backends if isinstance(each, kind)), None) or kind()

    def value(self, name: str) -> Any:
        """That of any setting, also of a backend's. Raises `InvalidSettings`."""
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

    def connect_url(self, address: str) -> str:
        """Where clients ask the connect server at host:port, or the edge, for a route."""
        return self.edge_url or f"{'https' if self.tls else 'http'}://{address}"

    @property
    def edge_url(self) -> str:
        """Where clients ask for a route, through the edge; empty: there is no edge."""
        scheme = "https" if self.edge_cert_file else "http"
        return f"{scheme}://{self.edge}" if self.edge else ""

    @property
    def tls(self) -> Tls | None:
        """What our servers answer with; None: no TLS."""
        if self.tls_cert_file is None:
            return None
        return Tls(cert_file=self.tls_cert_file, key_file=self.tls_key_file)

    @property
    def internal_tls(self) -> Tls | None:
        """What internal listeners answer with, and who asks them shows; None: no TLS."""
        if self.internal_ca_file is None:
            return None
        return Tls(self.internal_ca_file, self.internal_cert_file, self.internal_key_file)

    def backends_tls(self, wanted: bool) -> Tls | None:
        """How to connect to a backend, `wanted` being its own setting; None: without TLS."""
        if not wanted:
            return None
        return Tls(self.backends_ca_file, self.backends_cert_file, self.backends_key_file)

    @property
    def cluster_secret(self) -> Path:
        """The file with what the servers and operators of this cluster share."""
        return self.cluster_secret_file or self.data_dir / "cluster-secret"

    @property
    def secret_file(self) -> Path | None:
        """Whence development tokens are verified; None: by public keys."""
        if self.jwks_file or self.jwks_url or self.oidc_issuer:
            return None
        return self.token_secret_file or self.data_dir / "token-secret"


def declared() -> dict[str, Field[Any]]:
    """Every setting by its name: those of every process, then what the backends declare."""
    return {f.name: f for kind in _kinds() for f in fields(kind) if f.name != PARTS}


def _kinds() -> list[type[Any]]:
    return [Settings, *(each.variables for each in folders.backends() if each.variables)]


def _declaring(name: str) -> type[Any]:
    for kind in _kinds():
        if name in {f.name for f in fields(kind)}:
            return kind
    raise InvalidSettings(f"{name} is no setting; known are {', '.join(declared())}")


def made(**values: Any) -> Settings:
    """Settings by their names, a backend's among them. Raises `InvalidSettings`."""
    of_kind: dict[type[Any], dict[str, Any]] = {kind: {} for kind in _kinds()}
    for name, value in values.items():
        of_kind[_declaring(name)][name] = value
    own = of_kind.pop(Settings)
    parts = tuple(kind(**given) for kind, given in of_kind.items())
    return Settings(**own, of_backends=tuple(part for part in parts if part != type(part)()))


def load(
    environ: Mapping[str, str] | None = None, *, file: Path | None = None, **flags: Any
) -> Settings:
    """Settings of a file (else of that which CECOCHAT_SETTINGS_FILE names), then of the
    environment, then of flags that are not None. Raises `InvalidSettings` naming the variable.
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
    """The environment variable of a setting."""
    return f"{PREFIX}{name.upper()}"


def _parsed(given: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    known = {variable(name): f for name, f in declared().items()}
    for name, text in given.items():
        if name in known:
            yield known[name].name, parse(name, text, known[name])
        elif name.startswith(PREFIX) and name not in ELSEWHERE:
            raise InvalidSettings(f"{name} is no setting; known are {', '.join(known)}")


def _check_halves(settings: Settings) -> None:
    """What is secret must not be left unused in silence, nor two places say who may come in."""
    given = [f"{PREFIX}{name.upper()}" for name in KEYS_FROM if getattr(settings, name)]
    if len(given) > 1:
        raise InvalidSettings(f"set one of {' and '.join(given)}: keys come from one place")
    for name, each in declared().items():
        other = each.metadata["needs"]
        if other and settings.value(name) and not settings.value(other):
            raise InvalidSettings(f"{variable(name)} is of no use alone: set {variable(other)} too")
    names = ("internal_ca_file", "internal_cert_file", "internal_key_file")
    missing = [name for name in names if not getattr(settings, name)]
    if 0 < len(missing) < len(names):
        wanted = ", ".join(f"{PREFIX}{name.upper()}" for name in missing)
        raise InvalidSettings(f"mutual TLS between servers needs all three files: set {wanted} too")
    for name in ("token_issuer", "token_audience"):
        if settings.secret_file and getattr(settings, name) != getattr(Settings(), name):
            raise InvalidSettings(
                f"{PREFIX}{name.upper()} is for tokens of your back end, and these are development "
                f"tokens: say where its keys are, with {PREFIX}JWKS_FILE or {PREFIX}JWKS_URL"
            )


def split_address(address: str) -> tuple[str, int]:
    """Host and port of the edge. Raises `InvalidSettings`."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) <= PORT_MAX:
        raise InvalidSettings(
            f"{PREFIX}EDGE is {address!r}: use the host and port that clients are told, such as "
            "chat.example.com:8443"
        )
    return host, int(port)


def as_environment(settings: Settings) -> dict[str, str]:
    """What makes another process load these very settings."""
    values = {name: settings.value(name) for name in declared()}
    return {variable(name): "" if value is None else str(value) for name, value in values.items()}


def from_file(path: Path) -> dict[str, str]:
    """Variables as lines NAME=value; empty ones and those that begin with # do not count. Raises
    `InvalidSettings`.
    """
    try:
        lines = path.expanduser().read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"the settings file {path} cannot be read: {error}") from None
    found = {}
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not name.startswith(PREFIX):
            raise InvalidSettings(
                f"{path}, line {number}: use {PREFIX}NAME=value, not {line!r:.80}"
            )
        found[name.strip()] = value.strip()
    return found
