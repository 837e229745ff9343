"""Every version that the backends are pinned to; docs/adr/0030-the-real-backends.md says why these.

The Go modules name theirs in `pinned/*/go.mod` once more, as Go wants it; a test compares.
"""

from __future__ import annotations

KAFKA = "4.3.1"
CASSANDRA = "5.0.5"
CONSUL = "1.16.2"
JAEGER = "1.76.0"
NOMAD = "1.6.5"  # the last one under MPL-2.0; the test cluster accepts a later one as well
PORCUPINE = "1.3.1"
PROMETHEUS = "0.316.0"  # the version of the Go module; the program calls itself 3.16.0
VERSITYGW = "1.8.0"

POSTGRES_AT_LEAST = (15,)  # what Debian 12 has
REDIS_AT_LEAST = (7, 0)  # what Debian 12 has; nothing newer than 7.0 is used

KAFKA_LOG4J = "2.25.4"  # binds Kafka's slf4j; it must equal Kafka's own log4j-core
MAVEN_DEPENDENCY_PLUGIN = "3.6.1"

JAVA = 17  # the one that both Kafka 4 (17 or newer) and Cassandra 5.0 (11 or 17) run on
GO_AT_LEAST = (1, 26, 7)  # what Prometheus' go.mod requires; an older Go fetches the one below
GO = "1.26.8"
GO_SUMS = {
    "linux-amd64": "h1:ZOmGe1OnfREDMIdb1Qi4G9JSuDPBLGExZMQ4nis1RXM=",
    "linux-arm64": "h1:sYL/O6MqS68ML0kjsQ36WoYIpJqkw60TxizWUYUKQMc=",
}
